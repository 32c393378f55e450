"""A network as matrices: every tensor cut into pieces with bounded sides, the shorter side as rows.

A tensor of more than two dimensions is a matrix with all dimensions but the first as columns, a vector is one
row. The work on a piece grows with the cube of its side, so bounded sides keep the total linear in the number of
weights. Encoder and decoder cut alike, since the cut follows from shapes alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

#: The longest side of a piece.
LONGEST_SIDE = 512

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Piece:
    """A rectangle of one tensor seen as a matrix."""

    name: str
    row: int
    """Its first row in the tensor's matrix."""
    column: int
    """Its first column in the tensor's matrix."""
    height: int
    width: int
    transposed: bool
    """Whether its rows are the tensor's columns."""

    @property
    def rows(self) -> int:
        """Rows of the piece, its shorter side."""
        return min(self.height, self.width)

    @property
    def columns(self) -> int:
        """Columns of the piece, its longer side."""
        return max(self.height, self.width)


def pieces(shapes: Shapes) -> list[Piece]:
    """List the pieces of all tensors, sorted by name; the order follows from shapes alone."""
    cut = []
    for name in sorted(shapes):
        height, width = matrix_shape(shapes[name])
        for row in range(0, height, LONGEST_SIDE):
            for column in range(0, width, LONGEST_SIDE):
                tall, wide = min(LONGEST_SIDE, height - row), min(LONGEST_SIDE, width - column)
                cut.append(Piece(name, row, column, tall, wide, transposed=tall > wide))
    return cut


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the rows and columns of a tensor as a matrix."""
    if len(shape) < 2:
        return 1, math.prod(shape)
    return shape[0], math.prod(shape[1:])


def take(tensor: Tensor, piece: Piece) -> Tensor:
    """Return the piece [L, rows, columns] of a tensor with a lane axis [L, ...], as a view."""
    matrix = tensor.reshape(tensor.shape[0], *matrix_shape(tuple(tensor.shape[1:])))
    part = matrix[:, piece.row : piece.row + piece.height, piece.column : piece.column + piece.width]
    return part.mT if piece.transposed else part


def put(values: Tensor, into: Tensor, piece: Piece) -> None:
    """Write the piece [L, rows, columns] into its place in a contiguous tensor [L, ...]."""
    take(into, piece).copy_(values)
