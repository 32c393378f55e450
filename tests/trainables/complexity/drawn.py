"""Codes and networks of codes, drawn by hypothesis."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from trainables.complexity.codes import (
    LARGEST_INTEGER,
    LARGEST_ROW_SCALE,
    SMALLEST_ROW_SCALE,
    Code,
    Direct,
    Factors,
    Transform,
    Zeros,
    mean_bits,
    mean_from_bits,
)
from trainables.complexity.pieces import Piece, pieces
from trainables.complexity.transform import LARGEST_REST, SHORTEST

NONE = np.zeros(0, dtype=np.int32)

DTYPES = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])

#: From every form of coding: all zero, few digits, several bytes.
INTEGERS = st.sampled_from([0, 1, 5, 300, LARGEST_INTEGER]).flatmap(lambda high: st.integers(-high, high))

SCALES = st.integers(-3000, 1000)

#: Means as they can be sent.
MEANS = st.just(0.0) | st.floats(-10, 10).map(lambda mean: mean_from_bits(mean_bits(mean)) + 0.0)


def matrices(rows: int, columns: int) -> st.SearchStrategy[np.ndarray]:
    size = rows * columns
    return st.lists(INTEGERS, min_size=size, max_size=size).map(
        lambda values: np.array(values, dtype=np.int32).reshape(rows, columns)
    )


@st.composite
def codes(draw: st.DrawFn, rows: int, columns: int) -> Code:
    """Of a piece with so many rows, the shorter side, and columns; not always exact."""
    kind = draw(st.sampled_from(["zeros", "direct", "factors"]))
    if kind == "zeros":
        return Zeros(draw(MEANS) if rows == 1 else 0.0)
    transform = None
    if rows >= SHORTEST:
        axis = draw(st.sampled_from([1, 2]))
        side = rows if axis == 1 else columns
        transform = draw(st.none() | st.integers(0, LARGEST_REST).map(lambda rest: Transform(axis, side - rest)))
    if kind == "factors":
        rank = draw(st.integers(1, min(rows, 3)))
        return Factors(draw(SCALES), draw(matrices(rank, rows)), draw(matrices(rank, columns)), transform)
    integers = draw(matrices(rows, columns))
    if rows == 1:
        return Direct(draw(SCALES), integers, transform=transform, mean=draw(MEANS))
    row_scales = st.lists(st.integers(SMALLEST_ROW_SCALE, LARGEST_ROW_SCALE), min_size=rows, max_size=rows)
    exponents = draw(st.just(NONE) | row_scales.map(lambda drawn: np.array(drawn, dtype=np.int32)))
    return Direct(draw(SCALES), integers, exponents, transform)


@st.composite
def coded_networks(draw: st.DrawFn) -> tuple[dict[str, Tensor], dict[Piece, Code]]:
    """Tensors of any rank and dtype, and a code for every piece."""
    like = {}
    for index in range(draw(st.integers(1, 3))):
        shape = draw(st.lists(st.integers(1, 4), max_size=3) | st.sampled_from([[16, 17], [20, 2, 8]]))
        name = draw(st.sampled_from(["a", "z/kernel", "é"])) + str(index)
        like[name] = torch.full(shape, float("nan"), dtype=draw(DTYPES))
    cut = pieces({name: tuple(tensor.shape) for name, tensor in like.items()})
    return like, {piece: draw(codes(piece.rows, piece.columns)) for piece in cut}
