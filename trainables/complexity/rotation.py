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

#: Lengths of sides: the shortest and longest that may be rotated or give a basis.
SHORTEST_ROTATED = 16
LONGEST_ROTATED = 256

#: Before an integer matrix is rotated, its entries are rounded to this many bits: then sums of `LONGEST_ROTATED`
#: products stay exact in float64.
_KEPT_BITS = 24

#: Once all earlier pivots are projected out, columns with less than this share of the largest square count as zero.
_LEAST_SQUARE = 2.0**-40


def rotated_back(whole: Floats, axis: int, basis: Integers) -> tuple[Floats, int]:
    """Rotate integers [rows, columns] out of the basis of one axis; also return the fractional bits they gain.

    Entries are rounded to `_KEPT_BITS` bits first, a relative error of 2^-25; the product is exact.
    """
    whole, dropped = _kept(whole)
    matrix = basis.astype(np.float64)
    return np.asarray(matrix @ whole if axis == 1 else whole @ matrix.T), ROTATION_BITS - dropped


def integer_basis(matrix: Floats) -> Integers:
    """Compute an orthonormal basis [n, n] for the columns of an integer matrix [n, m], the same on every machine.

    Its first vectors span the columns, the largest (after projection) first; the others are orthogonal to all of
    these. The vectors are the columns of the result, times 2^`ROTATION_BITS` and rounded.
    """
    n = len(matrix)
    whole, _ = _kept(matrix[:, matrix.any(axis=0)])
    # Scaling by a power of two does not round, and it keeps squares from under- and overflowing.
    left = np.ascontiguousarray(np.ldexp(whole, -_KEPT_BITS))
    vectors = _householder_vectors(left)
    basis = np.eye(n)
    for k in range(len(vectors) - 1, -1, -1):
        _reflect(basis[k:, k:], *vectors[k])
    return np.asarray(np.rint(np.ldexp(basis, ROTATION_BITS)), dtype=np.int32)


def _householder_vectors(left: Floats) -> list[tuple[Floats, float]]:
    """Return the reflections, each a vector [n - k] and a factor, that make a matrix [n, m] upper triangular.

    The triangle is up to the order of the columns. The matrix is overwritten.
    """
    reflections: list[tuple[Floats, float]] = []
    if not left.size:
        return reflections
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
        reflections.append((vector, factor))
    return reflections


def _reflect(matrix: Floats, vector: Floats, factor: float) -> None:
    """Apply matrix -= factor vector (vector^T matrix), in place."""
    along = _summed(vector[:, None] * matrix)
    along *= factor
    matrix -= vector[:, None] * along


def _summed(terms: Floats) -> Floats:
    """Sum the columns of terms [n, m] to [m], by adding the last half to the first; terms are overwritten."""
    count = len(terms)
    while count > 1:
        half = count // 2
        terms[:half] += terms[count - half : count]
        count -= half
    return np.asarray(terms[0])


def _kept(whole: Floats) -> tuple[Floats, int]:
    """Round integers to `_KEPT_BITS` bits; also return how many bits were dropped."""
    largest = float(np.abs(whole).max(initial=0.0))
    dropped = max(0, int(np.frexp(largest)[1]) - _KEPT_BITS)
    return np.asarray(np.rint(np.ldexp(whole, -dropped))), dropped
