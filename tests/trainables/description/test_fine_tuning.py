"""The straight-through run: the loss stays about where it may be, bits fall, and a lost network comes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from trainables.complexity.codes import Direct, Zeros
from trainables.complexity.objective import FunctionObjective, Parameters
from trainables.complexity.pieces import Piece, pieces
from trainables.description.fine_tuning import CHECK_EVERY, FineTuning
from trainables.description.quantised import QuantisedNetwork

LIKE = {"w": torch.zeros(8, 8)}
NEEDED = 0
"""The one row that the loss wants."""


def quadratic(parameters: Parameters) -> Tensor:
    """[8]: only the first row must be 1; the others may be anything."""
    return (parameters["w"][NEEDED] - 1).square()


def tuning(loss: object = quadratic, epsilon: float = 0.05, price: float = 1e-3) -> FineTuning:
    (only,) = pieces({"w": (8, 8)})
    integers = np.full((8, 8), 4, dtype=np.int32)
    codes: dict[Piece, Zeros | Direct] = {only: Direct(-256, integers)}
    objective = FunctionObjective(loss)  # type: ignore[arg-type]
    return FineTuning(objective, QuantisedNetwork(codes, LIKE), 0.0, epsilon, 1.0, price, seed=0)


def test_what_is_not_needed_dies_and_the_bound_is_kept() -> None:
    feasible = [checkpoint for checkpoint in tuning().run(400) if checkpoint.increase <= 0.05]
    assert len(feasible) >= 3
    weights = min(feasible, key=lambda checkpoint: checkpoint.bits).parameters["w"][0]
    assert int(weights[1:].count_nonzero()) == 0
    assert bool((weights[NEEDED] != 0).all())


def test_there_is_a_checkpoint_every_so_often_and_at_last() -> None:
    steps = [checkpoint.step for checkpoint in tuning().run(CHECK_EVERY + 7)]
    assert steps == [CHECK_EVERY, CHECK_EVERY + 7]


def test_the_price_rises_below_the_bound_and_falls_above() -> None:
    below, above = tuning(), tuning(lambda parameters: quadratic(parameters) + 1)
    list(below.run(CHECK_EVERY))
    list(above.run(CHECK_EVERY))
    assert below.price > 1e-3 > above.price


def test_a_lost_network_goes_back_to_the_last_good_one() -> None:
    """From step 60 to 110 the loss asks for something else altogether."""
    calls = 0

    def trap(parameters: Parameters) -> Tensor:
        nonlocal calls
        calls += 1
        return (parameters["w"][NEEDED] + (50 if 60 < calls <= 110 else -1)).square()

    good, lost, *rest = tuning(trap).run(300)
    assert good.increase <= 0.05
    assert lost.increase > 1
    assert rest[-1].increase <= 0.1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_moves_nothing_but_the_price(value: float) -> None:
    run = tuning(lambda parameters: quadratic(parameters) * value)
    (checkpoint,) = run.run(CHECK_EVERY)
    assert bool(checkpoint.parameters["w"].isfinite().all())
    assert run.price < 1e-3


def test_without_gradient_there_are_no_steps() -> None:
    assert list(tuning(lambda parameters: torch.ones(3)).run(100)) == []
