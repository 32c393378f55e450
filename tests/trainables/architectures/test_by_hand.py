"""Gradients written by hand against automatic differentiation, in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as functional

from trainables import ConfigError, Task
from trainables.architectures.built_in import BuiltIn
from trainables.architectures.by_hand import Network, write_gradient
from trainables.architectures.models import forward, initialise, parameter_shapes
from trainables.config import ModelConfig, TaskConfig
from trainables.lanes.layout import Layout
from trainables.tasks import build_task

TASK = build_task(TaskConfig(modulus=7))
MODELS = [
    ModelConfig(width=12, heads=3),
    ModelConfig(width=12, heads=2, layers=2, hidden_width=20),
    ModelConfig(width=12, heads=3, layers=3),
    ModelConfig(width=12, heads=3, attention="sum"),
    ModelConfig(width=12, heads=3, layers=3, attention="sum"),
    ModelConfig(kind="mlp", width=5, hidden_width=13),
    ModelConfig(kind="mlp", width=5, hidden_width=13, layers=1),
]


@pytest.mark.parametrize("fixed", [TASK.fixed_tokens, (None, None, None, None), (None, 7, None, None)])
@pytest.mark.parametrize("config", MODELS, ids=str)
def test_every_gradient_is_that_of_automatic_differentiation(
    config: ModelConfig, fixed: tuple[int | None, ...]
) -> None:
    layout = Layout(parameter_shapes(TASK, config))
    weights = layout.rows({name: w[None] for name, w in initialise(TASK, config, 0).items()}).double()
    noise = torch.randn(weights.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights += 0.3 * noise  # biases and scales are random too
    batch = torch.tensor([3, 40, 11, 11, 20])
    inputs, targets = TASK.inputs[batch], TASK.targets[batch]

    leaf = weights.clone().requires_grad_()
    loss = functional.cross_entropy(forward(config, layout.parameters(leaf), inputs)[0], targets)
    (right,) = torch.autograd.grad(loss, leaf)
    empty = torch.full_like(weights, math.nan)
    write_gradient(
        Network(config, layout.parameters(weights[0]), layout.parameters(empty[0])), inputs, targets, fixed
    )
    torch.testing.assert_close(layout.parameters(empty), layout.parameters(right))


@pytest.mark.parametrize("layers", [1, 3])
def test_the_gradient_of_features_is_that_of_automatic_differentiation(layers: int) -> None:
    stream = torch.Generator().manual_seed(1)
    task = Task.of(torch.randn(9, 2, 3, generator=stream), torch.arange(9) % 4)
    architecture = BuiltIn(task, ModelConfig(kind="mlp", width=5, hidden_width=13, layers=layers))
    layout = Layout(architecture.shapes)
    weights = torch.randn(1, layout.weights, generator=stream, dtype=torch.float64)
    inputs = task.inputs.double()

    leaf = weights.clone().requires_grad_()
    loss = functional.cross_entropy(architecture.forward(layout.parameters(leaf), inputs)[0], task.targets)
    (right,) = torch.autograd.grad(loss, leaf)
    write = architecture.by_hand(10_000, torch.device("cpu"))
    assert write is not None
    empty = torch.full_like(weights, math.nan)
    write(layout.parameters(weights[0]), layout.parameters(empty[0]), inputs, task.targets)
    torch.testing.assert_close(layout.parameters(empty), layout.parameters(right))


def test_features_are_shared_by_lanes_or_each_lanes_own() -> None:
    stream = torch.Generator().manual_seed(2)
    # As many examples as lanes, of one channel: shapes alone would not tell the two apart.
    task = Task.of(torch.randn(2, 1, 3, 3, generator=stream), torch.tensor([0, 1]))
    architecture = BuiltIn(task, ModelConfig(kind="mlp", hidden_width=6))
    networks = [architecture.initialise(seed) for seed in (0, 1)]
    lanes = {name: torch.stack([network[name] for network in networks]) for name in networks[0]}
    shared = architecture.forward(lanes, task.inputs)
    assert torch.equal(shared, architecture.forward(lanes, task.inputs.expand(2, -1, -1, -1, -1)))
    x = torch.relu(task.inputs.flatten(1) @ networks[1]["mlp_layers_0/kernel"])
    for layer in (1, 2):
        x = torch.relu(x @ networks[1][f"mlp_layers_{layer}/kernel"])
    torch.testing.assert_close(shared[1], x @ networks[1]["output_layer/kernel"])


def test_a_transformer_needs_tokens() -> None:
    task = Task.of(torch.ones(3, 4), torch.arange(3))
    with pytest.raises(ConfigError, match=r"model\.kind must be mlp for own examples, whose inputs are no tokens"):
        BuiltIn(task, ModelConfig())
