"""AdamW with decoupled weight decay, batched over lanes whose settings and ages differ."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor

from trainables.config import TrialConfig


class LaneSettings:
    """What the trials of the lanes set, one column per setting: [L, 1] float32."""

    def __init__(self, trials: Sequence[TrialConfig], device: torch.device) -> None:
        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64).float()[:, None].to(device)

        self.trials = trials
        self.beta1 = column([trial.adam_beta1 for trial in trials])
        self.beta2 = column([trial.adam_beta2 for trial in trials])
        self.epsilon = column([trial.adam_epsilon for trial in trials])
        self.kept = column([1 - trial.learning_rate * trial.weight_decay for trial in trials])
        self.column = column
        self.penalty_weight = column([trial.spectral_entropy_weight for trial in trials])
        self.weight_noise = column([trial.weight_noise for trial in trials])

    def of(self, lanes: slice) -> LaneSettings:
        """The settings of some of the lanes."""
        some = copy(self)
        some.trials = self.trials[lanes]
        for name in ("beta1", "beta2", "epsilon", "kept", "penalty_weight", "weight_noise"):
            setattr(some, name, getattr(self, name)[lanes])
        return some


def adamw_step(
    weights: Tensor,
    first_moment: Tensor,
    second_moment: Tensor,
    gradient: Tensor,
    settings: LaneSettings,
    ages: Sequence[int],
) -> None:
    """One update in place: w <- w - lr wd w - lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon).

    On a CPU lane by lane in torch's fused kernel, which passes over the memory once; elsewhere all lanes together.

    Args:
        weights: [L, P].
        first_moment: m [L, P].
        second_moment: v [L, P].
        gradient: [L, P].
        settings: the lanes' settings.
        ages: steps done before this one, per lane.
    """
    step = _lane_by_lane if weights.device.type == "cpu" else _all_together
    step(weights, first_moment, second_moment, gradient, settings, ages)


def _lane_by_lane(
    weights: Tensor,
    first_moment: Tensor,
    second_moment: Tensor,
    gradient: Tensor,
    settings: LaneSettings,
    ages: Sequence[int],
) -> None:
    for lane, trial in enumerate(settings.trials):
        torch._fused_adamw_(
            [weights[lane]],
            [gradient[lane]],
            [first_moment[lane]],
            [second_moment[lane]],
            [],
            [torch.full((), ages[lane] + 1.0, device=weights.device)],
            lr=trial.learning_rate,
            beta1=trial.adam_beta1,
            beta2=trial.adam_beta2,
            weight_decay=trial.weight_decay,
            eps=trial.adam_epsilon,
            amsgrad=False,
            maximize=False,
        )


def _all_together(
    weights: Tensor,
    first_moment: Tensor,
    second_moment: Tensor,
    gradient: Tensor,
    settings: LaneSettings,
    ages: Sequence[int],
) -> None:
    counted = [(trial, age + 1) for trial, age in zip(settings.trials, ages, strict=True)]
    rate = settings.column([trial.learning_rate / (1 - trial.adam_beta1**t) for trial, t in counted])
    root = settings.column([(1 - trial.adam_beta2**t) ** -0.5 for trial, t in counted])
    first_moment.lerp_(gradient, 1 - settings.beta1)
    second_moment.lerp_(gradient.square(), 1 - settings.beta2)
    scale = second_moment.sqrt().mul_(root).add_(settings.epsilon)
    weights.mul_(settings.kept).sub_((first_moment / scale).mul_(rate))
