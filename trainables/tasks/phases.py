"""The training sets of a trial with drift, see `trainables.config.drift`."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import torch
from torch import Tensor

from trainables.config import TaskConfig, TrialConfig
from trainables.config.drift import Drift, TrainingSet
from trainables.errors import ConfigError
from trainables.numerics.computing import settled_torch
from trainables.tasks import build_task
from trainables.tasks.split import Split, split
from trainables.tasks.task import Task


def phase_task(trial: TrialConfig, phase: int) -> Task:
    """Build the table of a phase of a trial. Its tensors are shared and must not be written to.

    Raises:
        ConfigError: see `check_drift`.
    """
    return _table(trial.task, trial.drift.training_sets()[phase])


def phase_split(trial: TrialConfig, phase: int, task: Task) -> Split:
    """Split a phase's table; label noise is the same as in any other phase."""
    number = trial.drift.training_sets()[phase].split
    return split(task, trial.data_fraction, trial.label_noise, trial.seed, number)


def shifted(inputs: Tensor, shift: float) -> Tensor:
    """Shift the inputs; each example keeps its target.

    Each real feature moves by `shift` times its standard deviation over the table: a covariate shift. Tokens are
    relabelled, namely the K tokens that occur where examples differ (in modular arithmetic the numbers, K = p): the
    i-th by size becomes the (i + round(shift x K))-th, modulo K. Tokens that all examples share stay.

    Args:
        inputs: [N, ...] features, or [N, T] tokens.
        shift: in standard deviations for features, in shares of K for tokens.
    """
    if inputs.is_floating_point():
        return inputs + shift * inputs.std(0, correction=0)
    varies = (inputs != inputs[0]).any(0)
    tokens = torch.unique(inputs[:, varies])
    places = torch.searchsorted(tokens, inputs[:, varies].contiguous())
    moved = inputs.clone()
    moved[:, varies] = tokens[(places + round(shift * len(tokens))) % len(tokens)]
    return moved


def check_drift(config: TaskConfig, drift: Drift) -> None:
    """Check that every phase has a table that the network of the first phase can take.

    Raises:
        ConfigError: a family is unknown, a table has another shape, or a shift moves nothing.
    """
    for step, training_set in drift.exchanges:
        try:
            _table(config, training_set)
        except ConfigError as error:
            raise ConfigError(f"drift at step {step}: {error}") from None


def _table(config: TaskConfig, training_set: TrainingSet) -> Task:
    if training_set.family is None and not training_set.shift:
        return build_task(config)  # the same object for every split
    # Looked up before what is remembered: a family may be registered anew.
    return _other_table(config, dataclasses.replace(training_set.with_source(), split=0))


@lru_cache(maxsize=16)
@settled_torch()
def _other_table(config: TaskConfig, training_set: TrainingSet) -> Task:
    task = build_task(config)
    if training_set.family is not None:
        task = _of_family(task, dataclasses.replace(config, family=training_set.family, source=training_set.source))
    if training_set.shift:
        inputs = shifted(task.inputs, training_set.shift)
        if torch.equal(inputs, task.inputs):
            raise ConfigError(
                f"shift must move the inputs, got {training_set.shift:g}, which moves none of {task.name}; "
                "choose a larger one, of tokens no whole number"
            )
        task = dataclasses.replace(task, inputs=inputs)
    return task


def _of_family(own: Task, config: TaskConfig) -> Task:
    task = build_task(config)
    for what, expected, got in (
        ("examples", own.examples, task.examples),
        ("inputs of shape", tuple(own.inputs.shape[1:]), tuple(task.inputs.shape[1:])),
        ("tokens", own.vocabulary, task.vocabulary),
        ("classes", own.classes, task.classes),
        ("tokens that all examples share at", own.fixed_tokens, task.fixed_tokens),
    ):
        if got != expected:
            raise ConfigError(
                f"family must have a table of the same shape as {own.name}, got {task.name} with {what} {got} "
                f"instead of {expected}; choose another family"
            )
    return task
