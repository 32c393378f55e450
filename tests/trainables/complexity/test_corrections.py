"""Scales and means fitted after rounding."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from tests.trainables.complexity.small_lanes import lanes, objective
from trainables.complexity.buckets import buckets
from trainables.complexity.candidates import Candidates, candidates, first_corrections
from trainables.complexity.corrections import fitted
from trainables.complexity.curvature import curvatures
from trainables.complexity.losses import base_losses
from trainables.complexity.objective import FunctionObjective
from trainables.complexity.pieces import pieces

STEPS = 30


def candidates_of(parameters: Mapping[str, Tensor], price: float = 1e-6) -> Candidates:
    count = len(next(iter(parameters.values())))
    cut = pieces({name: tuple(tensor.shape[1:]) for name, tensor in parameters.items()})
    first = first_corrections(parameters, cut)
    felt = curvatures(objective(count), parameters, base_losses(objective(count), parameters), cut, 1)
    return candidates(buckets(parameters, first.means, felt, 1e-4), torch.full((count,), price), first, parameters)


def scaled(parameters: Mapping[str, Tensor], factors: Mapping[str, list[float]]) -> dict[str, Tensor]:
    copy = dict(parameters)
    for name, factor in factors.items():
        copy[name] = copy[name] * torch.tensor(factor).reshape(-1, *[1] * (copy[name].ndim - 1))
    return copy


def mean_losses(at: Candidates) -> list[float]:
    parameters = at.parameters()
    with torch.no_grad():
        losses: list[float] = objective(len(parameters["gain"])).losses(parameters).mean(1).tolist()
    return losses


def test_a_tensor_on_a_wrong_scale_is_put_right() -> None:
    wrong = candidates_of(scaled(lanes(1), {"first/kernel": [0.75], "second/kernel": [1.3]}))
    (before,) = mean_losses(wrong)
    (after,) = mean_losses(wrong.corrected(fitted(wrong, objective(), STEPS)))
    assert after < 0.3 * before


def test_a_vector_about_a_wrong_mean_is_put_right() -> None:
    parameters = lanes(1)
    parameters["second/bias"] = parameters["second/bias"] + 3.0
    parameters["first/bias"] = parameters["first/bias"] + 2.0
    wrong = candidates_of(parameters)
    (before,) = mean_losses(wrong)
    fit = fitted(wrong, objective(), STEPS)
    (after,) = mean_losses(wrong.corrected(fit))
    assert after < 0.7 * before
    moved = {
        piece.name for piece, mean in fit.means.items() if not torch.equal(mean, wrong.corrections.means[piece])
    }
    assert "first/bias" in moved


def test_means_of_nothing_stay_nothing() -> None:
    at = candidates_of(lanes(2))
    fit = fitted(at, objective(2), STEPS)
    assert all(bool((mean[at.corrections.means[piece] == 0] == 0).all()) for piece, mean in fit.means.items())


@pytest.mark.parametrize("longest", [1024, 8])
def test_every_lane_is_fitted_by_itself(longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.complexity.pieces.LONGEST_SIDE", longest)
    parameters = scaled(lanes(3), {"first/kernel": [1.0, 0.7, 1.0], "second/kernel": [1.4, 1.0, 1.0]})
    together = fitted(candidates_of(parameters), objective(3), 5)
    assert len({len(gain) for gain in together.gains.values()}) == 1
    for lane in range(3):
        at = candidates_of({name: tensor[lane : lane + 1] for name, tensor in parameters.items()})
        alone = fitted(at, objective(), 5)
        for piece, gain in alone.gains.items():
            torch.testing.assert_close(together.gains[piece][lane], gain[0], rtol=1e-2, atol=0)


def test_pieces_of_one_tensor_are_fitted_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.complexity.pieces.LONGEST_SIDE", 8)
    parameters = lanes(1)
    parameters["first/kernel"][:, :8, 8:16] *= 0.5
    wrong = candidates_of(parameters)
    fit = fitted(wrong, objective(), STEPS)
    gains = {
        (piece.row, piece.column): float(gain) for piece, gain in fit.gains.items() if piece.name == "first/kernel"
    }
    assert len(gains) == 6
    assert max(gains, key=lambda place: gains[place]) == (0, 8)
    assert mean_losses(wrong.corrected(fit))[0] < 0.5 * mean_losses(wrong)[0]


def test_a_loss_without_gradient_changes_nothing() -> None:
    at = candidates_of(lanes(1))

    def through_numpy(parameters: Mapping[str, Tensor]) -> Tensor:
        return torch.from_numpy(parameters["gain"].numpy()).reshape(1)

    for loss in (through_numpy, lambda parameters: parameters["gain"].detach().reshape(1), lambda _: torch.ones(3)):
        fit = fitted(at, FunctionObjective(loss), STEPS)
        assert all(torch.equal(gain, at.corrections.gains[piece]) for piece, gain in fit.gains.items())


def test_what_is_fitted_stays_finite_where_the_loss_does_not() -> None:
    at = candidates_of(lanes(1))

    def cliff(parameters: Mapping[str, Tensor]) -> Tensor:
        return objective().losses({name: tensor[None] for name, tensor in parameters.items()})[0] * float("inf")

    fit = fitted(at, FunctionObjective(cliff), STEPS)
    assert all(bool(gain.isfinite().all()) for gain in fit.gains.values())
    assert all(bool(mean.isfinite().all()) for mean in fit.means.values())


def test_a_matrix_of_which_a_strip_has_a_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine rows are a piece of eight and one of a single row, which is a vector."""
    monkeypatch.setattr("trainables.complexity.pieces.LONGEST_SIDE", 8)
    goal = torch.randn(9, 8, generator=torch.Generator().manual_seed(0)) + 30

    def loss(parameters: Mapping[str, Tensor]) -> Tensor:
        return (parameters["w"] - goal + 9).square().sum(1)

    cut = pieces({"w": (9, 8)})
    parameters = {"w": goal[None]}
    first = first_corrections(parameters, cut)
    felt = curvatures(FunctionObjective(loss), parameters, torch.tensor([648.0]), cut, 1)
    at = candidates(buckets(parameters, first.means, felt, 1e-4), torch.tensor([1e-3]), first, parameters)
    fit = fitted(at, FunctionObjective(loss), STEPS)
    (strip,) = fit.means
    assert float(fit.means[strip]) < float(first.means[strip]) - 3
    after = at.corrected(fit).parameters()["w"][0]
    assert float(loss({"w": after})[8]) < 0.7 * float(loss({"w": goal})[8])


