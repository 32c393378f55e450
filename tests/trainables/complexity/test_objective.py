"""Losses with a lane axis, and the random looks at them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from tests.trainables.complexity.small import memorised, per_example_loss
from tests.trainables.complexity.small_lanes import lanes, logits, objective
from trainables.complexity.objective import CHUNK_EXAMPLES, ClassificationObjective, FunctionObjective, Parameters


def lane(parameters: Parameters, place: int) -> dict[str, Tensor]:
    return {name: tensor[place] for name, tensor in parameters.items()}


def one_lane(parameters: Parameters, place: int) -> dict[str, Tensor]:
    return {name: tensor[place : place + 1] for name, tensor in parameters.items()}


def test_losses_are_those_of_each_lane() -> None:
    parameters = lanes(3)
    losses = objective(3).losses(parameters)
    for place in range(3):
        torch.testing.assert_close(losses[place], per_example_loss(lane(parameters, place)), rtol=1e-4, atol=1e-6)


def test_some_examples_are_the_first_ones() -> None:
    parameters = lanes(2)
    losses = objective(2).losses(parameters)
    torch.testing.assert_close(objective(2).losses(parameters, 10), losses[:, :10])
    torch.testing.assert_close(objective(2).losses(parameters, 10_000), losses)


def test_each_lane_has_its_own_targets() -> None:
    inputs, targets = torch.randn(20, 12), torch.randint(7, (2, 20))
    parameters = lanes(2)
    losses = ClassificationObjective(logits, inputs, targets).losses(parameters)
    computed = logits(parameters, inputs)
    for place in range(2):
        expected = functional.cross_entropy(computed[place], targets[place], reduction="none")
        torch.testing.assert_close(losses[place], expected)


def test_some_lanes_keep_their_own_targets() -> None:
    inputs, targets = torch.randn(20, 12), torch.randint(7, (3, 20))
    parameters, chosen = lanes(3), torch.tensor([2, 0])
    some = {name: tensor[chosen] for name, tensor in parameters.items()}
    whole = ClassificationObjective(logits, inputs, targets)
    torch.testing.assert_close(whole.pick(chosen).losses(some), whole.losses(parameters)[chosen])
    shared = ClassificationObjective(logits, inputs, targets[:1])
    torch.testing.assert_close(shared.pick(chosen).losses(some), shared.losses(parameters)[chosen])


def test_chunks_are_put_together_in_order() -> None:
    inputs = torch.randn(2 * CHUNK_EXAMPLES + 3, 12)
    targets = torch.randint(7, (1, len(inputs)))
    parameters = lanes(1)
    losses = ClassificationObjective(logits, inputs, targets).losses(parameters)
    expected = functional.cross_entropy(logits(parameters, inputs)[0], targets[0], reduction="none")
    torch.testing.assert_close(losses[0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float64, torch.float64)],
)
def test_losses_are_at_least_float32(given: torch.dtype, expected: torch.dtype) -> None:
    inputs, targets = torch.randn(9, 12).to(given), torch.randint(7, (1, 9))
    parameters = {name: tensor[None] for name, tensor in memorised(given).items()}
    assert ClassificationObjective(logits, inputs, targets).losses(parameters).dtype == expected


LOOKS: list[Callable[[Parameters, int], Tensor]] = [
    lambda parameters, number: objective(len(parameters["gain"])).look(parameters, number),
    lambda parameters, number: objective(len(parameters["gain"])).fitted(parameters, number),
]


@pytest.mark.parametrize("look", LOOKS, ids=["look", "fitted"])
def test_looks_depend_on_their_number_and_on_the_lane_alone(look: Callable[[Parameters, int], Tensor]) -> None:
    parameters = lanes(3)
    one, again, other = look(parameters, 5), look(parameters, 5), look(parameters, 6)
    assert torch.equal(one, again)
    assert one.shape == (3,)
    assert not torch.equal(one, other)
    for place in range(3):
        torch.testing.assert_close(one[place], look(one_lane(parameters, place), 5)[0], rtol=1e-4, atol=1e-6)


def test_labels_are_drawn_from_the_networks_own_predictions() -> None:
    """Of a network without preference each label is as likely: the mean loss is that of any label, log 4."""
    inputs = torch.zeros(1, 1)

    def even(parameters: Parameters, some: Tensor) -> Tensor:
        return (some + torch.tensor([0.0, 1.0, 2.0, 3.0])) * parameters["w"]

    objective = ClassificationObjective(even, inputs, torch.zeros(1, 1, dtype=torch.int64))
    surprises = torch.stack([objective.look({"w": torch.ones(1, 1, 1)}, number) for number in range(600)])
    predictions = torch.arange(4.0).log_softmax(0)
    entropy = -(predictions.exp() * predictions).sum()
    assert float(surprises.mean()) == pytest.approx(float(entropy), rel=0.1)


def test_a_function_is_looked_at_under_random_signs() -> None:
    weights = torch.tensor([[1.0, -2.0, 0.5]])
    objective = FunctionObjective(lambda parameters: parameters["w"] * torch.tensor([1.0, 2.0, 3.0]))
    squares = torch.stack(
        [
            torch.autograd.grad(objective.look({"w": leaf}, number).sum(), leaf)[0].square()
            for number in range(20)
            if (leaf := weights.clone().requires_grad_()) is not None
        ]
    )
    # Each gradient is that of one example alone, so its square does not depend on the sign.
    torch.testing.assert_close(squares, torch.tensor([1.0, 4.0, 9.0]).expand(20, 1, 3) / 3)
    looks = {round(float(objective.look({"w": weights}, number)), 4) for number in range(40)}
    assert len(looks) == 8


def test_a_function_gives_its_losses_and_their_mean() -> None:
    objective = FunctionObjective(per_example_loss)
    parameters = lanes(1)
    expected = per_example_loss(memorised())
    assert torch.equal(objective.losses(parameters, 5), expected[None])
    assert torch.equal(objective.fitted(parameters, 3), expected.mean()[None])
