"""Pieces: every weight in exactly one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainables.complexity.pieces import LONGEST_SIDE, Piece, matrix_shape, pieces, put, take

LONGEST = 5
SHAPES = st.lists(st.integers(1, 13), max_size=4).map(tuple)


@pytest.fixture(autouse=True)
def shorter_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.complexity.pieces.LONGEST_SIDE", LONGEST)


@given(st.lists(SHAPES, min_size=1, max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_weight_is_in_one_piece(drawn: list[tuple[int, ...]]) -> None:
    shapes = {f"w{index}": shape for index, shape in enumerate(drawn)}
    counts = {name: torch.zeros(2, *shape) for name, shape in shapes.items()}
    parts = pieces(shapes)
    for piece in parts:
        assert 1 <= piece.rows <= piece.columns <= LONGEST
        part = take(counts[piece.name], piece)
        assert part.shape == (2, piece.rows, piece.columns)
        put(part + 1, counts[piece.name], piece)
    assert all(bool((count == 1).all()) for count in counts.values())
    assert len(set(parts)) == len(parts)


@given(SHAPES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_taken_is_put_back_where_it_was(shape: tuple[int, ...]) -> None:
    tensor = torch.randn(3, *shape)
    into = torch.zeros_like(tensor)
    for piece in pieces({"w": shape}):
        put(take(tensor, piece).clone(), into, piece)
    assert torch.equal(into, tensor)


def test_pieces_do_not_depend_on_the_order_of_names() -> None:
    shapes: dict[str, tuple[int, ...]] = {"b": (7, 3), "a": (4,), "c": ()}
    assert pieces(shapes) == pieces(dict(reversed(shapes.items())))
    assert [piece.name for piece in pieces(shapes)] == ["a", "b", "b", "c"]


def test_the_shorter_side_is_that_of_rows() -> None:
    (piece,) = pieces({"w": (5, 2)})
    assert piece == Piece("w", 0, 0, 5, 2, transposed=True)
    tensor = torch.arange(10.0).reshape(1, 5, 2)
    assert torch.equal(take(tensor, piece)[0], tensor[0].T)


def test_tensors_are_matrices_of_their_first_dimension() -> None:
    assert [matrix_shape(shape) for shape in ((), (7,), (2, 3), (2, 3, 4, 5))] == [(1, 1), (1, 7), (2, 3), (2, 60)]


def test_pieces_are_no_shorter_than_they_must_be() -> None:
    assert LONGEST_SIDE >= 512
    assert [(piece.height, piece.width) for piece in pieces({"w": (6, 7)})] == [(5, 5), (5, 2), (1, 5), (1, 2)]
