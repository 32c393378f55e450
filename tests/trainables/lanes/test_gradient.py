"""The training gradient against automatic differentiation of torch's cross-entropy."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as functional

from tests.trainables.numerics.processes import output_of
from trainables.architectures.built_in import BuiltIn
from trainables.architectures.models import forward, initialise, parameter_shapes
from trainables.config import ModelConfig, TaskConfig
from trainables.lanes.gradient import loss_gradient
from trainables.lanes.layout import Layout
from trainables.tasks import build_task

TASK = build_task(TaskConfig(modulus=7))
MODELS = [
    ModelConfig(width=12, heads=3),
    ModelConfig(width=12, heads=3, layers=2, hidden_width=20, attention="sum"),
    ModelConfig(kind="mlp", width=5, hidden_width=13),
]


@pytest.mark.parametrize("config", MODELS, ids=str)
def test_each_lane_has_the_gradient_of_its_own_mean_cross_entropy(config: ModelConfig) -> None:
    layout = Layout(parameter_shapes(TASK, config))
    rows = [layout.rows({k: w[None] for k, w in initialise(TASK, config, seed).items()})[0] for seed in (0, 1)]
    weights = torch.stack(rows).double()
    batches = torch.tensor([[3, 40, 11], [7, 7, 20]])
    inputs, targets = TASK.inputs[batches], TASK.targets[batches]
    gradient = loss_gradient(BuiltIn(TASK, config), layout, weights, inputs, targets)
    leaf = weights.requires_grad_()
    logits = forward(config, layout.parameters(leaf), inputs)
    loss = sum(functional.cross_entropy(logits[lane], targets[lane]) for lane in range(2))
    torch.testing.assert_close(gradient, torch.autograd.grad(loss, leaf)[0])


def test_one_by_one_is_for_networks_of_some_size_on_a_cpu() -> None:
    assert BuiltIn(TASK, ModelConfig()).by_hand(512, torch.device("cpu")) is not None
    assert BuiltIn(TASK, ModelConfig()).by_hand(512, torch.device("cuda")) is None
    assert BuiltIn(TASK, ModelConfig(width=8)).by_hand(100, torch.device("cpu")) is None


def test_a_step_imports_no_symbolic_mathematics() -> None:
    """torch imports sympy, half a second in every process, where it is given slopes to begin with."""
    code = """
    import sys
    from trainables import LaneRun, ModelConfig, TaskConfig, TrialConfig
    LaneRun([TrialConfig(task=TaskConfig(modulus=7), model=ModelConfig(width=8, heads=2), steps=64)]).advance(1)
    print("sympy" in sys.modules)
    """
    assert output_of(code) == "False"
