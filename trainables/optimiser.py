"""AdamW with decoupled weight decay, batched over lanes whose settings and ages differ."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.config import TrialConfig


class LaneSettings:
    """What the trials of the lanes set, one column per setting: [L, 1] float32."""

    def __init__(self, trials: Sequence[TrialConfig], device: torch.device) -> None:
        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64).float()[:, None].to(device)

        self.trials = trials
        self.device = device
        self.beta1 = column([trial.adam_beta1 for trial in trials])
        self.beta2 = column([trial.adam_beta2 for trial in trials])
        self.fresh1 = column([1 - trial.adam_beta1 for trial in trials])
        self.fresh2 = column([1 - trial.adam_beta2 for trial in trials])
        self.epsilon = column([trial.adam_epsilon for trial in trials])
        self.kept = column([1 - trial.learning_rate * trial.weight_decay for trial in trials])
        self.penalty_weight = column([trial.spectral_entropy_weight for trial in trials])
        self.weight_noise = column([trial.weight_noise for trial in trials])

    def rates(self, ages: Sequence[int], steps: int) -> tuple[Tensor, Tensor]:
        """For the steps to come: lr / (1 - beta1^t), and 1 / sqrt(1 - beta2^t), each [steps, L, 1]."""
        rates, roots = [], []
        for step in range(steps):
            counted = [(trial, age + step + 1) for trial, age in zip(self.trials, ages, strict=True)]
            rates.append([trial.learning_rate / (1 - trial.adam_beta1**t) for trial, t in counted])
            roots.append([(1 - trial.adam_beta2**t) ** -0.5 for trial, t in counted])
        return self._steps(rates), self._steps(roots)

    def _steps(self, values: list[list[float]]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64).float()[..., None].to(self.device)


def adamw_step(
    weights: Tensor,
    first_moment: Tensor,
    second_moment: Tensor,
    gradient: Tensor,
    settings: LaneSettings,
    rate: Tensor,
    root: Tensor,
) -> None:
    """One update in place: w <- w - lr wd w - lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon).

    Args:
        weights: [L, P].
        first_moment: m [L, P].
        second_moment: v [L, P].
        gradient: [L, P].
        settings: the lanes' settings.
        rate: lr / (1 - beta1^t), [L, 1].
        root: 1 / sqrt(1 - beta2^t), [L, 1].
    """
    first_moment.mul_(settings.beta1).addcmul_(gradient, settings.fresh1)
    second_moment.mul_(settings.beta2).addcmul_(gradient.square(), settings.fresh2)
    scale = second_moment.sqrt().mul_(root).add_(settings.epsilon)
    weights.mul_(settings.kept).sub_((first_moment / scale).mul_(rate))
