"""Which bases an axis may be rotated into."""

from __future__ import annotations

import numpy as np
import pytest

from trainables.complexity.codes import Direct, Rotation, Zeros
from trainables.complexity.pieces import Piece, pieces
from trainables.complexity.rotation import LONGEST_ROTATED, SHORTEST_ROTATED
from trainables.complexity.rotation_sources import MOST_SOURCES, Sources

SOMETHING = Direct(0, np.ones((1, 1), dtype=np.int32))


def piece(height: int, width: int) -> Piece:
    (parts,) = pieces({"w": (height, width)})
    return parts


def test_axes_of_the_same_length_before_it() -> None:
    sources = Sources()
    assert sources.of_axis(piece(20, 30), 1) == []
    sources.add(3, piece(20, 30), SOMETHING)
    sources.add(5, piece(30, 20), SOMETHING)  # its rows are the shorter side, too
    sources.add(6, piece(30, 30), SOMETHING)
    assert sources.of_axis(piece(20, 40), 1) == [Rotation(1, 3, 1), Rotation(1, 5, 1)]
    assert sources.of_axis(piece(20, 40), 2) == []
    assert sources.of_axis(piece(20, 30), 2) == [
        Rotation(2, 3, 2),
        Rotation(2, 5, 2),
        Rotation(2, 6, 1),
        Rotation(2, 6, 2),
    ]


def test_what_is_nothing_has_no_basis() -> None:
    sources = Sources()
    sources.add(0, piece(20, 30), Zeros())
    assert sources.of_axis(piece(20, 30), 1) == []


@pytest.mark.parametrize("shape", [(SHORTEST_ROTATED - 1, 30), (1, 30), (LONGEST_ROTATED + 1, LONGEST_ROTATED + 1)])
def test_neither_narrow_pieces_nor_long_axes(shape: tuple[int, int]) -> None:
    sources = Sources()
    sources.add(0, piece(*shape), SOMETHING)
    sources.add(1, piece(30, 30), SOMETHING)
    for axis in (1, 2):
        assert sources.of_axis(piece(*shape), axis) == []
        assert all(rotation.source == 1 for rotation in sources.of_axis(piece(30, 30), axis))


def test_of_many_pieces_the_first_ones() -> None:
    sources = Sources()
    for number in range(2 * MOST_SOURCES):
        sources.add(number, piece(20, 30), SOMETHING)
    sources_of_axis = sources.of_axis(piece(20, 30), 2)
    assert [rotation.source for rotation in sources_of_axis] == list(range(MOST_SOURCES))
