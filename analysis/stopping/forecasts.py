"""When the trials of a sweep will grok that have not grokked yet: a forecast of each, and what waiting costs.

A trial that runs is compared with the trials of its sweep as the sweep goes: one that the rule has stopped will not
grok in it, however long it might have been followed. A trial that the rule has stopped is compared with recorded
trials only, as if it were resumed: those as old in its own sweep are the ones that the rule has spared. Each phase
of drift is compared with the same phase of other trials, and counts its own steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.errors import AnalysisError
from analysis.stopping.calibration import Calibration
from analysis.stopping.evidence import Evidence
from analysis.stopping.forecast import Course, Courses, Forecast, forecast, recorded_courses
from analysis.stopping.parking import PREFIX

if TYPE_CHECKING:
    import pandas as pd

STATES = ("unfinished", "parked", "stopped")
"""The states of a trial that may yet grok: it runs or was interrupted; it waits for a lane; the rule ended it."""

COLUMNS = (
    *("state", "last_step", "memorisation_step", "budget_steps", "earliest_step", "latest_step", "chance"),
    *("half_step", "further_steps", "further_s", "wait_s", "further_cost", "trials", "own_sweep"),
)
"""The columns of `forecasts` after `trial_id` and before the settings."""

_NEEDED = ("trial_id", "step", "train_accuracy", "val_accuracy", "budget_steps", "ended_because")


def forecasts(
    df: pd.DataFrame,
    *,
    price_per_hour: float | None = None,
    calibration: Calibration | None = None,
    phases: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Forecast the grok of each trial that has not grokked and runs, waits, or was stopped by the rule.

    Used are the sweep's own trials once `analysis.stopping.forecast.ENOUGH` of them were as old without a grok, and
    the recorded sweeps before, and for stopped trials. One that has not memorised yet has a row without a forecast.

    Args:
        df: rows from `load`, in any order.
        price_per_hour: price of an hour of one process, as in a specification; None if it is not known.
        calibration: the recorded sweeps, by default the shipped ones.
        phases: the events of these rows, if they are known already.

    Returns:
        Sorted by `trial_id`. Steps are those of the trial; numbers are floats, NaN where they are not known:

        - `state`: a category, one of `STATES`. `last_step`, `memorisation_step`; `budget_steps`: the end of its
          budget, or of its present phase.
        - `earliest_step`: a grok before it is unlikely, 10 % at most among exchangeable trials. `latest_step`: if
          it groks, it has done so by then in 90 %; only where `chance` is at least a half.
        - `chance`: share of such trials that grok within this trial's budget. For a trial that the parking rule
          has given up it is the rule's `stop_probability`, which knows that it has stalled. NaN where too few
          trials were followed as far.
        - `half_step`: by it half of such trials have grokked; NaN beyond the budget. `further_steps`: from now
          until then; `further_s`: lane-seconds of training and measuring for them, at the trial's own pace so far;
          `wait_s`: seconds until then, at most, if it runs and its process trains as many lanes as it may;
          `further_cost`: `further_s` at the price.
        - `trials`: number of trials that this rests on; `own_sweep`: whether they are of this sweep.
        - every setting that `df` has.

    Raises:
        AnalysisError: a needed column is missing.
    """
    import pandas as pd

    from analysis.schema import SETTINGS

    phases = phase_events(df) if phases is None else phases
    current = phases.drop_duplicates("trial_id", keep="last")
    because = current["ended_because"].astype("object")
    can_grok = current["grok_step"].isna() & (because.isna() | because.eq("stopped"))
    waiting = current[can_grok].reset_index(drop=True)
    made = made_forecasts(waiting, phases, calibration=calibration)

    parked = _flag(waiting, "parked")
    stopped = waiting["ended_because"].eq("stopped").to_numpy()
    states = np.select([stopped, parked], ["stopped", "parked"], "unfinished")
    result = waiting[["trial_id"]].copy()
    result["state"] = pd.Categorical(states, categories=list(STATES))
    for name in ("last_step", "memorisation_step"):
        result[name] = waiting[name].astype("float64")
    result["budget_steps"] = waiting["phase_end_step"].astype("float64")
    began = waiting["phase_start_step"].to_numpy(np.float64)
    for name in ("earliest_step", "latest_step"):
        result[name] = began + _numbers(made, name)
    known = np.array([one is not None and one.is_known for one in made], dtype=bool)
    result["chance"] = np.where(known, _numbers(made, "probability"), np.nan)
    result["half_step"] = began + _numbers(made, "half_step")
    result["further_steps"] = result["half_step"] - result["last_step"]
    result["further_s"] = result["further_steps"] * seconds_per_step(df, waiting)
    lanes = waiting["lanes"] if "lanes" in waiting.columns else np.nan
    result["wait_s"] = (result["further_s"] * lanes).where(states == "unfinished")
    result["further_cost"] = np.nan if price_per_hour is None else result["further_s"] / 3600 * price_per_hour
    result["trials"] = _numbers(made, "trials")
    result["own_sweep"] = np.array([one is not None and one.own_sweep for one in made], dtype=bool)
    settings = [column.name for column in SETTINGS if column.name in waiting.columns]
    return pd.concat([result, waiting[settings]], axis=1)


