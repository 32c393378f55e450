"""From a specification to its trials."""

from __future__ import annotations

import itertools

from sweep.config import SweepConfig
from sweep.errors import Problem, SpecificationError
from sweep.feasibility import combinations, trial_axes
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.errors import ConfigError


def trials(config: SweepConfig) -> list[TrialConfig]:
    """All trials of a specification, each once, in an order that depends on nothing but the specification.

    The seed runs slowest, so a sweep that is cut short has seen every setting before it repeats one; then the
    axes in the order of `TrialConfig`, the last running fastest.

    Raises:
        SpecificationError: a combination that cannot be trained.
    """
    axes = trial_axes(config)
    tasks = [TaskConfig(**values) for values in combinations(config.task)]
    models = [ModelConfig(**values) for values in combinations(config.model)]
    found: dict[str, TrialConfig] = {}
    for seed, task, model, *values in itertools.product(config.seed_list, tasks, models, *axes.values()):
        settings = dict(zip(axes, values, strict=True))
        if settings["spectral_entropy_weight"] == 0:
            settings["spectral_start"] = 0  # nothing starts: where starts are an axis, one trial without a penalty
        try:
            trial = TrialConfig(task=task, model=model, seed=seed, **settings)
        except ConfigError as error:
            path = tuple(str(error).split(maxsplit=1)[0].split("."))
            raise SpecificationError([Problem(path, str(error))]) from None
        # Two settings may be one network, e.g. `layers` left out and `layers: 1`.
        found.setdefault(trial.trial_id, trial)
    return list(found.values())
