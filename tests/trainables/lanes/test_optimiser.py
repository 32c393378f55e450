"""The batched AdamW against torch's, lane by lane."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from trainables.config import TrialConfig
from trainables.lanes.optimiser import LaneSettings, _all_together, _lane_by_lane

TRIALS = [
    TrialConfig(weight_decay=1.0),
    TrialConfig(weight_decay=0.0, learning_rate=3e-3, adam_beta1=0.8),
    TrialConfig(weight_decay=0.3, adam_beta2=0.999, adam_epsilon=1e-6),
]


@pytest.mark.parametrize("step", [_lane_by_lane, _all_together])
def test_each_lane_takes_the_steps_of_torchs_adamw(step: Callable[..., None]) -> None:
    stream = torch.Generator().manual_seed(0)
    weights = torch.randn(3, 50, generator=stream)
    gradients = torch.randn(40, 3, 50, generator=stream)
    expected = []
    for lane, trial in enumerate(TRIALS):
        leaf = weights[lane].clone().requires_grad_()
        optimiser = torch.optim.AdamW(
            [leaf],
            lr=trial.learning_rate,
            betas=(trial.adam_beta1, trial.adam_beta2),
            eps=trial.adam_epsilon,
            weight_decay=trial.weight_decay,
        )
        for gradient in gradients[:, lane]:
            leaf.grad = gradient.clone()
            optimiser.step()
        expected.append(leaf.detach())

    moments = torch.zeros(2, 3, 50)
    settings = LaneSettings(TRIALS, torch.device("cpu"))
    for age, gradient in enumerate(gradients):
        step(weights, moments[0], moments[1], gradient, settings, torch.full((3,), age + 1.0))
    torch.testing.assert_close(weights, torch.stack(expected), rtol=1e-5, atol=1e-6)
