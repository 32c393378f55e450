"""What trials must have in common to share a batched model."""

from __future__ import annotations

from trainables.config import TrialConfig
from trainables.errors import ConfigError
from trainables.tasks import build_task
from trainables.tasks.phases import check_drift
from trainables.tasks.split import training_size

LARGEST_DEFAULT_BATCH = 512

ShapeKey = tuple[object, ...]


def shape_key(trial: TrialConfig) -> ShapeKey:
    """What trials must have in common to share a batched model; hashable.

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
        (trial.spectral_floor, trial.spectral_every) if penalised else None,
        trial.weight_noise > 0,
    )


def effective_batch_size(trial: TrialConfig) -> int:
    """Examples per step: as asked for, 0 for all n training examples, by default min(512, n // 2) but at least 1.

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
