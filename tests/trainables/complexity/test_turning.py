"""Pieces rotated into the bases of those before them, where that pays."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from trainables.complexity.buckets import buckets
from trainables.complexity.candidates import Candidates, candidates, first_corrections
from trainables.complexity.codes import Rotation, Zeros
from trainables.complexity.curvature import Curvature
from trainables.complexity.pieces import Piece, pieces, take
from trainables.complexity.rounding import ZEROS, total_bits
from trainables.complexity.stream import decode, encode, rebuilt
from trainables.complexity.turning import Plan, planned, turned

PRICE = 1e-4


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network() -> dict[str, Tensor]:
    """Two lanes: most meet in few directions of a space of 48, in which noise has no preference."""
    few = torch.linalg.qr(noise(2, 48, 48))[0][:, :, :6] * torch.linspace(4, 1, 6)
    return {
        "a source": few @ noise(2, 6, 40, seed=1),
        "b read": noise(2, 20, 6, seed=2) @ few.mT + 0.004 * noise(2, 20, 48, seed=3),
        "c noise": noise(2, 48, 64, seed=4),
        "d written": noise(2, 64, 6, seed=5) @ few.mT,
        "e vector": noise(2, 48, seed=6),
    }


def prepared(lanes: list[int], price: float = PRICE) -> tuple[Candidates, list[Piece]]:
    parameters = {name: tensor[lanes] for name, tensor in network().items()}
    cut = pieces({name: tuple(tensor.shape[1:]) for name, tensor in parameters.items()})
    felt = {}
    for piece in cut:
        count, rows, columns = take(parameters[piece.name], piece).shape
        felt[piece] = Curvature(
            columns * torch.eye(rows).expand(count, -1, -1),
            torch.eye(columns).expand(count, -1, -1) / columns,
            torch.ones(count, rows, dtype=torch.bool),
            torch.ones(count, columns, dtype=torch.bool),
        )
    first = first_corrections(parameters, cut)
    by_piece = buckets(parameters, first.means, felt, PRICE)
    return candidates(by_piece, torch.full((len(lanes),), price), first, parameters), cut


@cache
def plan_of(lane: int) -> Plan:
    at, cut = prepared([lane])
    return planned(at, PRICE, cut)


def turned_at(price: float, lanes: list[int]) -> tuple[Candidates, list[Piece]]:
    at, cut = prepared(lanes, price)
    return turned(at, torch.full((len(lanes),), price), [plan_of(lane) for lane in lanes], cut), cut


def test_what_is_simple_in_the_basis_of_another_is_turned() -> None:
    for lane in (0, 1):
        plan = {piece.name: rotations for piece, rotations in plan_of(lane).items()}
        assert "a source" not in plan
        assert "c noise" not in plan
        assert "e vector" not in plan
        assert {rotation.source for name in ("b read", "d written") for rotation in plan[name]} <= {0, 1}


@pytest.mark.parametrize("price", [PRICE / 2, PRICE, 3 * PRICE])
def test_bits_are_saved_at_no_more_distortion(price: float) -> None:
    plain, _ = prepared([0, 1], price)
    before = total_bits(plain.rounded, 2)
    distortion = sum(one.distortion.sum(1) for one in plain.rounded)
    at, cut = turned_at(price, [0, 1])
    after = total_bits(at.rounded, 2)
    assert at.turned
    for lane in (0, 1):
        codes = at.codes(lane, cut)
        like = {name: tensor[lane] for name, tensor in at.like.items()}
        error = sum(float((rebuilt(codes, like)[name] - tensor).square().sum()) for name, tensor in like.items())
        assert after[lane] < 0.97 * before[lane]
        # What is felt is damped, so that of the rounding is less than it says.
        assert error + price * after[lane] < float(distortion[lane]) + price * before[lane]


@pytest.mark.parametrize("lane", [0, 1])
def test_weights_are_what_their_codes_stand_for(lane: int) -> None:
    at, cut = turned_at(PRICE, [0, 1])
    codes = at.codes(lane, cut)
    like = {name: tensor[lane] for name, tensor in at.like.items()}
    expected = rebuilt(codes, like)
    for name, tensor in at.parameters().items():
        reach = float(expected[name].abs().max())
        torch.testing.assert_close(tensor[lane], expected[name], rtol=0, atol=1e-5 * reach)
    decoded = decode(encode(codes, like, extended=True)[0], like)
    assert all(torch.equal(decoded[name], tensor) for name, tensor in expected.items())


def test_codes_say_which_rotations() -> None:
    at, cut = turned_at(PRICE, [0, 1])
    for lane in (0, 1):
        for number, (piece, code) in enumerate(at.codes(lane, cut).items()):
            assert not isinstance(code, Zeros)
            kept = at.turned.get((lane, piece))
            assert code.rotations == (kept.rotations if kept else ())
            assert all(rotation.source < number for rotation in code.rotations)


def test_scales_are_corrected_as_those_of_any_piece() -> None:
    at, _ = turned_at(PRICE, [0, 1])
    corrected = at.corrected(
        replace(at.corrections, gains={piece: 1.5 * gain for piece, gain in at.corrections.gains.items()})
    )
    bases, pair = corrected.bases(), corrected.parameters()
    for piece in {piece for _, piece in at.turned}:
        torch.testing.assert_close(pair[piece.name], 1.5 * bases[piece.name], rtol=3e-3, atol=1e-6)


def test_the_stream_of_a_lane_does_not_depend_on_the_others() -> None:
    at, cut = turned_at(PRICE, [0, 1])
    other, _ = turned_at(PRICE, [1, 0])
    for lane in (0, 1):
        like = {name: tensor[lane] for name, tensor in at.like.items()}
        one, same = at.codes(lane, cut), other.codes(1 - lane, cut)
        assert encode(one, like, extended=True) == encode(same, like, extended=True)


def test_a_source_that_is_nothing_at_another_price_is_left_out() -> None:
    at, cut = prepared([0])
    (number,) = (number for number, bucket in enumerate(at.buckets) if cut[0] in bucket.pieces)
    at.rounded[number].kinds[0, at.buckets[number].pieces.index(cut[0])] = ZEROS
    turns = turned(at, torch.tensor([PRICE]), [plan_of(0)], cut)
    assert any(rotation.source == 0 for rotations in plan_of(0).values() for rotation in rotations)
    assert all(rotation.source for one in turns.turned.values() for rotation in one.rotations)


def test_what_does_not_pay_is_left_out() -> None:
    at, cut = prepared([0])
    (noise_piece,) = (piece for piece in cut if piece.name == "c noise")
    plan = {noise_piece: (Rotation(1, 0, 1),)}
    assert not turned(at, torch.tensor([PRICE]), [plan], cut).turned


def test_where_all_is_nothing_nothing_is_turned() -> None:
    at, cut = turned_at(1e4, [0, 1])
    assert not at.turned
    assert all(isinstance(code, Zeros) for code in at.codes(0, cut).values())
