"""Reconstruction in exact arithmetic."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainables.complexity.drawn import codes
from trainables.complexity.codes import (
    EXACT,
    LARGEST_INTEGER,
    LARGEST_ROW_SCALE,
    LARGEST_SCALE,
    SCALES_PER_OCTAVE,
    SMALLEST_ROW_SCALE,
    Direct,
    Factors,
    Transform,
    Zeros,
    exponents_of,
    is_exact,
    mean_bits,
    mean_from_bits,
    nearest_scale,
    reconstruct,
    row_scales,
    scale_size,
)
from trainables.complexity.transform import integer_matrix

#: Row scales as the decoder has them: integers over 2^12.
ROW_SCALES = [math.floor(2 ** (12 + k / 2) + 0.5) for k in range(SMALLEST_ROW_SCALE, LARGEST_ROW_SCALE + 1)]


def test_scales_are_128ths_of_octaves_to_the_last_bit() -> None:
    with localcontext() as context:
        context.prec = 60
        for scale in [*range(-300, 300), -LARGEST_SCALE, LARGEST_SCALE]:
            exact = Decimal(2) ** (Decimal(scale) / SCALES_PER_OCTAVE)
            assert abs(Decimal(scale_size(scale)) / exact - 1) < Decimal(2) ** -53


@pytest.mark.parametrize(
    ("scale", "size"),
    [
        (0, "0x1.0000000000000p+0"),
        (1, "0x1.0163da9fb3335p+0"),
        (64, "0x1.6a09e667f3bcdp+0"),
        (-1, "0x1.fd3c22b8f71f1p-1"),
        (-LARGEST_SCALE, "0x1.0000000000000p-128"),
    ],
)
def test_scales_are_the_same_everywhere(scale: int, size: str) -> None:
    assert scale_size(scale).hex() == size


@given(st.floats(1e-38, 1e38))
def test_the_nearest_scale_is_the_nearest(size: float) -> None:
    scale = nearest_scale(size)
    assert abs(math.log2(scale_size(scale) / size)) <= 0.5001 / SCALES_PER_OCTAVE


@pytest.mark.parametrize(("size", "scale"), [(1e-300, -LARGEST_SCALE), (1e300, LARGEST_SCALE)])
def test_scales_end_somewhere(size: float, scale: int) -> None:
    assert nearest_scale(size) == scale


def test_the_encoders_row_scales_are_the_decoders() -> None:
    exponents = torch.arange(SMALLEST_ROW_SCALE, LARGEST_ROW_SCALE + 1)
    assert row_scales(exponents.double()).tolist() == [scale / 2**12 for scale in ROW_SCALES]
    code = Direct(0, np.ones((len(exponents), 1), dtype=np.int32), exponents.int().numpy())
    assert reconstruct(code, len(exponents), 1)[:, 0].tolist() == [scale / 2**12 for scale in ROW_SCALES]


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_means_are_sent_to_eleven_bits(mean: float) -> None:
    mean_back = mean_from_bits(mean_bits(mean))
    assert mean_bits(mean_back) == mean_bits(mean)
    assert abs(mean_back - mean) <= max(abs(mean) / 2**10, 2.0**-136)


def whole_numbers(code: Direct | Factors, rows: int, columns: int) -> tuple[list[list[Fraction]], int]:
    """The weights over the scale in exact arithmetic, and the largest sum of magnitudes times its denominator."""
    if isinstance(code, Direct):
        scales = [ROW_SCALES[k - SMALLEST_ROW_SCALE] for k in code.exponents] or [1] * rows
        shift = 12 if code.exponents.size else 0
        whole = [[int(code.integers[i, j]) * scales[i] for j in range(columns)] for i in range(rows)]
        reach = max(abs(value) for row in whole for value in row)
    else:
        exponents = [int(exponent) for exponent in exponents_of(code.left)]
        shift = max(exponents)
        terms = [
            [
                [int(a) * int(b) << shift - e for a, b, e in zip(left, right, exponents, strict=True)]
                for right in code.right.T
            ]
            for left in code.left.T
        ]
        whole = [[sum(entry) for entry in row] for row in terms]
        squares = max(sum(int(value) ** 2 for value in row) for row in code.left)
        reach = max(squares, *(sum(map(abs, entry)) for row in terms for entry in row))
    if code.transform is not None:
        along = rows if code.transform.axis == 1 else columns
        matrix = integer_matrix(code.transform.length, along).astype(object)
        given = np.array(whole, dtype=object)
        magnitudes = np.abs(given)
        if code.transform.axis == 1:
            whole, sums = (matrix.T @ given).tolist(), np.abs(matrix).T @ magnitudes
        else:
            whole, sums = (given @ matrix).tolist(), magnitudes @ np.abs(matrix)
        reach = max(reach, int(sums.max()))
        shift += 14
    return [[Fraction(value, 1 << shift) for value in row] for row in whole], reach


@given(st.data())
@settings(max_examples=100)
def test_all_but_the_scale_and_the_mean_is_exact(data: st.DataObject) -> None:
    """Only these two round: weights are the exact integers times the scale, plus the mean."""
    rows, columns = data.draw(st.sampled_from([(1, 1), (1, 5), (3, 4), (16, 17)]))
    code = data.draw(codes(rows, columns).filter(lambda code: not isinstance(code, Zeros)))
    assert not isinstance(code, Zeros)
    whole, reach = whole_numbers(code, rows, columns)
    if not is_exact(code):
        return
    assert reach < EXACT
    rebuilt = reconstruct(code, rows, columns)
    size = scale_size(code.scale)
    mean = code.mean if isinstance(code, Direct) else 0.0
    assert rebuilt.tolist() == [[float(value) * size + mean for value in row] for row in whole]


def test_what_is_coded_in_practice_is_exact() -> None:
    """The bounds leave room: 20 bits of an integer with a transform and row scales, 16 of both factors."""
    wide = np.full((16, 1024), 2**20, dtype=np.int32)
    scaled = np.full(16, LARGEST_ROW_SCALE, dtype=np.int32)
    assert is_exact(Direct(0, wide // 2**3, scaled, Transform(2, 1024)))
    assert is_exact(
        Factors(0, np.full((40, 1024), 2**16, dtype=np.int32), np.full((40, 1024), 2**16, dtype=np.int32))
    )


def test_the_mean_is_added_last() -> None:
    code = Direct(-100, np.array([[3, -2, 0]], dtype=np.int32), mean=0.75)
    assert reconstruct(code, 1, 3)[0].tolist() == [value * scale_size(-100) + 0.75 for value in (3.0, -2.0, 0.0)]
    assert reconstruct(Zeros(0.75), 1, 3).tolist() == [[0.75, 0.75, 0.75]]
    assert reconstruct(Zeros(), 2, 3).tolist() == [[0.0] * 3] * 2


def test_exponents_are_about_the_norm() -> None:
    left = np.array([[0, 0], [1, 0], [1, 1], [2, 0], [3, 3], [-7, 1], [2**23, 2**23]], dtype=np.int32)
    assert exponents_of(left).tolist() == [0, 0, 0, 1, 2, 2, 23]


def test_products_beyond_float64_are_not_exact() -> None:
    large = np.full((1, 3), 2**24, dtype=np.int32)
    assert is_exact(Factors(0, large, large))
    assert not is_exact(Factors(0, np.repeat(large, 33, 0), np.repeat(large, 33, 0)))
    assert not is_exact(Factors(0, np.full((1, 200), 2**24, dtype=np.int32), large))
    wide = np.full((16, 16), LARGEST_INTEGER, dtype=np.int32)
    scaled = np.full(16, LARGEST_ROW_SCALE, dtype=np.int32)
    assert is_exact(Direct(0, wide, transform=Transform(2, 16)))
    assert is_exact(Direct(0, wide, scaled))
    assert not is_exact(Direct(0, wide, scaled, Transform(2, 16)))
