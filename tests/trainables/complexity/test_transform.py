"""The Fourier transform in integers."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from trainables.complexity.transform import LARGEST_REST, SCALE_BITS, SHORTEST, float_matrix, integer_matrix

UNIT = 2**SCALE_BITS


def by_numpy(length: int) -> np.ndarray:
    """[length, length]: the constant, then cosine and sine of every frequency, orthonormal, times 2^14."""
    numbers = np.arange(length)
    rows = [np.full(length, length**-0.5)]
    for frequency in range(1, length // 2 + 1):
        angles = 2 * np.pi * frequency * numbers / length
        if 2 * frequency == length:
            rows.append(np.cos(angles) * length**-0.5)
        else:
            rows += [np.cos(angles) * (2 / length) ** 0.5, np.sin(angles) * (2 / length) ** 0.5]
    return np.stack(rows) * UNIT


@pytest.mark.parametrize("length", range(SHORTEST - LARGEST_REST, 131))
def test_integers_are_the_cosines_rounded(length: int) -> None:
    integers = integer_matrix(length, length)
    assert np.abs(integers - by_numpy(length)).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("length", [*range(SHORTEST - LARGEST_REST, 131), 1021, 1024])
def test_the_matrix_is_orthogonal(length: int) -> None:
    """Half a unit in each of n entries of 1 / sqrt(n) is sqrt(n) / 2 units in a norm, twice in its square."""
    matrix = integer_matrix(length, length).astype(np.float64) / UNIT
    assert np.abs(matrix @ matrix.T - np.eye(length)).max() < length**0.5 / UNIT


def test_the_last_entries_stay() -> None:
    integers = integer_matrix(16, 19)
    assert np.array_equal(integers[:16, :16], integer_matrix(16, 16))
    assert np.array_equal(integers[16:, 16:], UNIT * np.eye(3, dtype=np.int32))
    assert not integers[:16, 16:].any()
    assert not integers[16:, :16].any()


def test_the_encoders_matrix_is_the_decoders() -> None:
    assert torch.equal(float_matrix(97, 99) * UNIT, torch.from_numpy(integer_matrix(97, 99)).float())


def test_integers_are_the_same_everywhere() -> None:
    content = b"".join(integer_matrix(length, length).astype("<i4").tobytes() for length in (16, 97, 113, 1024))
    assert hashlib.sha256(content).hexdigest() == "23e1fa9732f11f4324fd21930f44b6456aed2702f8af6a5b23ea9278ade0fd18"
