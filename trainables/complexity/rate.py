"""Estimated cost of rounded integers, without coding them: two-sided geometric, by row and column means.

Only the encoder looks at these numbers, so they may be floats.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.numerics.roots import square_root

#: The number of entries that the overall mean counts for in the mean of a row or column.
_SHRINKAGE = 2.0

#: The bits of a row or column that is not all zero, besides its entries.
_LINE_BITS = 2.0


def expected_magnitudes(magnitudes: Tensor) -> Tensor:
    """Return the expected magnitude of each entry of [..., R, C]: row mean times column mean over overall mean."""
    rows, columns = magnitudes.shape[-2:]
    # Above 0 for a matrix of zeros, since it is divided by.
    overall = magnitudes.mean((-1, -2), keepdim=True) + 1e-4
    if rows == 1:
        return overall.expand_as(magnitudes)
    by_row = (magnitudes.sum(-1, keepdim=True) + _SHRINKAGE * overall) / (columns + _SHRINKAGE)
    by_column = (magnitudes.sum(-2, keepdim=True) + _SHRINKAGE * overall) / (rows + _SHRINKAGE)
    return by_row * by_column / overall


def geometric_bits(mean: Tensor) -> tuple[Tensor, Tensor]:
    """Return the bits of a zero and per further unit, under a two-sided geometric distribution of this mean."""
    # P(k) is proportional to theta^|k|, whose mean magnitude is 2 theta / (1 - theta^2); this is that solved for
    # theta. Signs are included.
    theta = ((square_root(1 + mean * mean) - 1) / mean.clamp_min(1e-6)).clamp(1e-4, 0.9999)
    return -torch.log2((1 - theta) / (1 + theta)), -torch.log2(theta)


def estimated_bits(integers: Tensor) -> Tensor:
    """Estimate the bits [...] in which matrices [..., R, C] of integers will be coded."""
    magnitudes = integers.abs()
    zero, unit = geometric_bits(expected_magnitudes(magnitudes))
    bits = (zero + magnitudes * unit).sum((-1, -2))
    if integers.shape[-2] > 1:
        lines = (magnitudes > 0).any(-1).sum(-1) + (magnitudes > 0).any(-2).sum(-1)
        bits = bits + _LINE_BITS * lines
    return bits
