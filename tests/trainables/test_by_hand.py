"""Gradients written by hand against automatic differentiation, in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as functional

from trainables.by_hand import Network, write_gradient
from trainables.config import ModelConfig, TaskConfig
from trainables.layout import Layout
from trainables.models import forward, initialise, parameter_shapes
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
    found = torch.full_like(weights, math.nan)
    write_gradient(
        Network(config, layout.parameters(weights[0]), layout.parameters(found[0])), inputs, targets, fixed
    )
    torch.testing.assert_close(layout.parameters(found), layout.parameters(right))
