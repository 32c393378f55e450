"""Trials that were followed to their end: what a stopping rule is replayed on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError, ResultsNotFound
from analysis.events import Thresholds, events, thresholds_of, trajectories
from analysis.load import load
from analysis.stopping.ledger import UNKNOWN, Settings, counted_once
from analysis.stopping.stall import StallParameters, stalls
from analysis.trajectory import Trajectory

if TYPE_CHECKING:
    import pandas as pd

NEAR_ACCURACY = 0.9
"""A failure is hard in the counts of a replay if its validation accuracy never reached this."""

SIGNALS = ("logit_scale", "l2_norm", "effective_rank", "spectral_entropy", "train_loss")
"""Columns of `rows` that are kept beside the trajectory, to be judged as predictors."""

_COLUMNS = [
    *("train_accuracy", "val_accuracy", "complexity_bytes", "val_loss", "phase_start_step", "budget_steps"),
    *("ended_because", "memorised_at", "grokked_at", *SIGNALS),
]


@dataclass(frozen=True, eq=False)
class Recording:
    """One trial from its first step to a confirmed grok and its tail, or to the end of its budget."""

    trial_id: str
    sweep: str
    """Path of the results folder."""
    cell: tuple[object, ...]
    """The trial's settings but the seed; trials of one cell are seeds of one setting."""
    seed: int
    budget_steps: int
    trajectory: Trajectory
    thresholds: Thresholds
    memorisation_step: float
    """NaN if it never memorised."""
    grok_step: float
    """NaN if it never grokked."""
    settings: dict[str, float] = field(default_factory=dict)
    """Numeric settings that vary within its sweep, as predictors."""
    signals: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """The columns of `SIGNALS`, shape [n] each."""
    weighed: Settings = UNKNOWN
    """The settings by which calibrations are weighed."""
    _stalled: dict[StallParameters, NDArray[np.bool_]] = field(default_factory=dict, init=False)

    @property
    def grokked(self) -> bool:
        """Whether it grokked."""
        return not np.isnan(self.grok_step)

    @property
    def steps(self) -> int:
        """Its cost: the steps to the end of its tail, or of its budget."""
        return int(self.trajectory.step[-1])

    @cached_property
    def best_val_accuracy(self) -> float:
        """Best validation accuracy, a share."""
        return float(np.nan_to_num(self.trajectory.val_accuracy).max(initial=0.0))

    @property
    def is_hard_failure(self) -> bool:
        """Whether it failed without ever coming near."""
        return not self.grokked and self.best_val_accuracy < NEAR_ACCURACY

    @property
    def is_near_miss(self) -> bool:
        """Whether it touched the grok threshold and yet did not stay there long enough."""
        return not self.grokked and self.best_val_accuracy >= self.thresholds.grokked_at

    def stalled(self, parameters: StallParameters) -> NDArray[np.bool_]:
        """Return at which evaluations it was stalled, shape [n]; computed once for the same parameters."""
        if parameters not in self._stalled:
            self._stalled[parameters] = stalls(self.trajectory, parameters, self.thresholds)
        return self._stalled[parameters]

    @cached_property
    def confirmed_at(self) -> int | None:
        """Index of the evaluation at which the grok was certain; None without a grok."""
        if not self.grokked:
            return None
        first = int(np.searchsorted(self.trajectory.step, self.grok_step))
        return min(first + self.thresholds.sustained, len(self.trajectory)) - 1


@dataclass(frozen=True)
class Recordings:
    """Recorded trials of several sweeps, and what was left out."""

    trials: list[Recording]
    left_out: dict[str, int]
    """Reason -> number of trials that cannot be replayed."""

    def by_sweep(self) -> dict[str, list[Recording]]:
        """Return sweep -> its trials, in the order of loading."""
        sweeps: dict[str, list[Recording]] = defaultdict(list)
        for trial in self.trials:
            sweeps[trial.sweep].append(trial)
        return dict(sweeps)