def phase_events(df: pd.DataFrame) -> pd.DataFrame:
    """Return the events of rows, one row per trial and phase; of rows without complexity, too.

    Raises:
        AnalysisError: a needed column is missing.
    """
    from analysis.events import events

    missing = [name for name in _NEEDED if name not in df.columns]
    if missing:
        raise AnalysisError(
            f"forecasts need the columns {', '.join(_NEEDED)}; {', '.join(missing)} missing; load them too"
        )
    return events(df if "complexity_bytes" in df.columns else df.assign(complexity_bytes=np.nan))


def made_forecasts(
    waiting: pd.DataFrame,
    phases: pd.DataFrame,
    *,
    calibration: Calibration | None = None,
    budgets: np.ndarray | None = None,
) -> list[Forecast | None]:
    """Forecast the trials that are in some rows of events; steps count from the start of the phase.

    Args:
        waiting: events of the present phases of trials without a grok.
        phases: events of all trials of the sweep.
        calibration: the recorded sweeps, by default the shipped ones.
        budgets: steps that each trial may have in its phase, shape [n]; by default those that it has.

    Returns:
        A forecast for each, None for a trial that has not memorised.
    """
    calibration = calibration or Calibration.load()
    recorded = recorded_courses(calibration)
    known: dict[int, Courses] = {}
    began = waiting["phase_start_step"].to_numpy(np.float64)
    steps = waiting["last_step"].to_numpy(np.float64) - began
    memorised = waiting["memorisation_step"].to_numpy(np.float64) - began
    if budgets is None:
        budgets = waiting["phase_end_step"].to_numpy(np.float64) - began
    stopped = waiting["ended_because"].eq("stopped").to_numpy()
    chances = _rules_chances(waiting, calibration)
    made: list[Forecast | None] = []
    for place, phase in enumerate(waiting["phase"].tolist()):
        if np.isnan(memorised[place]):
            made.append(None)
            continue
        if phase not in known:
            known[phase] = _courses(phases[phases["phase"].eq(phase)])
        same_sweep = () if stopped[place] else known[phase]
        step, budget = int(steps[place]), int(max(budgets[place], steps[place]))
        one = forecast(step, memorised[place], budget, recorded=recorded, same_sweep=same_sweep)
        made.append(one if np.isnan(chances[place]) else one.with_chance(chances[place]))
    return made


def _courses(phases: pd.DataFrame) -> Courses:
    """Return how the trials of a phase went."""
    began = phases["phase_start_step"].to_numpy(np.float64)
    budgets = phases["phase_end_step"].to_numpy(np.float64) - began
    # A trial that has diverged cannot grok any more, nor does one that the rule has stopped.
    over = phases["ended_because"].isin(["diverged", "stopped"]).to_numpy()
    followed = np.where(over, budgets, phases["last_step"].to_numpy(np.float64) - began)
    memorised, grokked = (phases[name].to_numpy(np.float64) - began for name in ("memorisation_step", "grok_step"))
    return Courses.of(map(Course, memorised.tolist(), grokked.tolist(), followed.tolist()))


def _rules_chances(waiting: pd.DataFrame, calibration: Calibration) -> np.ndarray:
    """Return what the parking rule says of those that it has given up, NaN of others: shares, shape [n]."""
    chances = np.full(len(waiting), np.nan)
    if {"stop_rule", "stop_probability"} <= set(waiting.columns):
        parks = waiting["stop_rule"].astype("object").str.startswith(PREFIX).eq(True).to_numpy()
        chances = np.where(parks, waiting["stop_probability"].to_numpy(np.float64), np.nan)
    if {"cell_grokked", "cell_failed"} <= set(waiting.columns):
        for place in np.flatnonzero(waiting["cell_grokked"].notna()):
            evidence = Evidence(*(int(waiting[name].iloc[place]) for name in ("cell_grokked", "cell_failed")))
            chances[place] = calibration.probability_of_grok(evidence)
    return chances


def seconds_per_step(df: pd.DataFrame, trials: pd.DataFrame) -> np.ndarray:
    """Return the lane-seconds of training and measuring per step so far of some trials, NaN where not known.

    Args:
        df: rows from `load`.
        trials: one row per trial, with `trial_id` and `last_step`.
    """
    names = ["train_wall_s", "measure_wall_s"]
    if not set(names) <= set(df.columns):
        return np.full(len(trials), np.nan)
    taken_s = df.groupby("trial_id", observed=True)[names].max().sum(axis=1)
    steps = trials["last_step"].clip(lower=1).to_numpy(np.float64)
    return np.asarray(taken_s.reindex(trials["trial_id"]).to_numpy(np.float64) / steps, dtype=np.float64)


def _numbers(made: list[Forecast | None], name: str) -> np.ndarray:
    return np.array([np.nan if one is None else _or_nan(getattr(one, name)) for one in made], dtype=np.float64)


def _or_nan(value: Any) -> float:
    return np.nan if value is None else float(value)


def _flag(trials: pd.DataFrame, name: str) -> np.ndarray:
    if name not in trials.columns:
        return np.zeros(len(trials), dtype=bool)
    return np.asarray(trials[name].astype("object").eq(True).to_numpy(), dtype=bool)
