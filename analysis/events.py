"""The events of a trajectory: memorisation, grok, complexity peak, decline onset.

One core, `trajectory_events`, serves both the lane loop while a trial runs and the analysis afterwards, so the
online answer is the offline answer. It is causal: if a prefix of the trajectory determines an event, the event has
the same step in every longer prefix.

    memorisation step   first of `sustained` consecutive evaluated steps with training accuracy >= memorised_at
    grok step           the same with validation accuracy and grokked_at
                        both known as an interval (previous evaluated step, that step]
    grok lost           first later evaluated step with validation accuracy below grokked_at
    complexity peak     running maximum of complexity from the memorisation step on
    decline             1 - C / peak
    decline onset       first of 2 consecutive measurements with decline >= decline_at
    tail complete       seen up to twice the grok step, with 3 complexity measurements after it

Where a trial's training set is exchanged, each phase has a trajectory of its own, whose steps count from the start
of the phase. Whatever is derived from steps (twice the grok step, the rule's patience) uses these. Tables and
sentences show the steps of the trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError, require_shares
from analysis.trajectory import Trajectory

if TYPE_CHECKING:
    import pandas as pd

    from analysis.load import Results

#: Consecutive measurements at or above `decline_at` that make a decline.
DECLINE_SUSTAINED = 2
#: The tail of a grokked trial lasts to this multiple of its grok step, ...
TAIL_RATIO = 2
#: ... and at least until this many complexity measurements after the grok step.
TAIL_MEASUREMENTS = 3


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds for memorised, grokked and declined."""

    memorised_at: float = 0.99
    """Training accuracy, a share."""
    grokked_at: float = 0.99
    """Validation accuracy, a share."""
    decline_at: float = 0.1
    """Share of its peak that complexity must have lost."""
    sustained: int = 3
    """Consecutive evaluated steps at or above an accuracy threshold that make an event."""

    def __post_init__(self) -> None:
        require_shares(self, "memorised_at", "grokked_at", "decline_at")
        if self.sustained < 1:
            raise AnalysisError(f"sustained must be at least 1 evaluated step, got {self.sustained}")


@dataclass(frozen=True, slots=True)
class Events:
    """The events that a trajectory determines; None for an event that has not happened or is not determined yet."""

    memorisation_step: int | None = None
    memorisation_after_step: int | None = None
    """The evaluated step before the memorisation step; the network memorised after it. None if there is none."""
    grok_step: int | None = None
    grok_after_step: int | None = None
    """The evaluated step before the grok step; the network grokked after it. None if there is none."""
    ungrokked_step: int | None = None
    """Without a grok the last evaluated step below the threshold, -1 if none was: evaluations after it are fewer
    than `sustained`, and may be the beginning of a grok that is not certain yet."""
    grok_lost_step: int | None = None
    complexity_peak_step: int | None = None
    complexity_peak_bytes: float | None = None
    """Largest complexity from the memorisation step to the end of the trajectory."""
    final_complexity_bytes: float | None = None
    """The last measured complexity, whether memorised or not."""
    decline: float | None = None
    """1 - C / peak at the last measurement since the memorisation step; a share."""
    decline_onset_step: int | None = None
    tail_complete: bool = False


def first_sustained(reached: NDArray[np.bool_], sustained: int) -> int | None:
    """Return the index of the first of `sustained` consecutive True, or None.

    Args:
        reached: shape [n].
        sustained: the number in a row, at least 1.
    """
    starts = len(reached) - sustained + 1
    if starts <= 0:
        return None
    runs = reached[:starts].copy()
    for offset in range(1, sustained):
        runs &= reached[offset : starts + offset]
    index = int(runs.argmax())
    return index if runs[index] else None


