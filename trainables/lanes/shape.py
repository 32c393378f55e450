"""What the trials of a lane run have in common: the key by which they are grouped, and all that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainables.architectures import Architecture, architecture_of, initial_weights
from trainables.config import ModelConfig, TrialConfig
from trainables.errors import ConfigError
from trainables.lanes.layout import Layout
from trainables.tasks import Task, build_task
from trainables.tasks.phases import check_drift
from trainables.tasks.split import training_size

LARGEST_DEFAULT_BATCH = 512

FEWEST_BATCHED_LANES = 2
"""A batch of exactly one lane takes other matrix kernels, whose bits differ. So where lanes are batched there are
always at least two, and an idle lane accompanies a single trial."""

ShapeKey = tuple[object, ...]

State = dict[str, Tensor]
"""What training changes: `weights`, `first_moment` and `second_moment`, [P] each of one trial."""


def shape_key(trial: TrialConfig) -> ShapeKey:
    """Return what trials must have in common to share a batched model; hashable.

    Raises:
        ConfigError: the trial cannot be trained, see `effective_batch_size`, `trainables.tasks.build_task` and
            `trainables.tasks.phases.check_drift`.
    """
    check_drift(trial.task, trial.drift)
    penalised = trial.spectral_entropy_weight > 0
    return (
        trial.task,
        trial.model,
        effective_batch_size(trial),
        penalised,
        # Without a penalty these two have no effect, and would only divide trials into more batched models.
        (trial.spectral_floor, trial.spectral_every) if penalised else None,
        # Whether there is noise changes the step; how much of it is a column of settings, like the rates.
        trial.weight_noise > 0,
    )


def effective_batch_size(trial: TrialConfig) -> int:
    """Return the examples per step: as asked for, or by default min(512, n // 2) but at least 1.

    n is the number of training examples; a batch size of 0 asks for all of them.

    Raises:
        ConfigError: more than the n training examples are asked for.
    """
    examples = training_size(build_task(trial.task).examples, trial.data_fraction)
    if trial.batch_size is None:
        return max(1, min(LARGEST_DEFAULT_BATCH, examples // 2))
    if trial.batch_size > examples:
        raise ConfigError(
            f"batch_size must be at most the number of training examples, got {trial.batch_size} for {examples} "
            f"(data_fraction {trial.data_fraction}); choose a smaller one, or 0 for the full batch"
        )
    return trial.batch_size or examples


@dataclass(frozen=True, slots=True)
class Shape:
    """The batched model that all trials of one shape share, and the device it is trained on."""

    task: Task
    """The table of phase 0."""
    model: ModelConfig
    architecture: Architecture
    layout: Layout = field(compare=False)
    batch_size: int
    noisy: bool
    """Whether noise is added to the weights in every step."""
    spectral_floor: float
    spectral_every: int
    device: torch.device
    one_by_one: bool
    """Whether lanes are trained one after the other instead of batched: where the architecture has a gradient
    written by hand that is faster so, or batched bits would depend on company (`trainables.lanes.company`)."""

    @classmethod
    def of(cls, trial: TrialConfig, device: torch.device) -> Shape:
        """Build the shape of a trial, which is that of every trial with the same `shape_key`.

        Raises:
            ConfigError: the trial cannot be trained, see `shape_key`.
        """
        task, batch_size = build_task(trial.task), effective_batch_size(trial)
        architecture = architecture_of(task, trial.model)
        return cls(
            task=task,
            model=trial.model,
            architecture=architecture,
            layout=Layout(architecture.shapes),
            batch_size=batch_size,
            noisy=trial.weight_noise > 0,
            spectral_floor=trial.spectral_floor,
            spectral_every=trial.spectral_every,
            device=device,
            one_by_one=architecture.by_hand(batch_size, device) is not None,
        )

    @property
    def fewest_lanes(self) -> int:
        """The number of lanes below which bits would change."""
        return 1 if self.one_by_one else FEWEST_BATCHED_LANES

    def initial_state(self, seed: int) -> State:
        """Make the state of a trial before its first step, on the host."""
        weights = initial_weights(self.architecture, self.model, seed)
        row = self.layout.rows({name: weight[None] for name, weight in weights.items()})[0]
        return {"weights": row, "first_moment": row * 0, "second_moment": row * 0}
