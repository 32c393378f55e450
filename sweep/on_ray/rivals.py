"""The schedulers of Ray Tune as rules for a replay: ASHA, asynchronous Hyperband and median stopping.

Tune's own classes decide. They are given the recorded results of all trials of a sweep in lock step, which is their
best case: each trial is compared with all others at the same share of its budget.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, TrialScheduler

from analysis.errors import AnalysisError
from analysis.replay.lanes import Fates, Rule, alone
from analysis.replay.recordings import Recording
from analysis.replay.rules import Maker

METRICS = {"val_accuracy": "max", "val_loss": "min"}

_TIME = "percent"
"""Share of its budget that a trial has run, in percent: Tune wants its grace periods to be at least 1."""


def asha(parameters: Mapping[str, Any]) -> Rule:
    """Make ASHA from `metric`, `reduction_factor` and `grace`, a percentage of the budget."""
    given = {"metric": "val_accuracy", "reduction_factor": 4, "grace": 1, "brackets": 1, **parameters}
    metric = _metric(given.pop("metric"))
    grace = given.pop("grace")
    return _rule(lambda: AsyncHyperBandScheduler(_TIME, metric, METRICS[metric], 100, grace, **given), metric)


def hyperband(parameters: Mapping[str, Any]) -> Rule:
    """Make asynchronous Hyperband of three brackets from the parameters of `asha`."""
    return asha({"brackets": 3, **parameters})


def median(parameters: Mapping[str, Any]) -> Rule:
    """Make median stopping from `metric` and `grace`, a percentage of the budget."""
    given = {"metric": "val_accuracy", "grace": 10, **parameters}
    metric = _metric(given.pop("metric"))
    grace = given.pop("grace")
    return _rule(lambda: MedianStoppingRule(_TIME, metric, METRICS[metric], grace, **given), metric)


RIVALS: dict[str, Maker] = {"asha": asha, "hyperband": hyperband, "median": median}


def _metric(name: object) -> str:
    if name not in METRICS:
        raise AnalysisError(f"metric must be one of {', '.join(METRICS)}, got {name!r}")
    return str(name)


@dataclass(frozen=True)
class _Trial:
    """As much of Tune's trial as its schedulers look at."""

    trial_id: str


class _Controller:
    """As much of Tune's controller as its schedulers look at: no trial waits for resources."""

    def get_live_trials(self) -> list[Any]:
        """Return no trials."""
        return []


def _rule(scheduler: Any, metric: str) -> Rule:
    scheduler()  # wrong parameters are found here, not in mid-replay

    def rule(trials: Sequence[Recording], lanes: int) -> Fates:
        np.random.seed(0)  # Hyperband draws brackets from numpy's global state
        steps = _lock_step(trials, scheduler(), metric)
        of = {id(trial): at for trial, at in zip(trials, steps, strict=True)}
        return alone(lambda trial: of[id(trial)])(trials, lanes)

    return rule


def _lock_step(trials: Sequence[Recording], scheduler: Any, metric: str) -> list[int | None]:
    """Return the step at which a scheduler stops each trial, None where it does not."""
    controller = _Controller()
    of_tune = [_Trial(str(place)) for place in range(len(trials))]
    for one in of_tune:
        scheduler.on_trial_add(controller, one)
    results = sorted(
        (100 * step / trial.budget_steps, place, at)
        for place, trial in enumerate(trials)
        for at, step in enumerate(trial.trajectory.step.tolist())
        if step
    )
    stopped: list[int | None] = [None] * len(trials)
    for percent, place, at in results:
        value = float(getattr(trials[place].trajectory, metric)[at])
        if stopped[place] is not None or math.isnan(value):
            continue
        action = scheduler.on_trial_result(controller, of_tune[place], {_TIME: percent, metric: value})
        # A trial that reaches the end of its budget is ended by Tune as well: nothing is saved then.
        if action == TrialScheduler.STOP and percent < 100:
            stopped[place] = int(trials[place].trajectory.step[at])
    return stopped
