"""The batched step against one network at a time with torch's AdamW, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from tests.trainables.lanes.small import placed, trial
from trainables.config import ModelConfig, TrialConfig
from trainables.lanes.lane import Lane
from trainables.lanes.shape import Shape
from trainables.lanes.step import Stepper

STEPS = 12

MODELS = {
    "batched": ModelConfig(width=12, heads=3),
    "lane by lane": ModelConfig(width=12, heads=3, hidden_width=1930),
    "mlp": ModelConfig(kind="mlp", width=7, hidden_width=21),
}


def trials(**values: Any) -> list[TrialConfig]:
    """Splits, labels and every setting of the optimiser differ."""
    return [
        trial(
            **values,
            seed=seed,
            data_fraction=0.3 + 0.1 * seed,
            label_noise=0.1 * seed,
            weight_decay=0.5 * seed,
            learning_rate=1e-3 * (1 + seed),
            adam_beta1=0.8 + 0.05 * seed,
            steps=64,
        )
        for seed in range(3)
    ]


def plainly_trained(shape: Shape, lane: Lane, row: Tensor) -> Tensor:
    """Weights [P] after `STEPS` steps of torch's own optimiser."""
    config = lane.trial
    weights = {name: part.clone().requires_grad_() for name, part in shape.layout.parameters(row).items()}
    optimiser = torch.optim.AdamW(
        weights.values(),
        lr=config.learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
        weight_decay=config.weight_decay,
    )
    for batch in lane.next_batches(STEPS, shape.batch_size):
        one_lane = {name: weight[None] for name, weight in weights.items()}
        logits = shape.architecture.forward(one_lane, lane.task.inputs[batch][None])[0]
        optimiser.zero_grad()
        functional.cross_entropy(logits, lane.split.targets[batch]).backward()
        optimiser.step()
    return shape.layout.rows({name: weight.detach()[None] for name, weight in weights.items()})[0]


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_each_lane_takes_the_steps_of_a_network_alone(model: ModelConfig) -> None:
    shape, lanes = placed(trials(model=model), 4)
    before = lanes.weights.clone()
    expected = [plainly_trained(shape, lane, before[place]) for place, lane in lanes.placed()]
    stepper = Stepper(shape, lanes)
    stepper.allocate()
    stepper.train(5)
    stepper.train(STEPS - 5)
    assert [lane.age for lane in lanes.running()] == [STEPS] * 3
    difference, moved = lanes.weights[:3] - torch.stack(expected), lanes.weights[:3] - before[:3]
    # Adam blows up gradients that are rounding alone, such as those of the biases of keys, to full size.
    assert (difference.abs() > 0.05 * moved.abs() + 1e-5).double().mean() < 0.02
    assert all(lane.train_wall_s > 0 for lane in lanes.running())


def test_nothing_is_trained_without_room_for_its_inputs() -> None:
    stepper = Stepper(*placed(trials(), 3))
    with pytest.raises(AssertionError, match="allocate comes before train"):
        stepper.train(1)
    stepper.allocate()
    stepper.train(1)
    stepper.release()
    with pytest.raises(AssertionError):
        stepper.train(1)


def test_the_penalty_acts_where_it_has_started() -> None:
    starts: list[Any] = [0, 32, "at_decline"]
    configs = [trial(spectral_entropy_weight=0.1, spectral_start=start, steps=64) for start in starts]
    shape, lanes = placed(configs, 4)
    stepper = Stepper(shape, lanes)
    everywhere = slice(0, 4)
    assert stepper._penalised(everywhere) == [0]
    first, second, third = lanes.running()
    second.age = 32
    assert stepper._penalised(everywhere) == [0, 1]
    third.penalised_from = 0
    assert stepper._penalised(everywhere) == [0, 1, 2, 3], "in the free lane, too"
    first.running = False
    assert stepper._penalised(slice(0, 1)) == [0], "nothing runs there"
