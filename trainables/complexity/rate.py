"""What rounded integers will cost, without coding them: two-sided geometric, by row and column means.

Only the encoder looks at these numbers, so they may be floats.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.numerics.roots import square_root

#: How many entries the mean of all counts for in that of a row or column.
_SHRINKAGE = 2.0

#: What a row or column that is not all zero costs by itself.
_LINE_BITS = 2.0


def expected_magnitudes(magnitudes: Tensor) -> Tensor:
    """Mean magnitude expected of each entry of [..., R, C]: row mean times column mean over mean."""
    rows, columns = magnitudes.shape[-2:]
    overall = magnitudes.mean((-1, -2), keepdim=True) + 1e-4
    if rows == 1:
        return overall.expand_as(magnitudes)
    by_row = (magnitudes.sum(-1, keepdim=True) + _SHRINKAGE * overall) / (columns + _SHRINKAGE)
    by_column = (magnitudes.sum(-2, keepdim=True) + _SHRINKAGE * overall) / (rows + _SHRINKAGE)
    return by_row * by_column / overall


def geometric_bits(mean: Tensor) -> tuple[Tensor, Tensor]:
    """Of a two-sided geometric distribution with this mean magnitude: bits of a zero, and bits per unit more."""
    theta = ((square_root(1 + mean * mean) - 1) / mean.clamp_min(1e-6)).clamp(1e-4, 0.9999)
    return -torch.log2((1 - theta) / (1 + theta)), -torch.log2(theta)


def estimated_bits(integers: Tensor) -> Tensor:
    """About how many bits matrices [..., R, C] of integers will be coded in, [...]."""
    magnitudes = integers.abs()
    zero, unit = geometric_bits(expected_magnitudes(magnitudes))
    bits = (zero + magnitudes * unit).sum((-1, -2))
    if integers.shape[-2] > 1:
        lines = (magnitudes > 0).any(-1).sum(-1) + (magnitudes > 0).any(-2).sum(-1)
        bits = bits + _LINE_BITS * lines
    return bits
