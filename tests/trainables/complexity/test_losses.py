"""The forms of the arguments mean the same loss, and what does not fit is said before anything is searched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from tests.trainables.complexity.small import Loss, memorised, per_example_loss, same_bits
from trainables.complexity import measure
from trainables.complexity.losses import base_losses, training_objective
from trainables.complexity.objective import CHUNK_EXAMPLES
from trainables.errors import MeasurementError

INPUTS = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(30) % 3


def classifier() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 3))


def parameters(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_parameters())


def lane(network: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor[None] for name, tensor in network.items()}


def losses_of(module: nn.Module, inputs: Tensor, targets: Tensor, at: Mapping[str, Tensor] | None = None) -> Tensor:
    """[n] losses by the objective of a module."""
    objective = training_objective(module, None, inputs, targets)
    (losses,) = objective.losses(lane(parameters(module) if at is None else at))
    return losses


def test_inputs_and_targets_mean_the_cross_entropy_in_evaluation_mode() -> None:
    module = classifier().train()
    losses = losses_of(module, INPUTS, TARGETS)
    assert [part.training for part in module.modules()] == [True] * 5
    expected = functional.cross_entropy(module.eval()(INPUTS), TARGETS, reduction="none")
    assert torch.equal(losses, expected)


def test_a_module_is_left_in_the_mode_it_was_in_even_when_it_fails() -> None:
    module = classifier().train()
    module[1].eval()
    with pytest.raises(MeasurementError):
        training_objective(module, None, INPUTS[:, :4], TARGETS)
    assert [part.training for part in module] == [True, False, True, True]


def test_the_tensors_given_are_those_that_count() -> None:
    module = classifier()
    zeros = {name: torch.zeros_like(tensor) for name, tensor in parameters(module).items()}
    losses = losses_of(module, INPUTS, TARGETS, zeros)
    assert losses.tolist() == pytest.approx([torch.log(torch.tensor(3.0)).item()] * 30)


def test_examples_beyond_a_chunk_come_in_order() -> None:
    module = classifier().eval()
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(CHUNK_EXAMPLES + 7, 5, generator=generator)
    targets = torch.randint(3, (len(inputs),), generator=generator)
    losses = losses_of(module, inputs, targets)
    expected = functional.cross_entropy(module(inputs), targets, reduction="none")
    torch.testing.assert_close(losses, expected)


def test_every_position_is_a_prediction() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Unflatten(1, (4, 5)), nn.Conv1d(4, 3, 1))
    inputs, targets = torch.randint(7, (6, 5)), torch.randint(3, (6, 5))
    losses = losses_of(module, inputs, targets)
    assert losses.shape == (30,)
    expected = functional.cross_entropy(module(inputs), targets, reduction="none").flatten()
    torch.testing.assert_close(losses, expected)


def test_losses_of_half_precision_modules_are_taken_in_float32() -> None:
    module = classifier().bfloat16()
    losses = losses_of(module, INPUTS.bfloat16(), TARGETS)
    assert losses.dtype == torch.float32


def test_targets_of_any_integer_dtype() -> None:
    module = classifier()
    one, other = (losses_of(module, INPUTS, TARGETS.to(kind)) for kind in (torch.int64, torch.uint8))
    assert torch.equal(one, other)


def test_a_scalar_loss_is_one_example() -> None:
    objective = training_objective({}, lambda tensors: per_example_loss(tensors).mean(), None, None)
    assert torch.equal(objective.losses(lane(memorised())), per_example_loss(memorised()).mean()[None, None])
    (result,) = measure(memorised(), lambda tensors: per_example_loss(tensors).mean(), [0.5])
    assert 0 < result.loss_increase <= 0.5
    assert result.complexity_bytes < sum(4 * tensor.numel() for tensor in memorised().values()) / 2


def test_both_forms_give_the_same_stream() -> None:
    module = classifier().eval()

    def loss(tensors: Mapping[str, Tensor]) -> Tensor:
        logits = torch.func.functional_call(module, dict(tensors), (INPUTS,))
        return functional.cross_entropy(logits, TARGETS, reduction="none")

    (one,) = measure(module, loss, [0.05])
    (other,) = measure(module, inputs=INPUTS, targets=TARGETS, epsilons=[0.05])
    assert one.bitstream == other.bitstream
    assert same_bits(one.decoded, other.decoded)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give a loss, or both inputs= and targets=, got neither"),
        ({"inputs": INPUTS}, "got inputs only"),
        ({"targets": TARGETS}, "got targets only"),
        ({"loss": per_example_loss, "inputs": INPUTS, "targets": TARGETS}, "either a loss or inputs .* got both"),
        ({"loss": [1.0]}, "loss must be a function .* got list"),
        ({"inputs": INPUTS, "targets": TARGETS[:9]}, r"same number of examples.*\(30, 5\) and \(9,\)"),
        ({"inputs": INPUTS[:0], "targets": TARGETS[:0]}, "at least one"),
        ({"inputs": "INPUTS", "targets": TARGETS}, "inputs must be an array, tensor, list or frame, got str"),
        ({"inputs": INPUTS, "targets": TARGETS + 0.5}, r"targets must be classes, whole numbers, got [\d.]+"),
        ({"inputs": INPUTS, "targets": TARGETS + 1}, "from 0 to 2, .* 3 classes, got 1 to 3"),
        ({"inputs": INPUTS, "targets": TARGETS - 100}, "got -100 to -98"),
        ({"inputs": INPUTS[:, :4], "targets": TARGETS}, r"must run on inputs .*\(30, 4\).* RuntimeError: mat1"),
        ({"inputs": INPUTS.half(), "targets": TARGETS}, "must run on inputs .*torch.float16"),
        ({"inputs": INPUTS, "targets": TARGETS[:, None].repeat(1, 2)}, r"logits .*\(30, 3\) and \(30, 2\)"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(MeasurementError, match=message) as caught:
        measure(classifier(), epsilons=[1.0], **arguments)
    assert "\n" not in str(caught.value)


def test_inputs_are_for_modules() -> None:
    with pytest.raises(MeasurementError, match=r"for a torch.nn.Module, got dict"):
        measure(memorised(), inputs=INPUTS, targets=TARGETS, epsilons=[1.0])


class Answering(nn.Module):
    def __init__(self, answer: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 3)
        self.answer = answer

    def forward(self, inputs: Tensor) -> Any:
        return self.answer(self.linear(inputs))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda logits: (logits,), "must return logits .* got tuple"),
        (lambda logits: logits.argmax(-1), "must return logits .* got torch.int64"),
        (lambda logits: logits[:, 0], r"logits must have shape .*\(30,\) and \(30,\)"),
        (lambda logits: logits / 0, "own loss must be finite"),
    ],
)
def test_modules_that_give_no_logits(answer: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        measure(Answering(answer), inputs=INPUTS, targets=TARGETS, epsilons=[1.0])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda losses: losses[:, None], r"shape \[n\], or a scalar, got shape \(96, 1\)"),
        (lambda losses: losses[:0], r"got shape \(0,\)"),
        (lambda losses: losses.mean().item(), "got float"),
    ],
)
def test_losses_of_another_form(answer: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        measure(memorised(), lambda tensors: answer(per_example_loss(tensors)), [1.0])


def own_losses(loss: Loss) -> Tensor:
    return base_losses(training_objective({}, loss, None, None), lane(memorised()))


def test_the_networks_own_loss_is_the_mean() -> None:
    assert own_losses(per_example_loss).tolist() == [float(per_example_loss(memorised()).double().mean())]


def test_the_loss_must_be_finite() -> None:
    with pytest.raises(MeasurementError, match="own loss must be finite"):
        own_losses(lambda tensors: per_example_loss(tensors) / 0)


def test_the_loss_must_be_deterministic() -> None:
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(MeasurementError, match="deterministic"):
        own_losses(lambda tensors: per_example_loss(tensors) + torch.rand(1, generator=generator))


@pytest.mark.parametrize("epsilons", [(), 1.0, 2])
def test_epsilons_are_a_list(epsilons: Any) -> None:
    with pytest.raises(MeasurementError, match=r"list of bounds in nats, such as \[1.0\]"):
        measure(memorised(), per_example_loss, epsilons)
