"""Candidates are what their codes decode to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

import pytest
import torch
from torch import Tensor

from trainables.complexity.buckets import buckets
from trainables.complexity.candidates import Candidates, Corrections, candidates, first_corrections, snapped_means
from trainables.complexity.codes import Direct, Factors, Zeros, mean_bits, mean_from_bits
from trainables.complexity.curvature import Curvature
from trainables.complexity.pieces import Piece, pieces, take
from trainables.complexity.stream import decode, encode, rebuilt

DTYPES = {"half": torch.float16, "vector": torch.float64}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network() -> dict[str, Tensor]:
    """Two lanes of everything that a code can stand for."""
    angles = 2 * math.pi * torch.arange(47) * torch.tensor([[2], [5]]) / 47
    low_rank = noise(2, 40, 3, seed=1) @ noise(2, 3, 60, seed=2)
    kinds = {
        "noise": noise(2, 40, 60),
        "low rank": low_rank.reshape(2, 40, 4, 15),
        "waves": noise(2, 50, 2) @ angles.cos() + 0.01 * noise(2, 50, 47),
        "waves of low rank": (
            noise(2, 40, 1) @ torch.cat([angles.cos()[:1], torch.ones(1, 2)], 1).expand(2, 1, 49)
        ),
        "vector": 3 + 0.1 * noise(2, 30),
        "vector about nothing": noise(2, 30),
        "long": noise(2, 130, 20),
        "rows of all sizes": noise(2, 30, 40) * torch.logspace(-1, 1, 30)[:, None],
        "half": noise(2, 20, 20),
        "scalar": torch.tensor([2.5, -0.1]),
        "unfelt": noise(2, 5, 5),
    }
    return {name: tensor.to(DTYPES.get(name, torch.float32)) for name, tensor in kinds.items()}


PRICES = (1e-5, 1e-3, 1e-1)


@pytest.fixture(autouse=True)
def shorter_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.complexity.pieces.LONGEST_SIDE", 64)


@cache
def candidates_at(price: float) -> tuple[Candidates, list[Piece]]:
    """Of the network, with gains that nothing has been fitted by, and how it is cut."""
    parameters = network()
    cut = pieces({name: tuple(tensor.shape[1:]) for name, tensor in parameters.items()})
    felt = {}
    for piece in cut:
        if piece.name == "unfelt":
            continue
        lanes, rows, columns = take(parameters[piece.name], piece).shape
        sharp = torch.logspace(1, -1, rows) if piece.name == "rows of all sizes" else torch.ones(rows)
        seen = torch.ones(lanes, columns, dtype=torch.bool)
        looks = noise(lanes, rows, 2 * rows, seed=3) * sharp.sqrt()[:, None]
        felt[piece] = Curvature(
            looks @ looks.mT / rows, torch.eye(columns).expand(lanes, -1, -1), seen[:, :1].expand(-1, rows), seen
        )
    first = first_corrections(parameters, cut)
    prepared = buckets(parameters, first.means, felt, 1e-4)
    gains = {piece: gain * (1 + 0.1 * noise(2, seed=4)) for piece, gain in first.gains.items()}
    prices = price * torch.tensor([1.0, 1.3])
    return candidates(prepared, prices, Corrections(gains, first.means), parameters), cut


def lane_of(tensors: Mapping[str, Tensor], lane: int) -> dict[str, Tensor]:
    return {name: tensor[lane] for name, tensor in tensors.items()}


@pytest.mark.parametrize("price", PRICES)
@pytest.mark.parametrize("lane", [0, 1])
def test_weights_are_what_their_codes_stand_for(price: float, lane: int) -> None:
    at, cut = candidates_at(price)
    pair, like = lane_of(at.parameters(), lane), lane_of(at.like, lane)
    expected = rebuilt(at.codes(lane, cut), like)
    assert list(pair) == list(like)
    for name, tensor in pair.items():
        assert tensor.dtype == like[name].dtype
        rough = 1e-3 if tensor.dtype == torch.float16 else 2e-6
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=rough * float(expected[name].abs().max()))


@pytest.mark.parametrize("price", PRICES)
def test_codes_are_decoded_as_they_are(price: float) -> None:
    at, cut = candidates_at(price)
    like, codes = lane_of(at.like, 1), at.codes(1, cut)
    assert list(codes) == cut
    decoded = decode(encode(codes, like)[0], like)
    assert all(torch.equal(decoded[name], tensor) for name, tensor in rebuilt(codes, like).items())


def test_every_kind_of_code_occurs_here() -> None:
    kinds = set()
    for price in PRICES:
        at, cut = candidates_at(price)
        for code in at.codes(0, cut).values():
            kind = type(code).__name__
            kinds.add(kind)
            if not isinstance(code, Zeros) and code.transform is not None:
                kinds |= {f"{kind} transformed along {code.transform.axis}"}
            if isinstance(code, Direct) and code.exponents.size:
                kinds.add("row scales")
            if not isinstance(code, Factors) and code.mean:
                kinds.add(f"{kind} with mean")
    assert kinds >= {"Zeros", "Direct", "Factors", "row scales", "Direct with mean", "Zeros with mean"}
    assert any("transformed along 1" in kind for kind in kinds)
    assert any("transformed along 2" in kind for kind in kinds)


def test_what_is_not_felt_is_zero() -> None:
    at, cut = candidates_at(PRICES[0])
    assert not at.parameters()["unfelt"].any()
    assert [code for piece, code in at.codes(0, cut).items() if piece.name == "unfelt"] == [Zeros()]


def test_bases_are_without_gains_and_means() -> None:
    at, cut = candidates_at(PRICES[0])
    bases = at.bases()
    (piece,) = (piece for piece in cut if piece.name == "vector")
    mean = at.corrections.means[piece][:, None]
    assert float((mean - 3).abs().max()) < 0.1
    plain = at.like["vector"].float() - mean
    torch.testing.assert_close(bases["vector"], plain, rtol=0, atol=0.05)
    (matrix,) = (piece for piece in cut if piece.name == "noise")
    gains = at.corrections.gains[matrix][:, None, None]
    # Scales are 128ths of octaves.
    torch.testing.assert_close(at.parameters()["noise"], bases["noise"] * gains, rtol=3e-3, atol=0)


def test_means_are_of_vectors_that_need_one() -> None:
    parameters = {
        "far": 5 + noise(2, 30),
        "near": noise(2, 30),
        "short": 5 + noise(2, 2),
        "matrix": 5 + noise(2, 9, 9),
    }
    cut = pieces({name: tuple(tensor.shape[1:]) for name, tensor in parameters.items()})
    corrected = first_corrections(parameters, cut)
    means = {piece.name: mean for piece, mean in corrected.means.items()}
    assert set(means) == {"far", "near", "short"}
    torch.testing.assert_close(means["far"], parameters["far"].mean(1), rtol=2e-3, atol=0)
    assert not means["near"].any()
    assert not means["short"].any()
    assert all(bool((gain == 1).all()) for gain in corrected.gains.values())


def test_snapped_means_can_be_sent() -> None:
    means = noise(50)
    snapped = snapped_means(means)
    assert torch.equal(snapped_means(snapped), snapped)
    torch.testing.assert_close(snapped, means, rtol=1e-3, atol=0)
    assert all(mean_from_bits(mean_bits(mean)) == mean for mean in snapped.tolist())


def test_some_lanes_of_corrections() -> None:
    at, cut = candidates_at(PRICES[0])
    picked = at.corrections.pick(torch.tensor([1]))
    assert all(torch.equal(picked.gains[piece], at.corrections.gains[piece][1:]) for piece in cut)
    assert all(torch.equal(mean, at.corrections.means[piece][1:]) for piece, mean in picked.means.items())
