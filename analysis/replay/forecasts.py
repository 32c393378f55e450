"""Checks forecasts on recorded sweeps: each sweep is forecast from the others."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.replay.recordings import Recording, Recordings
from analysis.stopping.forecast import Course, Courses, Forecast, forecast

SHARES = (0.05, 0.1, 0.2, 0.5)
"""Shares of the budget at which forecasts are made."""

SOURCES = ("other sweeps", "running sweep", "ended sweep")
"""What forecasts are made from: other sweeps alone, as before a sweep has trials as old; its own trials as far as
all have come by then, and other sweeps beyond; its own trials as if they had ended, as for its last ones."""


def forecasts_frame(recordings: Recordings, sweep: str | None = None) -> pd.DataFrame:
    """Return one row for each source and share of the budget: what was forecast, and how often it held.

    Forecast are the trials that have memorised and not grokked by then, from each of `SOURCES`.

    Args:
        recordings: the trials of several sweeps.
        sweep: the sweep whose trials are forecast; None for all.
    """
    recorded = {
        sweep: Courses.of(_course(other, 1.0) for other in recordings.trials if other.sweep != sweep)
        for sweep in {trial.sweep for trial in recordings.trials}
    }
    rows = []
    for source in SOURCES:
        for share in SHARES:
            seen = {"running sweep": share, "ended sweep": 1.0}.get(source)
            made = [
                (trial, one)
                for trial in recordings.trials
                if sweep in (None, trial.sweep)
                and (step := _open_at(trial, share)) is not None
                and (one := _forecast(trial, step, recordings, recorded[trial.sweep], seen)) is not None
            ]
            rows.append({"from": source, "share": share, **_row(made)})
    return pd.DataFrame(rows)


def _course(trial: Recording, seen: float) -> Course:
    """Return how a trial had gone by a share of its budget."""
    step = int(seen * trial.budget_steps)
    memorised, grokked = (at if at <= step else np.nan for at in (trial.memorisation_step, trial.grok_step))
    return Course(memorised, grokked, step)


def _forecast(
    trial: Recording, step: int, recordings: Recordings, recorded: Courses, seen: float | None
) -> Forecast | None:
    """Return the forecast at a step; None if the trial's own sweep is asked for and tells nothing.

    Args:
        trial: the trial.
        step: the step.
        recordings: the trials of all sweeps.
        recorded: those of other sweeps.
        seen: the share of its budget that each trial of the same sweep was followed to; None to leave them out.
    """
    others = (other for other in recordings.trials if other is not trial and other.sweep == trial.sweep)
    same_sweep = () if seen is None else [_course(other, seen) for other in others]
    one = forecast(step, trial.memorisation_step, trial.budget_steps, recorded=recorded, same_sweep=same_sweep)
    return one if one.own_sweep == (seen is not None) else None


def _open_at(trial: Recording, share: float) -> int | None:
    """Return the step at a share of the budget if the trial has memorised and not grokked by then."""
    step = int(share * trial.budget_steps)
    return step if trial.memorisation_step <= step and not trial.grok_step <= step else None


def _row(made: list[tuple[Recording, Forecast]]) -> dict[str, float]:
    grok_step = np.array([trial.grok_step if trial.grokked else np.inf for trial, _ in made])
    earliest = np.array([one.earliest_step for _, one in made])
    latest = np.array([_or_nan(one.latest_step) for _, one in made])
    half = np.array([_or_nan(one.half_step) for _, one in made])
    return {
        "trials": len(made),
        "grokked": _mean(np.isfinite(grok_step)),
        "chance": _mean(np.array([one.probability for _, one in made])),
        "earliest_held": _mean(grok_step >= earliest),
        "earliest_factor": float(np.median(earliest / np.array([one.step for _, one in made]))) if made else np.nan,
        "latest_stated": _mean(~np.isnan(latest)),
        "latest_held": _mean((grok_step <= latest)[~np.isnan(latest) & np.isfinite(grok_step)]),
        "half_stated": _mean(~np.isnan(half)),
        "grokked_by_half": _mean((grok_step <= half)[~np.isnan(half)]),
    }


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan
