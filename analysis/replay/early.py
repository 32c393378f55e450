"""How well one number, early on, tells trials that grok from those that do not: AUROC.

Only trials of one sweep are compared with each other: pairs of a grokker and a failure, both memorised and not
grokked at a share of the budget. A signal that only tells tasks apart gains nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.events import declines
from analysis.replay.recordings import SIGNALS, Recording

SHARES = (0.05, 0.1, 0.2)
"""Shares of the budget at which signals are judged."""

Signal = Callable[[Recording, int], float]
"""Returns a number that is larger for trials more likely to grok, from evaluations 0 to i of a recording."""


@dataclass(frozen=True, slots=True)
class Separation:
    """How well a signal tells grokkers from failures."""

    pairs: int
    auroc: float
    """Share of the pairs in which the grokker has the larger number, ties half; NaN without a pair."""


def auroc(grokkers: Sequence[float], failures: Sequence[float]) -> tuple[float, int]:
    """Return the number of pairs in the right order (ties count half), and of all pairs; NaN is lowest."""
    right = np.nan_to_num(np.asarray(grokkers, dtype=float), nan=-np.inf)[:, None]
    wrong = np.nan_to_num(np.asarray(failures, dtype=float), nan=-np.inf)[None, :]
    return float((right > wrong).sum() + 0.5 * (right == wrong).sum()), right.size * wrong.size


def separation(
    sweeps: Mapping[str, Sequence[Recording]], signal: Signal, share: float, *, hard_only: bool
) -> Separation:
    """Return how well a signal separates at a share of the budget, in the sweeps that have it.

    Args:
        sweeps: sweep -> its trials.
        signal: the number to be judged.
        share: share of the budget, in (0, 1).
        hard_only: whether failures that came near are left out.
    """
    ordered, pairs = 0.0, 0
    for trials in sweeps.values():
        at = {id(trial): _open_at(trial, share) for trial in trials}
        open_trials = [trial for trial in trials if at[id(trial)] is not None]
        values = {id(trial): signal(trial, at[id(trial)] or 0) for trial in open_trials}
        if all(np.isnan(value) for value in values.values()):
            continue  # a column that older versions did not write, or a setting that does not vary
        failures = [trial for trial in open_trials if (trial.is_hard_failure if hard_only else not trial.grokked)]
        right, n = auroc(
            [values[id(trial)] for trial in open_trials if trial.grokked], [values[id(trial)] for trial in failures]
        )
        ordered, pairs = ordered + right, pairs + n
    return Separation(pairs, ordered / pairs if pairs else float("nan"))


def _open_at(trial: Recording, share: float) -> int | None:
    """Return the evaluation at a share of the budget if the trial has memorised and not grokked by then."""
    step = share * trial.budget_steps
    at = int(np.searchsorted(trial.trajectory.step, step, side="right")) - 1
    if at < 0 or not trial.memorisation_step <= step or trial.grok_step <= step:
        return None
    return at


def signals(trials: Iterable[Recording]) -> dict[str, Signal]:
    """Return name -> signal: those that any of the recordings has, each signed so that larger means sooner."""
    trials = list(trials)
    names = sorted({name for trial in trials for name in trial.settings})
    result: dict[str, Signal] = {
        "validation loss": lambda trial, at: -float(trial.trajectory.val_loss[at]),
        "validation accuracy": lambda trial, at: float(trial.trajectory.val_accuracy[at]),
        "fall of validation loss": _loss_fall,
        "decline of complexity": _decline,
        "complexity": lambda trial, at: -_last(trial.trajectory.complexity_bytes[: at + 1]),
    }
    for name in SIGNALS:
        if all(np.isnan(trial.signals[name]).all() for trial in trials):
            continue  # older versions did not write it
        result[name.replace("_", " ")] = lambda trial, at, name=name: -float(trial.signals[name][at])  # type: ignore[misc]
    for name in names:
        result[f"setting {name.replace('_', ' ')}"] = lambda trial, _, name=name: trial.settings.get(name, np.nan)  # type: ignore[misc]
    return result


def _loss_fall(trial: Recording, at: int) -> float:
    """Return by how much the logarithm of validation loss has fallen over the last factor three of steps."""
    step, loss = trial.trajectory.step[: at + 1], trial.trajectory.val_loss[: at + 1]
    before = max(int(np.searchsorted(step, step[-1] / 3, side="right")) - 1, 0)
    return float(np.log(max(loss[before], 1e-300) / max(loss[-1], 1e-300)))


def _decline(trial: Recording, at: int) -> float:
    size = trial.trajectory.complexity_bytes[: at + 1]
    measured = size[~np.isnan(size)]
    return float(declines(measured)[-1]) if len(measured) else float("nan")


def _last(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known[-1]) if len(known) else float("nan")
