"""How the bytes of a stream divide over its tensors."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from trainables.complexity.estimate import code_bits
from trainables.complexity.stream import ROUNDED, decode_codes


def bytes_by_tensor(bitstream: bytes, like: Mapping[str, Tensor]) -> dict[str, float]:
    """Bytes of every tensor; they add up to the stream's, whose few common ones go to each by its share."""
    if bitstream[0] == ROUNDED:
        codes = decode_codes(bitstream[1:-4], like)
        sizes = {name: code_bits(codes[name]) for name in like}
    else:
        sizes = {name: float(tensor.numel() * tensor.element_size()) for name, tensor in like.items()}
    total = sum(sizes.values()) or 1.0
    return {name: len(bitstream) * size / total for name, size in sizes.items()}
