"""Codes and networks of codes, drawn by hypothesis."""

from __future__ import annotations

from dataclasses import replace

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
from trainables.complexity.rotation_sources import Sources
from trainables.complexity.transform import LARGEST_REST, SHORTEST

NONE = np.zeros(0, dtype=np.int32)

DTYPES = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])

#: From every form of coding: all zero, few digits, several bytes.
REACHES = st.sampled_from([0, 1, 5, 300, LARGEST_INTEGER])
INTEGERS = REACHES.flatmap(lambda high: st.integers(-high, high))

SCALES = st.integers(-3000, 1000)

#: Means as they can be sent.
MEANS = st.just(0.0) | st.floats(-10, 10).map(lambda mean: mean_from_bits(mean_bits(mean)) + 0.0)


#: Entries of larger matrices are random, which is much faster to draw.
_DRAWN_ONE_BY_ONE = 64


def _random(rows: int, columns: int, reach: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-reach, reach + 1, (rows, columns)).astype(np.int32)


def matrices(rows: int, columns: int) -> st.SearchStrategy[np.ndarray]:
    size = rows * columns
    if size > _DRAWN_ONE_BY_ONE:
        return st.tuples(REACHES, st.integers(0, 99)).map(lambda drawn: _random(rows, columns, *drawn))
    return st.lists(INTEGERS, min_size=size, max_size=size).map(
        lambda values: np.array(values, dtype=np.int32).reshape(rows, columns)
    )


@st.composite
def codes(draw: st.DrawFn, rows: int, columns: int) -> Code:
    """A code of a piece with these rows, the shorter side, and columns; not always exact."""
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
def rotated(draw: st.DrawFn, piece: Piece, code: Code, sources: Sources) -> Code:
    """A code with axes in any bases that there are."""
    if isinstance(code, Zeros):
        return code
    collected = []
    for axis in (1, 2):
        choices = sources.of_axis(piece, axis)
        if choices and (code.transform is None or code.transform.axis != axis):
            collected += draw(st.just([]) | st.sampled_from(choices).map(lambda rotation: [rotation]))
    return replace(code, rotations=tuple(collected))


@st.composite
def coded_networks(draw: st.DrawFn, *, extended: bool = False) -> tuple[dict[str, Tensor], dict[Piece, Code]]:
    """Tensors of any rank and dtype, and a code for every piece; with rotations in the extended form."""
    like = {}
    small = st.lists(st.integers(1, 4), max_size=3)
    large = st.sampled_from([[16, 17], [20, 2, 8], [17, 16], [16, 16]] if extended else [[16, 17], [20, 2, 8]])
    for index in range(draw(st.integers(1, 3))):
        shape = draw(large if extended and index < 2 else small | large)
        name = draw(st.sampled_from(["a", "z/kernel", "é"])) + str(index)
        like[name] = torch.full(shape, float("nan"), dtype=draw(DTYPES))
    cut = pieces({name: tuple(tensor.shape) for name, tensor in like.items()})
    current: dict[Piece, Code] = {}
    sources = Sources()
    for number, piece in enumerate(cut):
        code = draw(codes(piece.rows, piece.columns))
        if extended:
            code = draw(rotated(piece, code, sources))
            sources.add(number, piece, code if _is_something(code) else Zeros())
        current[piece] = code
    return like, current


def _is_something(code: Code) -> bool:
    """Whether it will not be coded as zeros."""
    return isinstance(code, Factors) or (isinstance(code, Direct) and bool(code.integers.any()))