def declines(complexity_bytes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 - C / running maximum at each measurement.

    Args:
        complexity_bytes: shape [m], measurements from the memorisation step on, no NaN.

    Returns:
        Shares, shape [m].
    """
    peak = np.maximum(np.maximum.accumulate(complexity_bytes), 1)
    # Computed this way because 1 - C / peak puts 180 of 200 bytes just below a decline of 0.1.
    return (peak - complexity_bytes) / peak


def trajectory_events(trajectory: Trajectory, thresholds: Thresholds = Thresholds()) -> Events:
    """Find the events of one trajectory, or of the part seen so far.

    Args:
        trajectory: evaluated steps, oldest first.
        thresholds: the thresholds for memorised, grokked and declined.
    """
    step, complexity = trajectory.step, trajectory.complexity_bytes
    measured = np.flatnonzero(~np.isnan(complexity))
    fields: dict[str, Any] = {}
    if len(measured):
        fields["final_complexity_bytes"] = float(complexity[measured[-1]])

    memorised = first_sustained(trajectory.train_accuracy >= thresholds.memorised_at, thresholds.sustained)
    if memorised is not None:
        fields["memorisation_step"] = int(step[memorised])
        fields["memorisation_after_step"] = _before(step, memorised)
        since = measured[measured >= memorised]
        if len(since):
            peak = since[complexity[since].argmax()]
            decline = declines(complexity[since])
            onset = first_sustained(decline >= thresholds.decline_at, DECLINE_SUSTAINED)
            fields["complexity_peak_step"] = int(step[peak])
            fields["complexity_peak_bytes"] = float(complexity[peak])
            fields["decline"] = float(decline[-1])
            fields["decline_onset_step"] = None if onset is None else int(step[since[onset]])

    at_threshold = trajectory.val_accuracy >= thresholds.grokked_at
    grokked = first_sustained(at_threshold, thresholds.sustained)
    if grokked is not None:
        fields["grok_step"] = int(step[grokked])
        fields["grok_after_step"] = _before(step, grokked)
        lost = np.flatnonzero(~at_threshold[grokked:])
        fields["grok_lost_step"] = int(step[grokked + lost[0]]) if len(lost) else None
        fields["tail_complete"] = bool(
            step[-1] >= TAIL_RATIO * step[grokked] and (measured > grokked).sum() >= TAIL_MEASUREMENTS
        )
    elif len(step):
        below = np.flatnonzero(~at_threshold)
        fields["ungrokked_step"] = int(step[below[-1]]) if len(below) else -1
    return Events(**fields)


def _before(step: NDArray[np.int64], index: int) -> int | None:
    return int(step[index - 1]) if index else None


_NEEDED = ("trial_id", "step", "train_accuracy", "val_accuracy", "complexity_bytes")
_EVENT_COLUMNS = tuple(name for name in Events.__slots__ if name != "tail_complete")
_STEPS = frozenset(name for name in _EVENT_COLUMNS if name.endswith("_step"))


def events(df: pd.DataFrame, thresholds: Thresholds | None = None) -> pd.DataFrame:
    """Return one row per trial, or per phase with drift: its events, settings and ending.

    Args:
        df: rows from `load`, in any order; `trial_id`, `step`, the two accuracies and
            `complexity_bytes` are needed, and for trials with drift `phase` and `phase_start_step`.
        thresholds: thresholds for all trials; by default each trial's own, from its columns `memorised_at` and
            `grokked_at` where they are known, otherwise the defaults of `Thresholds`.

    Returns:
        Sorted by `trial_id` and `phase`, an ordinary index. Steps and bytes are floats, NaN if there is none.
        All steps are those of the trial, even where a rule counts from the start of the phase:

        - `phase`, `phase_start_step`: 0 without drift. A phase that an exchange has ended has `ended_because`
          `budget`: its own budget is over.
        - `memorisation_step`, `grok_step`: optimiser updates; the event lies in (`memorisation_after_step`,
          `memorisation_step`] and (`grok_after_step`, `grok_step`].
        - `ungrokked_step`: without a grok step, no grok has begun by this one: the last one evaluated, or the one
          before the last evaluations if these reach the threshold, and are too few to be certain of a grok.
        - `delay`: grok step - memorisation step, steps.
        - `grok_lost_step`: first fall below the threshold after the grok step.
        - `complexity_peak_step`, `complexity_peak_bytes`: from memorisation on.
        - `final_complexity_bytes`: the last measured complexity.
        - `decline`: share of the peak lost at the last measurement; `decline_onset_step`.
        - `last_step`: last evaluated step; the trial was followed up to here.
        - `censored`: no grok step was seen, so the time to grok is only known to exceed `ungrokked_step`.
        - `tail_complete`: the trial was followed through the tail of its grok.
        - `final_val_accuracy`: at the last evaluated step. `grok_lost`: it grokked, and that is below the
          threshold; a fall that it has recovered from has a `grok_lost_step` only.
        - every column of `df` that belongs to the trial: settings, `budget_steps`, `ended_because` (missing
          while a trial runs or is interrupted), `memorised_at`, `grokked_at`, `complexity_method`.

    Raises:
        AnalysisError: a needed column is missing.
    """
    return events_of_phases(df, thresholds)[0]


def events_of_phases(df: pd.DataFrame, thresholds: Thresholds | None = None) -> tuple[pd.DataFrame, list[Events]]:
    """Return what `events` returns, and the events of each of its rows, in steps from the start of its phase."""
    import pandas as pd

    from analysis.schema import ROWS, SETTINGS, Texts

    missing = [name for name in _NEEDED if name not in df.columns]
    if missing:
        raise AnalysisError(
            f"events need the columns {', '.join(_NEEDED)}; {', '.join(missing)} missing; load them too"
        )
    # Drop columns that differ from step to step; keep everything that belongs to the trial.
    per_step = {column.name for column in ROWS} - {column.name for column in SETTINGS} - {"trial_id"}
    per_step -= {"phase_end_step"}
    ordered, starts = by_phase(df)
    result = ordered[[name for name in ordered.columns if name not in per_step]].iloc[starts].reset_index(drop=True)
    result["phase"] = ordered["phase"].to_numpy()[starts]
    began = ordered["phase_start_step"].to_numpy()[starts]
    result["phase_start_step"] = began
    of_phases = thresholds_of(result, thresholds)
    found = [
        trajectory_events(trajectory, trial_thresholds)
        for trajectory, trial_thresholds in zip(trajectories(ordered, starts), of_phases, strict=True)
    ]
    for name in _EVENT_COLUMNS:
        result[name] = np.array([getattr(event, name) for event in found], dtype=np.float64)
        if name in _STEPS:
            result[name] += began
    ends = np.append(starts[1:], len(ordered)) - 1
    result["delay"] = result["grok_step"] - result["memorisation_step"]
    ends = ends if len(ordered) else ends[:0]
    result["last_step"] = ordered["step"].to_numpy()[ends].astype(np.float64)
    result["censored"] = result["grok_step"].isna()
    result["tail_complete"] = pd.array([event.tail_complete for event in found], dtype=bool)
    result["final_val_accuracy"] = ordered["val_accuracy"].to_numpy(np.float64)[ends]
    grokked_at = np.array([each.grokked_at for each in of_phases], dtype=np.float64)
    # Written so that an accuracy that is no number counts as lost.
    result["grok_lost"] = ~(result["censored"] | (result["final_val_accuracy"] >= grokked_at))
    if "ended_because" in result.columns:
        exchanged = result["trial_id"].duplicated(keep="last")
        result.loc[exchanged, "ended_because"] = "budget"
    units = dict.fromkeys([*_EVENT_COLUMNS, "delay", "last_step"], "step") | {"decline": "share"}
    units |= {name: "bytes" for name in _EVENT_COLUMNS if name.endswith("_bytes")}
    known = {name: unit for name, unit in df.attrs.get("units", {}).items() if name in result.columns}
    result.attrs["units"] = Texts(known | units)
    return result, found


def with_phases(df: pd.DataFrame) -> pd.DataFrame:
    """Supply what is missing of `phase`, `phase_start_step` and `phase_end_step`, as for one phase from end to end.

    Args:
        df: rows as `load` gives them, or events, with any of these columns; `phase_end_step` is else the budget,
            where that is known.

    Raises:
        AnalysisError: several phases that do not say where they begin.
    """
    if "phase_start_step" not in df.columns and "phase" in df.columns and (df["phase"] > 0).any():
        raise AnalysisError(
            "rows of trials whose training set is exchanged need the column phase_start_step; load it too"
        )
    whole = {"phase": 0, "phase_start_step": 0, "phase_end_step": df.get("budget_steps", np.nan)}
    return df.assign(**{name: value for name, value in whole.items() if name not in df.columns})


def by_phase(df: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.intp]]:
    """Return rows sorted by trial and step, with phase columns, and the index of each phase's start.

    Raises:
        AnalysisError: rows have several phases and do not say where these begin, or a trial has a step twice.
    """
    ordered = with_phases(df).sort_values(["trial_id", "step"], kind="stable", ignore_index=True)
    trial, step = ordered["trial_id"].to_numpy(), ordered["step"].to_numpy()
    twice = np.flatnonzero((trial[1:] == trial[:-1]) & (step[1:] == step[:-1]))
    if len(twice):
        raise AnalysisError(
            f"each trial must have one row for a step, and {trial[twice[0]]} has two for step {step[twice[0]]}; "
            "load several sweeps with analysis.load([one, other]), which counts a trial once"
        )
    return ordered, np.flatnonzero(~ordered[["trial_id", "phase"]].duplicated().to_numpy())


def require_one_phase(df: pd.DataFrame, what: str) -> None:
    """Refuse rows of several phases where a computation would pool them.

    Raises:
        AnalysisError: there are several phases.
    """
    if with_phases(df)["phase"].nunique() > 1:
        raise AnalysisError(
            f"{what} would pool the phases of trials whose training set is exchanged; pass the rows of one phase, "
            "e.g. df[df.phase == 0]"
        )


def trajectories(ordered: pd.DataFrame, starts: Sequence[int] | NDArray[np.intp]) -> list[Trajectory]:
    """Cut rows sorted by trial and step into trajectories; `val_loss` is NaN where it was not loaded.

    Args:
        ordered: rows from `by_phase`.
        starts: index of the first row of each trial, or phase.
    """
    arrays = (
        (ordered["step"] - ordered["phase_start_step"]).to_numpy(dtype=np.int64),
        ordered["train_accuracy"].to_numpy(dtype=np.float64),
        ordered["val_accuracy"].to_numpy(dtype=np.float64),
        ordered["complexity_bytes"].to_numpy(dtype=np.float64, na_value=np.nan),
        (ordered["val_loss"] if "val_loss" in ordered.columns else ordered["step"] * np.nan).to_numpy(np.float64),
    )
    edges = [*(int(start) for start in starts), len(ordered)]
    return [Trajectory(*(array[low:high] for array in arrays)) for low, high in pairwise(edges)]


def grokked_trials(path: Results, *, in_last_phase: bool = False) -> set[str]:
    """Return the ids of the trials in a results folder whose grok step has been seen, ended or not.

    Args:
        path: the results folder, local or `s3://...`, or one that is opened.
        in_last_phase: whether, with drift, a grok counts only in the last phase that the trial has reached.
    """
    from analysis.load import load

    columns = ["train_accuracy", "val_accuracy", "complexity_bytes", "memorised_at", "grokked_at"]
    phases = events(load(path, [*columns, "phase_start_step"], mix_methods=True))
    if in_last_phase:
        phases = phases.sort_values("phase_start_step", kind="stable").groupby("trial_id", observed=True).tail(1)
    return set(phases.loc[~phases["censored"], "trial_id"].astype(str))


def thresholds_of(trials: pd.DataFrame, thresholds: Thresholds | None) -> list[Thresholds]:
    """Return the thresholds of each trial.

    Args:
        trials: one row per trial; `memorised_at` and `grokked_at` are used where they are known.
        thresholds: thresholds for all trials, whatever is recorded; None to use each trial's own.
    """
    if thresholds is not None:
        return [thresholds] * len(trials)
    default = Thresholds()
    columns = [
        trials[name].fillna(getattr(default, name)).to_numpy(dtype=np.float64)
        if name in trials.columns
        else np.full(len(trials), getattr(default, name))
        for name in ("memorised_at", "grokked_at")
    ]
    known: dict[tuple[float, float], Thresholds] = {}
    return [
        known.setdefault((memorised, grokked), Thresholds(memorised_at=memorised, grokked_at=grokked))
        for memorised, grokked in zip(*(column.tolist() for column in columns), strict=True)
    ]
