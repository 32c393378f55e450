"""The search finds its way, also where the loss has plateaus."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.trainables.complexity.small_lanes import lanes, objective
from trainables import ModelConfig, TaskConfig, TrialConfig, train
from trainables.complexity.losses import base_losses
from trainables.complexity.objective import FunctionObjective, Parameters
from trainables.complexity.search import BUDGETS, FIRST_PRICE, PRICES_PER_OCTAVE, Budget, Found, Search, _Bracket
from trainables.complexity.search import Candidate as Met

FAST = BUDGETS["fast"]


def met(increase: float, bits: float = 1000) -> Met:
    return Met(increase, bits, {})


def highest_feasible(loss: Callable[[int], float], epsilon: float, steps: int = 16) -> tuple[int | None, int]:
    """The highest feasible price on the grid that a bracket meets, and how many it has tried."""
    bracket = _Bracket(round(PRICES_PER_OCTAVE * math.log2(FIRST_PRICE * epsilon)))
    feasible = []
    for step in range(steps):
        if bracket.done:
            return max(feasible, default=None), step
        increase = loss(bracket.price)
        if increase <= epsilon:
            feasible.append(bracket.price)
        bracket.learn(met(increase), epsilon)
    return max(feasible, default=None), steps


def power(exponent: float, factor: float) -> Callable[[int], float]:
    return lambda price: factor * 2 ** (exponent * price / PRICES_PER_OCTAVE)


@pytest.mark.parametrize("exponent", [0.5, 0.9, 1.5])
@pytest.mark.parametrize("factor", [1e2, 1e4, 1e5])
def test_a_power_of_the_price_is_met_closely(exponent: float, factor: float) -> None:
    found, steps = highest_feasible(power(exponent, factor), 0.5)
    assert found is not None
    exact = PRICES_PER_OCTAVE * math.log2(0.5 / factor) / exponent
    assert exact - 4 < found <= exact
    assert steps <= 9


@pytest.mark.parametrize("edge", [-600, -300, -217, -100, 0])
@pytest.mark.parametrize("above", [0.51, 30.0, math.inf])
def test_a_cliff_is_found(edge: int, above: float) -> None:
    """Just feasible up to some price and not beyond: half the bracket each time."""
    found, steps = highest_feasible(lambda price: 0.01 if price <= edge else above, 0.5)
    assert found is not None
    assert edge - 6 <= found <= edge
    assert steps <= 16


def test_what_is_never_feasible_ends() -> None:
    assert highest_feasible(lambda _: math.inf, 0.5) == (None, 16)


def test_what_costs_nothing_is_the_end() -> None:
    bracket = _Bracket(-200)
    bracket.learn(met(0.01, bits=0), 0.5)
    assert bracket.done


def test_losses_below_the_networks_own_are_feasible() -> None:
    found, _ = highest_feasible(lambda price: -0.1 if price <= -150 else 2.0, 0.5)
    assert found is not None
    assert found <= -150


def search(parameters: Parameters, budget: Budget = FAST) -> Search:
    goal = objective(len(parameters["gain"]))
    return Search(goal, parameters, base_losses(goal, parameters), budget)


def test_all_that_is_found_keeps_the_bound() -> None:
    for epsilon in (1.0, 0.05):
        for found in search(lanes(3)).best(epsilon):
            assert found.feasible
            assert all(one.increase <= epsilon for one in found.feasible)
            assert len(found.feasible) <= found.evaluations <= FAST.most_candidates


def prices(found: Found) -> list[tuple[float, float]]:
    return [(one.increase, one.bits) for one in found.feasible]


def test_the_order_of_bounds_makes_no_difference() -> None:
    """Prices that another bound has tried already are known, and counted all the same."""
    one, other = search(lanes(2)), search(lanes(2))
    forwards = {epsilon: one.best(epsilon) for epsilon in (1.0, 0.5, 0.25)}
    backwards = {epsilon: other.best(epsilon) for epsilon in (0.25, 0.5, 1.0)}
    for epsilon, found in forwards.items():
        for lane in range(2):
            assert prices(found[lane]) == prices(backwards[epsilon][lane])
            assert found[lane].evaluations == backwards[epsilon][lane].evaluations


def test_more_candidates_are_tried_only_until_one_is_feasible() -> None:
    few = dataclasses.replace(FAST, candidates=3, most_candidates=5)
    for found in search(lanes(2), few).best(0.5):
        assert found.evaluations <= 5

    def brittle(parameters: Parameters) -> Tensor:
        changed = any(bool((parameters[name] != tensor[0]).any()) for name, tensor in lanes(1).items())
        return torch.full((3,), 9.0 if changed else 0.0)

    goal = FunctionObjective(brittle)
    (found,) = Search(goal, lanes(1), base_losses(goal, lanes(1)), few).best(0.5)
    assert found == Found([], 5)


def test_a_network_that_has_learnt_little_is_not_coded_losslessly() -> None:
    """Heavy weight decay leaves networks whose loss has a plateau just above the bound, and little to lose."""
    trial = TrialConfig(
        task=TaskConfig(modulus=23),
        model=ModelConfig(width=32),
        data_fraction=0.5,
        weight_decay=3,
        spectral_entropy_weight=0.1,
        learning_rate=2e-3,
        batch_size=128,
        steps=352,
    )
    *_, last = train([trial])
    assert last.train_accuracy < 0.9
    assert last.complexity_bytes is not None
    raw_bytes = 4 * sum(weights.numel() for weights in (last.network or {}).values())
    assert last.complexity_bytes < raw_bytes / 10
