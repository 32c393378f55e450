"""The search: candidates of several networks, shared by all bounds."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.trainables.complexity.small_lanes import lanes, objective
from trainables import ModelConfig, TaskConfig, TrialConfig, train
from trainables.complexity.losses import base_losses
from trainables.complexity.objective import FunctionObjective, Parameters
from trainables.complexity.prices import MOST_PRICES
from trainables.complexity.search import BUDGETS, Budget, Search, SearchResult

FAST = BUDGETS["fast"]


def search(parameters: Parameters, budget: Budget = FAST) -> Search:
    goal = objective(len(parameters["gain"]))
    return Search(goal, parameters, base_losses(goal, parameters), budget)


def test_all_that_is_found_keeps_the_bound() -> None:
    for epsilon in (1.0, 0.05):
        for outcome in search(lanes(3)).best(epsilon):
            assert outcome.feasible
            assert all(one.increase <= epsilon for one in outcome.feasible)
            assert len(outcome.feasible) <= outcome.evaluations <= MOST_PRICES


def prices(table: SearchResult) -> list[tuple[float, float]]:
    return [(one.increase, one.bits) for one in table.feasible]


def test_the_order_of_bounds_makes_no_difference() -> None:
    """Prices that another bound has tried already are known, and counted nevertheless."""
    one, other = search(lanes(2)), search(lanes(2))
    forwards = {epsilon: one.best(epsilon) for epsilon in (1.0, 0.5, 0.25)}
    backwards = {epsilon: other.best(epsilon) for epsilon in (0.25, 0.5, 1.0)}
    for epsilon, outcome in forwards.items():
        for lane in range(2):
            assert prices(outcome[lane]) == prices(backwards[epsilon][lane])
            assert outcome[lane].evaluations == backwards[epsilon][lane].evaluations


def test_a_network_that_no_rounding_leaves_in_bounds_has_no_candidate() -> None:
    def brittle(parameters: Parameters) -> Tensor:
        changed = any(bool((parameters[name] != tensor[0]).any()) for name, tensor in lanes(1).items())
        return torch.full((3,), 9.0 if changed else 0.0)

    goal = FunctionObjective(brittle)
    (searched,) = Search(goal, lanes(1), base_losses(goal, lanes(1)), FAST).best(0.5)
    assert searched.feasible == []
    assert searched.evaluations <= MOST_PRICES


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
