"""The integers that represent one piece of a network, and the exact arithmetic that turns them into weights.

Reconstruction is part of the decoder, so it must give the same bits on every machine. Every product and
sum below is over integers (times powers of two) small enough to be exact in float64: then neither the order
of a sum nor the number of threads can matter, and a fast matrix product may be used. Only the last product, with
the scale, and the last sum, with the mean, round, once per weight, and so does the conversion to the
tensor's dtype. Between one rotation and the next integers are rounded to fewer bits, each by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainables.complexity.rotation import rotated_back
from trainables.complexity.transform import SCALE_BITS, integer_matrix

Integers = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

#: Integers of larger magnitude are not coded: rounding that finely is no compression.
LARGEST_INTEGER = 2**24

#: Scales are 2^(k / 128) for an integer k.
SCALES_PER_OCTAVE = 128
LARGEST_SCALE = 128 * SCALES_PER_OCTAVE

#: Row scales are 2^(k / 2) for an integer k from the smallest to the largest, as integers times 2^12.
SMALLEST_ROW_SCALE = -4
LARGEST_ROW_SCALE = 8
_ROW_SCALE_BITS = 12
_ROW_SCALES = (1024, 1448, 2048, 2896, 4096, 5793, 8192, 11585, 16384, 23170, 32768, 46341, 65536)

#: Means are float32 without their last bits: sign, exponent and eleven bits of precision.
MEAN_BITS = 19

#: Float64 holds all integers up to here.
EXACT = 2.0**53


@dataclass(frozen=True, slots=True)
class Transform:
    """A Fourier transform that the decoder undoes, see `trainables.complexity.transform`."""

    axis: int
    """1: every column, along the row index; 2: every row, along the column index."""
    length: int


@dataclass(frozen=True, slots=True)
class Rotation:
    """An axis expressed in the basis of another piece, see `trainables.complexity.rotation`."""

    axis: int
    """1: the row index, so every column is rotated; 2: the column index."""
    source: int
    """The number of the other piece, below that of this one."""
    source_axis: int
    """1 for the basis of its columns' space, 2 for that of its rows'."""


@dataclass(frozen=True, slots=True)
class Zeros:
    """A piece whose entries all equal its mean."""

    mean: float = 0.0


@dataclass(frozen=True, slots=True)
class Direct:
    """Weights rounded one by one: weight = scale x row scale x integer + mean, transformed and rotated back."""

    scale: int
    integers: Integers
    """[rows, columns] of the piece."""
    exponents: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    """[rows]: row scales are 2^(exponent / 2); empty where all are 1."""
    transform: Transform | None = None
    mean: float = 0.0
    rotations: tuple[Rotation, ...] = ()
    """Rotations of axes that are not transformed, at most one for each axis, in the order of axes."""


@dataclass(frozen=True, slots=True)
class Factors:
    """A matrix as two rounded factors: weights = scale x left^T diag(2^-e) right, transformed and rotated back.

    The exponent e of a component is about the binary logarithm of the norm of its row of the left factor.
    """

    scale: int
    left: Integers
    """[rank, rows]"""
    right: Integers
    """[rank, columns]"""
    transform: Transform | None = None
    rotations: tuple[Rotation, ...] = ()


Code = Zeros | Direct | Factors


@cache
def _fractions() -> tuple[float, ...]:
    """Return 2^(k / 128) for k from 0 to 127, in integer arithmetic since `pow` differs by machine."""
    bits = 120
    root = 1 << (2 * bits)  # the square root of 2^(2 bits) is 1 with `bits` fractional bits
    roots = []
    power = 2 << bits
    for _ in range(SCALES_PER_OCTAVE.bit_length() - 1):
        power = math.isqrt(power << bits)
        roots.append(power)  # 2^(1/2), 2^(1/4), ...
    fractions = []
    for k in range(SCALES_PER_OCTAVE):
        value = math.isqrt(root)
        for place, factor in enumerate(roots):
            if k >> (len(roots) - 1 - place) & 1:
                value = value * factor >> bits
        fractions.append(math.ldexp(value >> (bits - 60), -60))
    return tuple(fractions)


def scale_size(scale: int) -> float:
    """Return 2^(scale / 128), the same float64 on every machine."""
    octave, fraction = divmod(scale, SCALES_PER_OCTAVE)
    return math.ldexp(_fractions()[fraction], octave)


def nearest_scale(size: float) -> int:
    """Return the scale whose size is nearest, within the limits."""
    return min(max(round(SCALES_PER_OCTAVE * math.log2(size)), -LARGEST_SCALE), LARGEST_SCALE)


def row_scales(exponents: Tensor) -> Tensor:
    """Turn exponents [...] (floats with integer values) into row scales."""
    table = torch.tensor(_ROW_SCALES, dtype=exponents.dtype, device=exponents.device) / 2.0**_ROW_SCALE_BITS
    return table[exponents.long() - SMALLEST_ROW_SCALE]


def mean_bits(mean: float) -> int:
    """Encode a mean as the bits that are sent."""
    dropped = 32 - MEAN_BITS
    # Adding half of the last kept unit to the bit pattern rounds the magnitude to nearest, exponent included.
    bits = (int(np.float32(mean).view(np.uint32)) + (1 << dropped - 1)) >> dropped
    # Rounding up the largest floats would give infinity.
    return bits - 1 if math.isfinite(mean) and not math.isfinite(mean_from_bits(bits)) else bits


def mean_from_bits(bits: int) -> float:
    """Decode a mean; bits that no mean has give infinity or NaN."""
    return float(np.uint32(bits << (32 - MEAN_BITS)).view(np.float32))


def exponents_of(left: Integers) -> npt.NDArray[np.int64]:
    """Return [rank]: floor of the binary logarithm of each left row's Euclidean norm; 0 for a row of zeros."""
    # frexp is exact, log2 is not: a square in [2^(e - 1), 2^e) has a root whose floored logarithm is (e - 1) // 2.
    squares = (left.astype(np.float64) ** 2).sum(axis=1)
    return np.asarray((np.frexp(np.maximum(squares, 1.0))[1] - 1) // 2, dtype=np.int64)


def is_exact(code: Code) -> bool:
    """Check that every sum of the reconstruction is exact in float64, whatever the order of its terms."""
    if isinstance(code, Zeros):
        return True
    if isinstance(code, Direct):
        reach = float(np.abs(code.integers).max(initial=0))
        if code.exponents.size:
            reach *= _ROW_SCALES[-1]
    else:
        # The sums of squares in `exponents_of` must be exact, too.
        if float(np.abs(code.left).max(initial=0)) ** 2 * code.left.shape[1] >= EXACT:
            return False
        exponents = exponents_of(code.left)
        largest = int(exponents.max(initial=0))
        product = np.abs(code.left).max(axis=1, initial=0).astype(np.float64) * np.abs(code.right).max(
            axis=1, initial=0
        )
        reach = float(np.sum(np.ldexp(product, largest - exponents)))
    if code.transform is not None:
        # The magnitudes in a column of an orthogonal matrix sum to at most the square root of its length; 1 more
        # covers the rounding to integers.
        reach *= 2.0**SCALE_BITS * (math.sqrt(code.transform.length) + 1)
    return reach < EXACT


def whole_numbers(code: Direct | Factors, bases: Mapping[int, Integers]) -> tuple[Floats, int]:
    """Return the weights [rows, columns] of a piece as integers in units of its scale, without its mean.

    Args:
        code: of the piece.
        bases: of the axes that are rotated.

    Returns:
        The integers, and how many of their bits come after the binary point.
    """
    shift = 0
    if isinstance(code, Direct):
        whole = code.integers.astype(np.float64)
        if code.exponents.size:
            table = np.array(_ROW_SCALES, dtype=np.float64)
            whole = whole * table[code.exponents - SMALLEST_ROW_SCALE][:, None]
            shift = _ROW_SCALE_BITS
    else:
        exponents = exponents_of(code.left)
        shift = int(exponents.max(initial=0))
        whole = np.ldexp(code.left.astype(np.float64), (shift - exponents)[:, None]).T @ code.right.astype(
            np.float64
        )
    if code.transform is not None:
        whole, shift = _transformed_back(whole, code.transform), shift + SCALE_BITS
    for rotation in code.rotations:
        whole, gained = rotated_back(whole, rotation.axis, bases[rotation.axis])
        shift += gained
    return whole, shift


def reconstruct(
    code: Code, rows: int, columns: int, bases: Mapping[int, Integers] = MappingProxyType({})
) -> Floats:
    """Return the weights [rows, columns] of a piece, given the bases of its rotated axes."""
    if isinstance(code, Zeros):
        return np.full((rows, columns), code.mean)
    whole, shift = whole_numbers(code, bases)
    weights = np.asarray(np.ldexp(whole, -shift) * scale_size(code.scale))
    # Adding 0 turns negative zeros into positive ones: machines differ in which of the two they produce.
    return weights + (code.mean if isinstance(code, Direct) else 0.0)


def _transformed_back(whole: Floats, transform: Transform) -> Floats:
    along = whole.shape[0] if transform.axis == 1 else whole.shape[1]
    matrix = integer_matrix(transform.length, along).astype(np.float64)
    return np.asarray(matrix.T @ whole if transform.axis == 1 else whole @ matrix)
