"""Task descriptions of modules and of tensors: they decode, keep the bound, and are shorter than any rounding."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as functional
from sklearn.datasets import load_digits
from torch import Tensor, nn

from tests.trainables.complexity.small import memorised, per_example_loss, same_bits
from trainables import DescriptionResult, MeasurementError, decode, describe_task, measure
from trainables.complexity import pack
from trainables.description import Progress

STEPS = 300
EPSILON = 1.0


@cache
def digits() -> tuple[nn.Module, Tensor, Tensor]:
    """A convolutional network, the images it knows, and what is on them."""
    images, labels = (torch.as_tensor(array) for array in load_digits(return_X_y=True))
    images = images.float().reshape(-1, 1, 8, 8)[:600] / 16
    labels = labels[:600]
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)
    )
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(40):
        optimiser.zero_grad()
        functional.cross_entropy(network(images), labels).backward()
        optimiser.step()
    return network, images, labels


@cache
def described() -> DescriptionResult:
    network, images, labels = digits()
    (result,) = describe_task(network, inputs=images, targets=labels, epsilons=[EPSILON], budget=STEPS)
    return result


def mean_loss(weights: Mapping[str, Tensor]) -> float:
    network, images, labels = digits()
    with torch.no_grad():
        logits = torch.func.functional_call(network, dict(weights), (images,))
        return float(functional.cross_entropy(logits, labels))


def test_a_description_is_shorter_than_the_complexity() -> None:
    network, images, labels = digits()
    (complexity,) = measure(network, inputs=images, targets=labels, epsilons=[EPSILON])
    assert described().task_description_bytes < 0.75 * complexity.complexity_bytes


def test_what_decodes_keeps_the_bound() -> None:
    network, _, _ = digits()
    result = described()
    decoded = decode(result.bitstream, network)
    assert same_bits(decoded, result.decoded)
    assert len(result.bitstream) == result.task_description_bytes
    assert sum(result.bytes_by_tensor.values()) == pytest.approx(result.task_description_bytes)
    base = mean_loss(dict(network.named_parameters()))
    assert mean_loss(decoded) - base == pytest.approx(result.loss_increase, abs=1e-5)
    assert result.loss_increase <= EPSILON
    assert result.steps == STEPS


def test_a_fresh_process_decodes_the_same_bits(tmp_path: Path) -> None:
    result = described()
    (tmp_path / "stream").write_bytes(pack(result.bitstream, result.decoded))
    code = (
        "import sys, torch; from pathlib import Path; from trainables.complexity import unpack; "
        "torch.save(unpack(Path(sys.argv[1]).read_bytes()).decode(), sys.argv[2])"
    )
    paths = [str(tmp_path / "stream"), str(tmp_path / "weights")]
    subprocess.run([sys.executable, "-c", code, *paths], check=True)
    assert same_bits(torch.load(paths[1]), result.decoded)


def test_the_network_is_left_alone() -> None:
    network, images, labels = digits()
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    network.train()
    describe_task(network, inputs=images, targets=labels, epsilons=[EPSILON], budget=3)
    assert network.training
    assert same_bits(before, {name: weight.detach() for name, weight in network.named_parameters()})
    assert all(weight.grad is None or weight.requires_grad for weight in network.parameters())


def test_of_tensors_with_a_loss() -> None:
    seen: list[Progress] = []
    network = memorised()
    (result,) = describe_task(network, per_example_loss, [0.5], budget=STEPS, watch=seen.append)
    (complexity,) = measure(network, per_example_loss, [0.5])
    assert result.task_description_bytes < complexity.complexity_bytes
    increase = per_example_loss(result.decoded).mean() - per_example_loss(network).mean()
    assert float(increase) <= 0.5
    assert [progress.step for progress in seen] == list(range(50, STEPS + 1, 50))
    assert seen[-1].loss_increase <= 0.5
    assert set(seen[0].parameters) == set(network)
    assert result.evaluations > len(seen)


def test_the_same_seed_gives_the_same_bytes_and_each_epsilon_stands_alone() -> None:
    network = memorised()
    both = describe_task(network, per_example_loss, [0.5, 0.2], budget=60)
    (again,) = describe_task(network, per_example_loss, [0.2], budget=60)
    assert both[1].bitstream == again.bitstream


def test_the_seed_draws_the_examples() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(700, 4, generator=generator)
    targets = (inputs[:, 0] > 0).long()
    network = nn.Linear(4, 2)
    nn.init.zeros_(network.bias)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[-3.0, 0, 0, 0], [3.0, 0, 0, 0]]))
    one, other = (
        describe_task(network, inputs=inputs, targets=targets, epsilons=[0.05], budget=60, seed=seed)[0]
        for seed in (0, 1)
    )
    assert one.steps == other.steps == 60
    assert one.bitstream != other.bitstream


def test_half_precision_stays_half_precision() -> None:
    (result,) = describe_task(memorised(torch.bfloat16), per_example_loss, [0.5], budget=20)
    assert {tensor.dtype for tensor in result.decoded.values()} == {torch.bfloat16}
    assert result.loss_increase <= 0.5


def test_without_a_gradient_nothing_is_trained() -> None:
    def loss(parameters: Mapping[str, Tensor]) -> Tensor:
        return per_example_loss({name: tensor.detach() for name, tensor in parameters.items()})

    (result,) = describe_task(memorised(), loss, [0.5], budget=20)
    assert result.steps == 0
    assert result.loss_increase <= 0.5


def test_no_steps_are_a_rounding() -> None:
    (result,) = describe_task(memorised(), per_example_loss, [0.5], budget=0)
    assert result.steps == 0
    assert result.loss_increase <= 0.5


def test_there_is_always_an_answer() -> None:
    weights = {"w": torch.tensor([0.1234567, -7.654321])}

    def loss(parameters: Mapping[str, Tensor]) -> Tensor:
        return (parameters["w"] - weights["w"]).abs() * 1e9

    (result,) = describe_task(weights, loss, [1e-9], budget=60)
    assert result.loss_increase <= 1e-9
    assert torch.equal(result.decoded["w"], weights["w"])


@pytest.mark.parametrize("budget", ["slow", -1, 1.5, True])
def test_a_budget_is_a_name_or_steps(budget: object) -> None:
    with pytest.raises(MeasurementError, match="budget must be a number of steps or one of fast, thorough"):
        describe_task(memorised(), per_example_loss, [1.0], budget=budget)  # type: ignore[arg-type]


@pytest.mark.parametrize("epsilons", [[0.0], [float("nan")], [], 1.0])
def test_epsilons_are_bounds_above_zero(epsilons: object) -> None:
    with pytest.raises(MeasurementError, match="epsilon"):
        describe_task(memorised(), per_example_loss, epsilons)  # type: ignore[arg-type]


def test_weights_must_be_finite() -> None:
    with pytest.raises(MeasurementError, match="finite"):
        describe_task({"w": torch.tensor([float("nan")])}, lambda p: p["w"], [1.0])
