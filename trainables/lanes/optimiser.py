"""AdamW with decoupled weight decay, batched over lanes whose settings and ages differ."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor

from trainables.config import TrialConfig


class LaneSettings:
    """The settings of the lanes' trials, a column [L, 1] for each: float32, rates also float64.

    The columns stay where they are when the lanes take other trials, see `trainables.lanes.graphs`.

    Args:
        trials: l of them.
        device: where the lanes train.
    """

    def __init__(self, trials: Sequence[TrialConfig], device: torch.device) -> None:
        # Both are kept: bias corrections need float64, but a float64 column would make the weights that it is
        # multiplied with float64, too.
        exact = torch.zeros(7, len(trials), 1, dtype=torch.float64, device=device)
        self._see(exact, torch.zeros_like(exact, dtype=torch.float32))
        self.take(trials)

    def _see(self, exact: Tensor, rounded: Tensor) -> None:
        """Name the columns of all settings, [7, L, 1], float64 and float32."""
        self._exact, self._rounded = exact, rounded
        self.learning_rate, self.exact_beta1, self.exact_beta2, *_ = exact.unbind()
        _, self.beta1, self.beta2, self.epsilon, self.kept, self.penalty_weight, self.weight_noise = (
            rounded.unbind()
        )

    def take(self, trials: Sequence[TrialConfig]) -> None:
        """Replace the trials by others, as many as before."""
        self.trials = trials
        rows = [
            (
                trial.learning_rate,
                trial.adam_beta1,
                trial.adam_beta2,
                trial.adam_epsilon,
                # What decoupled decay leaves of a weight in one step.
                1 - trial.learning_rate * trial.weight_decay,
                trial.spectral_entropy_weight,
                trial.weight_noise,
            )
            for trial in trials
        ]
        self._exact.copy_(torch.tensor(rows, dtype=torch.float64).T[..., None])
        self._rounded.copy_(self._exact)

    def of(self, lanes: slice) -> LaneSettings:
        """Return the settings of some of the lanes, which share the columns' memory."""
        some = copy(self)
        some.trials = self.trials[lanes]
        some._see(self._exact[:, lanes], self._rounded[:, lanes])
        return some


def adamw_step(
    weights: Tensor,
    first_moment: Tensor,
    second_moment: Tensor,
    gradient: Tensor,
    settings: LaneSettings,
    updates: Tensor,
) -> None:
    """Update in place: w <- w - lr wd w - lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon).

    On a CPU each lane has a call of torch's fused kernel, which passes over the memory once; elsewhere all lanes
    are updated together, since there it is the number of calls that costs.

    Args:
        weights: [L, P].
        first_moment: m [L, P].
        second_moment: v [L, P].
        gradient: [L, P].
        settings: the lanes' settings.
        updates: t, the number of this update: [L] float32, on the device.
    """
    step = _lane_by_lane if weights.device.type == "cpu" else _all_together
    step(weights, first_moment, second_moment, gradient, settings, updates)


def _lane_by_lane(
    weights: Tensor,
    first_moment: Tensor,
    second_moment: Tensor,
    gradient: Tensor,
    settings: LaneSettings,
    updates: Tensor,
) -> None:
    for lane, trial in enumerate(settings.trials):
        # The kernel of AdamW(fused=True), called without the optimiser, which would hold a state and settings of
        # its own. Its square root is exact, so that its bits are those of every processor
        # (docs/reproducibility.md).
        torch._fused_adamw_(
            [weights[lane]],
            [gradient[lane]],
            [first_moment[lane]],
            [second_moment[lane]],
            # The maxima of AMSGrad, which is off.
            [],
            [updates[lane]],
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
    updates: Tensor,
) -> None:
    # beta2^t is close to 1 in the first steps, where in float32 its difference to 1 would lose digits.
    t = updates.double()[:, None]
    rate = (settings.learning_rate / (1 - settings.exact_beta1**t)).float()
    root = (1 - settings.exact_beta2**t).rsqrt().float()
    first_moment.lerp_(gradient, 1 - settings.beta1)
    second_moment.lerp_(gradient.square(), 1 - settings.beta2)
    # epsilon is added after the bias correction, as torch does.
    scale = second_moment.sqrt().mul_(root).add_(settings.epsilon)
    weights.mul_(settings.kept).sub_((first_moment / scale).mul_(rate))
