"""Rotations of one matrix into the basis of another: what a network has learned about an axis, said only once.

Many tensors of a network read from or write to the same few directions of a space, and each is simpler in a basis
of them. The basis comes from a piece that the decoder has rebuilt already: Q of the QR decomposition with column
pivoting (Businger and Golub, 1965), by Householder reflections. It is rounded to integers, and they must be the
same on every machine; so it is computed by IEEE operations on one element at a time, in one order, and never by a
matrix product or a sum whose order a library chooses.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

#: The integers are the entries of an orthogonal matrix times 2^16.
ROTATION_BITS = 16

#: Sides of a piece that may be rotated, and of those whose bases are used.
SHORTEST_ROTATED = 16
LONGEST_ROTATED = 256

#: Before an integer matrix is rotated, its entries are rounded to so many bits: then sums of `LONGEST_ROTATED`
#: products stay exact in float64.
_KEPT_BITS = 24

#: Columns with less than this share of the largest one's square, when all before are projected out, span nothing.
_LEAST_SQUARE = 2.0**-40


def rotated_back(whole: Floats, axis: int, basis: Integers) -> tuple[Floats, int]:
    """Integers [rows, columns] rotated out of the basis of one axis, and how many fractional bits they gain.

    Entries are rounded to `_KEPT_BITS` bits first, a relative error of 2^-25; the product is exact.
    """
    whole, dropped = _kept(whole)
    matrix = basis.astype(np.float64)
    return np.asarray(matrix @ whole if axis == 1 else whole @ matrix.T), ROTATION_BITS - dropped


def integer_basis(matrix: Floats) -> Integers:
    """An orthonormal basis [n, n] for the columns of an integer matrix [n, m], the same on every machine.

    Its first vectors span the columns, those that are largest (after projection) first; the rest is orthogonal to
    all of them. The vectors are the columns of what is returned, times 2^`ROTATION_BITS` and rounded.
    """
    n = len(matrix)
    whole, _ = _kept(matrix[:, matrix.any(axis=0)])
    # A power of two is no rounding, and then no square is too small or too large.
    left = np.ascontiguousarray(np.ldexp(whole, -_KEPT_BITS))
    vectors = _householder_vectors(left)
    basis = np.eye(n)
    for k in range(len(vectors) - 1, -1, -1):
        _reflect(basis[k:, k:], *vectors[k])
    return np.asarray(np.rint(np.ldexp(basis, ROTATION_BITS)), dtype=np.int32)


def _householder_vectors(left: Floats) -> list[tuple[Floats, float]]:
    """The reflections, vector [n - k] and factor, that make a matrix [n, m] upper triangular up to the order of
    its columns; the matrix is overwritten."""
    found: list[tuple[Floats, float]] = []
    if not left.size:
        return found
    squares = _summed(left * left)
    least = squares.max() * _LEAST_SQUARE
    for k in range(min(left.shape)):
        pivot = int(np.argmax(squares))
        vector = left[k:, pivot].copy()
        square = float(_summed((vector * vector)[:, None])[0])
        if not square > least:
            break
        norm = float(np.sqrt(square))
        vector[0] += norm if vector[0] >= 0 else -norm
        # |vector|^2 = 2 norm (norm + |first entry|)
        factor = 1.0 / (norm * abs(float(vector[0])))
        _reflect(left[k:], vector, factor)
        squares -= left[k] * left[k]
        squares[pivot] = 0.0
        found.append((vector, factor))
    return found


def _reflect(matrix: Floats, vector: Floats, factor: float) -> None:
    """matrix -= factor vector (vector^T matrix), in place."""
    along = _summed(vector[:, None] * matrix)
    along *= factor
    matrix -= vector[:, None] * along


def _summed(terms: Floats) -> Floats:
    """The sums [m] of the columns of terms [n, m], by adding the last half to the first; terms are overwritten."""
    count = len(terms)
    while count > 1:
        half = count // 2
        terms[:half] += terms[count - half : count]
        count -= half
    return np.asarray(terms[0])


def _kept(whole: Floats) -> tuple[Floats, int]:
    """Integers rounded to `_KEPT_BITS` bits, and how many bits were dropped."""
    largest = float(np.abs(whole).max(initial=0.0))
    dropped = max(0, int(np.frexp(largest)[1]) - _KEPT_BITS)
    return np.asarray(np.rint(np.ldexp(whole, -dropped))), dropped
