"""The bases that an axis may be rotated into: those of earlier pieces with a side of the same length."""

from __future__ import annotations

from trainables.complexity.codes import Code, Rotation, Zeros
from trainables.complexity.pieces import Piece
from trainables.complexity.rotation import LONGEST_ROTATED, SHORTEST_ROTATED

#: The largest number of sources offered for one length, the first ones: a large network has many pieces of one
#: length.
MOST_SOURCES = 32


class Sources:
    """The sides of pieces added so far, by length. Encoder and decoder add the same ones."""

    def __init__(self) -> None:
        self._by_length: dict[int, list[tuple[int, int]]] = {}

    def add(self, number: int, piece: Piece, code: Code) -> None:
        """Add the piece with this number, unless it is all zeros or too narrow."""
        if isinstance(code, Zeros) or piece.rows < SHORTEST_ROTATED:
            return
        for axis in (1, 2):
            length = _length(piece, axis)
            known = self._by_length.setdefault(length, [])
            if length <= LONGEST_ROTATED and len(known) < MOST_SOURCES:
                known.append((number, axis))

    def of_axis(self, piece: Piece, axis: int) -> list[Rotation]:
        """List all possible rotations of one axis of a later piece."""
        if piece.rows < SHORTEST_ROTATED:
            return []
        known = self._by_length.get(_length(piece, axis), ())
        return [Rotation(axis, source, source_axis) for source, source_axis in known]


def _length(piece: Piece, axis: int) -> int:
    return piece.rows if axis == 1 else piece.columns
