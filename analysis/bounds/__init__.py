"""Generalisation bounds: the formulas by name; tables of them and their picture are in modules of their own."""

from analysis.bounds.formulas import (
    DELTA,
    all_error_bound,
    architecture_bits,
    binary_kl_bound,
    chance_error,
    integer_bits,
    largest_stream_bytes,
    lookup_table_bits,
    paper_bound,
    stream_bits,
    unseen_error_bound,
)

__all__ = [
    "DELTA",
    "all_error_bound",
    "architecture_bits",
    "binary_kl_bound",
    "chance_error",
    "integer_bits",
    "largest_stream_bytes",
    "lookup_table_bits",
    "paper_bound",
    "stream_bits",
    "unseen_error_bound",
]