def recordings(paths: Sequence[str | Path]) -> Recordings:
    """Load the trials that can be replayed: those that grokked and have their tail, or used up their budget.

    Trials that were stopped, failed, diverged or have not ended are left out and counted: whether they would have
    grokked is not known. So are trials whose training set was exchanged. A trial that several sweeps hold counts in
    the largest of them.

    Args:
        paths: results folders; a local folder that holds several stands for all of them.

    Raises:
        ResultsNotFound: a path holds no results.
        AnalysisError: no trial can be replayed.
    """
    each = [recordings_of(folder) for path in paths for folder in results_below(path)]
    left_out = sum((Counter(one.left_out) for one in each), Counter[str]())
    trials = [trial for own in counted_once([one.trials for one in each]) for trial in own]
    if again := sum(len(one.trials) for one in each) - len(trials):
        left_out["are in a larger sweep, too"] = again
    if not trials:
        raise AnalysisError(
            f"a replay needs trials that were followed to their end, and {', '.join(map(str, paths))} has none "
            f"({_counts(left_out) or 'no trial has rows'}); record a sweep with stop: none"
        )
    return Recordings(trials, dict(left_out))


def results_below(path: str | Path) -> list[str]:
    """Return the results folders at or below a path, sorted.

    Raises:
        ResultsNotFound: there are none.
    """
    if "://" in str(path):
        return [str(path)]
    local = Path(path).expanduser()
    below = sorted({str(mark.parent) for mark in local.rglob("cohorts") if mark.is_dir()})
    if not below:
        raise ResultsNotFound(f"no results of a sweep at or below {path}")
    return below


def recordings_of(path: str) -> Recordings:
    """Load the trials of one results folder that can be replayed, which may be none.

    Args:
        path: a results folder.

    Raises:
        ResultsNotFound: it holds no results.
    """
    from analysis.schema import SETTINGS

    left_out: Counter[str] = Counter()
    settings = [column.name for column in SETTINGS if column.name not in ("seed", "task_data")]
    frame = load(path, [*_COLUMNS, "seed", *settings], mix_methods=True)
    exchanged = frame["trial_id"].isin(frame.loc[frame["phase"] > 0, "trial_id"].unique())
    left_out["exchanged their training set"] += frame.loc[exchanged, "trial_id"].nunique()
    frame = frame[~exchanged].reset_index(drop=True)
    trials = events(frame)
    starts = np.flatnonzero(~frame["trial_id"].duplicated().to_numpy())
    ends = np.append(starts[1:], len(frame))
    frame_signals = {name: frame[name].to_numpy(np.float64, na_value=np.nan) for name in SIGNALS}
    varying = [name for name in settings if _is_number(trials[name]) and trials[name].nunique() > 1]
    result = []
    for place, (row, trajectory, thresholds) in enumerate(
        zip(
            trials.to_dict("records"),
            trajectories(frame, starts),
            thresholds_of(trials, None),
            strict=True,
        )
    ):
        reason = _unknown_fate(row)
        if reason is not None:
            left_out[reason] += 1
            continue
        part = slice(starts[place], ends[place])
        result.append(
            Recording(
                trial_id=str(row["trial_id"]),
                sweep=path,
                cell=tuple(str(row[name]) for name in settings),
                seed=int(row["seed"]),
                budget_steps=int(row["budget_steps"]),
                trajectory=trajectory,
                thresholds=thresholds,
                memorisation_step=float(row["memorisation_step"]),
                grok_step=float(row["grok_step"]),
                settings={name: float(row[name]) for name in varying},
                signals={name: values[part] for name, values in frame_signals.items()},
                weighed=Settings(*(float(row[name]) for name in Settings._fields)),
            )
        )
    return Recordings(result, dict(+left_out))


def _unknown_fate(row: dict[Any, Any]) -> str | None:
    """Return why it is not known whether a trial would have grokked, or None if it is."""
    because = row["ended_because"]
    if because in ("grokked", "budget"):
        return None
    return {"stopped": "were stopped", "diverged": "diverged", "failed": "failed"}.get(
        str(because), "have not ended"
    )


def _is_number(column: pd.Series[Any]) -> bool:
    return column.dtype.kind in "if"


def _counts(left_out: Counter[str]) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in left_out.items())
