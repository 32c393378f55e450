"""The real discrete Fourier transform along one side of a matrix, in integers.

A network may use the elements of a cyclic group, say, as a few frequencies along an embedding; along other sides
the transform only spreads things out, and is not used. The first `length` entries of a side are transformed; the
few others, which may represent something other than numbers, stay as they are.

The decoder applies the transpose of these integers, so they must be the same on every machine: the cosines are
computed in integer arithmetic, and nothing else about them needs to be exact.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

#: The integers are the entries of an orthogonal matrix times 2^14.
SCALE_BITS = 14

#: The shortest side worth a transform, and how many entries at its end may be left out.
SHORTEST = 16
LARGEST_REST = 3

_FIXED_BITS = 64
_TABLE_BITS = 30
_PI = 0x3_243F6A88_85A308D3
"""Pi in 64 fixed-point bits (the hexadecimal expansion of pi)."""


@cache
def integer_matrix(length: int, size: int) -> npt.NDArray[np.int32]:
    """Return [size, size]: the orthogonal real Fourier matrix of `length`, by rising frequency, then an identity.

    Row 0 is constant, rows 2f - 1 and 2f are cosine and sine of frequency f. Entries are scaled by 2^`SCALE_BITS`
    and rounded.
    """
    angles = [2 * _PI * k // length for k in range(length)]
    cosines = np.array([_cosine(angle) for angle in angles], dtype=np.int64)
    sines = np.array([_cosine(angle - _PI // 2) for angle in angles], dtype=np.int64)
    norms = [math.isqrt((count << 2 * _TABLE_BITS) // length) for count in (1, 2)]
    matrix = np.zeros((size, size), dtype=np.int32)
    numbers = np.arange(length)
    for row in range(length):
        frequency = (row + 1) // 2
        alone = row == 0 or 2 * frequency == length
        wave = sines if row and row % 2 == 0 else cosines
        values = wave[frequency * numbers % length] * norms[0 if alone else 1]
        matrix[row, :length] = ((values >> 2 * _TABLE_BITS - SCALE_BITS - 1) + 1) >> 1
    rest = np.arange(length, size)
    matrix[rest, rest] = 1 << SCALE_BITS
    return matrix


@cache
def float_matrix(length: int, size: int) -> Tensor:
    """Return `integer_matrix` [size, size] as float32, orthogonal up to its rounding."""
    return torch.from_numpy(integer_matrix(length, size).astype(np.float32) / 2.0**SCALE_BITS)


def _cosine(angle: int) -> int:
    """Return the cosine with 30 fractional bits, by its power series, of an angle with 64."""
    turn = 2 * _PI
    angle %= turn
    if angle > _PI:
        angle = turn - angle
    negative = angle > _PI // 2
    if negative:
        angle = _PI - angle
    square = angle * angle >> _FIXED_BITS
    term = total = 1 << _FIXED_BITS
    for n in range(1, 16):
        term = -(term * square >> _FIXED_BITS) // ((2 * n - 1) * 2 * n)
        total += term
    total >>= _FIXED_BITS - _TABLE_BITS
    return -total if negative else total
