"""Bases that are orthonormal, in order, and the same wherever they are computed."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.complexity.rotation import ROTATION_BITS, integer_basis, rotated_back

Floats = npt.NDArray[np.float64]

ONE = 1 << ROTATION_BITS


def integers(rows: int, columns: int, seed: int = 0, reach: int = 50) -> Floats:
    return np.random.default_rng(seed).integers(-reach, reach, (rows, columns), endpoint=True).astype(np.float64)


def as_floats(basis: npt.NDArray[np.int32]) -> Floats:
    return basis.astype(np.float64) / ONE


@pytest.mark.parametrize("shape", [(16, 16), (16, 40), (40, 16), (33, 7), (113, 128), (1, 5), (5, 1)])
def test_bases_are_orthonormal(shape: tuple[int, int]) -> None:
    basis = as_floats(integer_basis(integers(*shape)))
    assert basis.shape == (shape[0], shape[0])
    np.testing.assert_allclose(basis.T @ basis, np.eye(shape[0]), atol=1e-4)


def test_the_first_vectors_span_the_columns_the_largest_first() -> None:
    matrix = integers(30, 3, 1) @ integers(3, 50, 2)
    in_basis = as_floats(integer_basis(matrix)).T @ matrix
    sizes = np.linalg.norm(in_basis, axis=1)
    assert np.all(sizes[:3] > 0.05 * np.linalg.norm(matrix))
    assert np.all(sizes[3:] < 1e-4 * np.linalg.norm(matrix))
    # The first vector is along the column with the largest norm, the second along what is largest without it ...
    columns = matrix.copy()
    for vector in as_floats(integer_basis(matrix)).T[:3]:
        largest = columns[:, np.argmax(np.linalg.norm(columns, axis=0))]
        assert abs(float(vector @ largest)) == pytest.approx(float(np.linalg.norm(largest)), rel=1e-4)
        columns -= np.outer(vector, vector @ columns)


def test_nothing_spans_nothing() -> None:
    assert np.array_equal(integer_basis(np.zeros((5, 3))), ONE * np.eye(5, dtype=np.int32))


def test_only_the_columns_that_are_there_count() -> None:
    matrix = integers(20, 30)
    matrix[:, ::2] = 0
    assert np.array_equal(integer_basis(matrix), integer_basis(matrix[:, 1::2]))


def test_large_integers_count_by_their_first_bits() -> None:
    matrix = integers(20, 30, reach=2**20)
    assert np.array_equal(integer_basis(matrix * 2.0**30), integer_basis(matrix * 2.0**20))


def by_hand(matrix: list[list[float]]) -> list[list[int]]:
    """The same by Python's floats, one after the other."""

    def summed(terms: list[float]) -> float:
        while len(terms) > 1:
            half = len(terms) // 2
            kept = len(terms) - half
            terms = [terms[i] + terms[kept + i] if i < half else terms[i] for i in range(kept)]
        return terms[0]

    def reflect(columns: list[list[float]], vector: list[float], factor: float, first: int) -> None:
        for column in columns:
            along = summed([v * x for v, x in zip(vector, column[first:], strict=True)]) * factor
            column[first:] = [x - v * along for v, x in zip(vector, column[first:], strict=True)]

    n = len(matrix)
    columns = [list(column) for column in zip(*matrix, strict=True) if any(column)]
    columns = [[x * 2.0**-24 for x in column] for column in columns]
    squares = [summed([x * x for x in column]) for column in columns]
    least = max(squares) * 2.0**-40
    collected = []
    for k in range(min(n, len(columns))):
        pivot = squares.index(max(squares))
        vector = columns[pivot][k:]
        square = summed([v * v for v in vector])
        if not square > least:
            break
        norm = math.sqrt(square)
        vector[0] += norm if vector[0] >= 0 else -norm
        factor = 1 / (norm * abs(vector[0]))
        reflect(columns, vector, factor, k)
        squares = [s - column[k] * column[k] for s, column in zip(squares, columns, strict=True)]
        squares[pivot] = 0.0
        collected.append((vector, factor, k))
    basis = [[float(i == j) for i in range(n)] for j in range(n)]
    for vector, factor, k in reversed(collected):
        reflect(basis[k:], vector, factor, k)
    return [[round(basis[j][i] * ONE) for j in range(n)] for i in range(n)]


@pytest.mark.parametrize(("shape", "rank"), [((9, 14), 9), ((17, 6), 6), ((12, 12), 3), ((16, 31), 16)])
def test_every_operation_is_one_of_ieee_in_a_fixed_order(shape: tuple[int, int], rank: int) -> None:
    """Bit for bit what a loop over single numbers finds; no library has a say in it."""
    matrix = integers(shape[0], rank, 1) @ integers(rank, shape[1], 2)
    assert integer_basis(matrix).tolist() == by_hand(matrix.tolist())
    # How the matrix lies in memory makes no difference.
    assert integer_basis(np.asfortranarray(matrix)).tolist() == by_hand(matrix.tolist())


@given(st.integers(0, 2**24), st.sampled_from([1, 2]), st.integers(0, 10))
@settings(max_examples=30)
def test_rotating_back_is_exact(reach: int, axis: int, seed: int) -> None:
    whole = integers(16, 20, seed, reach)
    basis = integer_basis(integers(16 if axis == 1 else 20, 9, seed))
    restored, bits = rotated_back(whole, axis, basis)
    a, b = whole.astype(np.int64).astype(object), basis.astype(object)
    expected = b @ a if axis == 1 else a @ b.T
    assert [[Fraction(value) for value in row] for row in restored.tolist()] == [
        [Fraction(int(value), ONE) * 2**bits for value in row] for row in expected
    ]


def test_the_largest_integers_lose_their_last_bits_and_no_more() -> None:
    whole = integers(256, 256, reach=2**52)
    basis = integer_basis(integers(256, 256, 1))
    restored, bits = rotated_back(whole, 1, basis)
    assert np.abs(restored).max() < 2.0**53
    expected = as_floats(basis) @ whole
    np.testing.assert_allclose(np.ldexp(restored, -bits), expected, atol=1e-6 * float(np.abs(expected).max()))
