"""Rows that a table has twice: of the same trial, step, bound, matrix or decision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.checks.findings import Finding
from analysis.checks.reports import Report
from analysis.schema import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

_OF_A_ROW = ("trial_id", "step", "epsilon", "matrix", "decision")


def key_of(table: str) -> list[str]:
    """Return the columns of a table that no two of its rows share."""
    there = {column.name for column in TABLES[table]}
    return [name for name in _OF_A_ROW if name in there]


def without_copies(table: str, parts: Mapping[Report, pa.Table]) -> tuple[list[pa.Table], list[Finding]]:
    """Leave out rows that have the key of an earlier row, in the same part or in one before.

    Args:
        table: one of `analysis.schema.TABLES`.
        parts: the rows of each report, with the columns of the key.

    Returns:
        The parts without such rows, and a finding for each file that has some.
    """
    import pyarrow as pa

    if not parts:
        return [], []
    keys = pa.concat_tables([part.select(key_of(table)) for part in parts.values()]).unify_dictionaries()
    copied = _copied(keys)
    kept, findings, start = [], [], 0
    for report, part in parts.items():
        own = copied[start : start + part.num_rows]
        start += part.num_rows
        kept.append(part.filter(pa.array(~own)) if own.any() else part)
        if own.any():
            wrong = f"{own.sum():,} of its rows are of a trial and step that earlier rows are of"
            file = f"tables/{table}/{report.name}.parquet"
            findings.append(Finding("ignored", file, wrong, "they are left out"))
    return kept, findings


def _copied(keys: pa.Table) -> NDArray[np.bool_]:
    """Tell which rows have the key of an earlier row; shape [rows].

    Each column becomes whole numbers from 0 on, and a key one number, which is much faster to compare than rows.
    """
    import pandas as pd

    whole = np.zeros(keys.num_rows, dtype=np.int64)
    largest = 0
    for column in keys.columns:
        codes, distinct = pd.factorize(column.combine_chunks().to_pandas(), use_na_sentinel=False)
        if (largest + 1) * (len(distinct) + 1) >= 2**62:
            return np.asarray(keys.to_pandas().duplicated())
        whole = whole * len(distinct) + codes
        largest = (largest + 1) * len(distinct)
    return np.asarray(pd.Series(whole).duplicated())