def test_vectors_that_the_loss_does_not_look_at_keep_their_means() -> None:
    at = candidates_of(lanes(1))
    fit = fitted(at, FunctionObjective(lambda parameters: parameters["first/kernel"].square().sum(1)), 3)
    assert all(torch.equal(mean, at.corrections.means[piece]) for piece, mean in fit.means.items())


def test_what_is_right_already_is_left_as_it_is() -> None:
    """Steps have a least length, far beyond the size of this network."""
    generator = torch.Generator().manual_seed(0)
    goal = {
        "w": 1e-6 * torch.randn(20, 30, generator=generator),
        "b": 1e-6 * (9 + torch.randn(30, generator=generator)),
    }
    parameters = {name: tensor[None] for name, tensor in goal.items()}

    def loss(table: Mapping[str, Tensor]) -> Tensor:
        return 1e12 * torch.cat([(table[name] - goal[name]).flatten() for name in goal]).square()

    objective = FunctionObjective(loss)
    cut = pieces({"w": (20, 30), "b": (30,)})
    first = first_corrections(parameters, cut)
    felt = curvatures(objective, parameters, torch.zeros(1, dtype=torch.float64), cut, 1)
    at = candidates(buckets(parameters, first.means, felt, 1e-4), torch.tensor([1e-6]), first, parameters)
    before = objective.fitted(at.parameters(), 1)
    after = objective.fitted(at.corrected(fitted(at, objective, 5)).parameters(), 1)
    assert bool(after <= before)


def test_lanes_that_fitting_does_not_help_keep_what_they_had() -> None:
    parameters = scaled(lanes(2), {"first/kernel": [1.0, 0.75]})
    at = candidates_of(parameters, 1e-12)
    before, after = mean_losses(at), mean_losses(at.corrected(fitted(at, objective(2), 3)))
    assert after[1] < 0.5 * before[1]
    assert after[0] < 1.1 * before[0] + 1e-3
