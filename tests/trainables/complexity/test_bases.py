"""Bases of pieces that are rotated themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trainables.complexity.bases import Bases
from trainables.complexity.codes import Code, Direct, Factors, Rotation, Transform, Zeros, reconstruct
from trainables.complexity.rotation import ROTATION_BITS, integer_basis


def integers(rows: int, columns: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-9, 10, (rows, columns)).astype(np.int32)


def network() -> list[Code]:
    """Of a 20 x 30, a 30 x 30 and a 20 x 20 matrix, each in bases of those before it."""
    return [
        Direct(-100, integers(20, 30, 0), np.arange(20, dtype=np.int32) % 4, Transform(2, 29)),
        Direct(-300, integers(30, 30, 1), rotations=(Rotation(1, 0, 2), Rotation(2, 0, 2))),
        Factors(-200, integers(2, 20, 2), integers(2, 20, 3), rotations=(Rotation(2, 0, 1),)),
    ]


def test_pieces_are_rebuilt_in_the_bases_of_those_before_them() -> None:
    codes = network()
    bases = Bases(codes)
    first = reconstruct(codes[0], 20, 30)
    scale = 2.0**ROTATION_BITS
    basis = bases.of(Rotation(1, 0, 2)) / scale
    # The basis of its rows: the first vector is along the largest of them.
    largest = first[np.argmax(np.linalg.norm(first, axis=1))]
    assert abs(float(basis[:, 0] @ largest)) == pytest.approx(float(np.linalg.norm(largest)), rel=1e-4)
    plain = reconstruct(replace(codes[1], rotations=()), 30, 30)
    rebuilt = reconstruct(codes[1], 30, 30, bases.of_axes(codes[1]))
    np.testing.assert_allclose(rebuilt, basis @ plain @ basis.T, atol=1e-4 * float(np.abs(plain).max()))
    plain = reconstruct(replace(codes[2], rotations=()), 20, 20)
    rebuilt = reconstruct(codes[2], 20, 20, bases.of_axes(codes[2]))
    other = bases.of(Rotation(2, 0, 1)) / scale
    np.testing.assert_allclose(rebuilt, plain @ other.T, atol=1e-4 * float(np.abs(plain).max()))


def test_a_basis_is_that_of_the_rotated_piece() -> None:
    codes = network()
    computed = Bases(codes).of(Rotation(1, 1, 1)) / 2.0**ROTATION_BITS
    rebuilt = reconstruct(codes[1], 30, 30, Bases(codes).of_axes(codes[1]))
    largest = rebuilt[:, np.argmax(np.linalg.norm(rebuilt, axis=0))]
    assert abs(float(computed[:, 0] @ largest)) == pytest.approx(float(np.linalg.norm(largest)), rel=1e-4)


def test_scales_and_means_make_no_difference() -> None:
    codes = network()
    others: list[Code] = [replace(code, scale=code.scale + 77) for code in codes if not isinstance(code, Zeros)]
    for rotation in (Rotation(1, 0, 1), Rotation(1, 1, 2), Rotation(1, 2, 1)):
        assert np.array_equal(Bases(codes).of(rotation), Bases(others).of(rotation))


def test_codes_may_come_later() -> None:
    codes: list[Code] = []
    bases = Bases(codes)
    codes += network()
    whole = codes[2]
    assert isinstance(whole, Factors)
    assert bases.of(Rotation(1, 0, 1)).shape == (20, 20)
    assert not np.array_equal(bases.of(Rotation(1, 0, 1)), integer_basis(np.eye(20)))
