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
        self.penalty_weight = column([trial.spectral_entropy_weight for trial in trials])
        self.weight_noise = column([trial.weight_noise for trial in trials])


def adamw_step(
    weights: Tensor,
    first_moment: Tensor,
    second_moment: Tensor,
    gradient: Tensor,
    settings: LaneSettings,
    ages: Sequence[int],
) -> None:
    """One update in place: w <- w - lr wd w - lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon).

    Lane by lane in torch's fused kernel, which passes over the memory once.

    Args:
        weights: [L, P].
        first_moment: m [L, P].
        second_moment: v [L, P].
        gradient: [L, P].
        settings: the lanes' settings.
        ages: steps done before this one, per lane.
    """
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
