"""Passes what Tune tells the driver about cohorts to the tally and the display."""

from __future__ import annotations

import contextlib
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayActorError, RayTaskError

from sweep.training.progress import Progress, Tally


class CohortFeed(tune.Callback):  # type: ignore[misc]
    """Counts results and faults, and reports problems.

    Args:
        tally: counts trials.
        progress: the display.
        check: called once a round of Tune's loop; an error that it raises ends the experiment.
    """

    def __init__(self, tally: Tally, progress: Progress, check: Callable[[], None]) -> None:
        self.faults: Counter[str] = Counter()
        """Cohort id -> number of times that its process has died or raised."""
        self.given_up: dict[str, str] = {}
        """Cohort id -> why Tune does not restart it."""
        self.incurable: dict[str, str] = {}
        """Cohort id -> why restarting it would not help."""
        self._tally = tally
        self._progress = progress
        self._check = check
        self._trains: set[str] = set()
        self._warnings: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Save nothing: Tune saves its callbacks for `Tuner.restore`, which is not used."""
        return {}

    def on_trial_start(self, *, trial: Any, **_: Any) -> None:
        """Note that a cohort has a process."""
        self._trains.add(trial.config["cohort"])

    def on_trial_result(self, *, trial: Any, result: dict[str, Any], **_: Any) -> None:
        """Take in a result: a few blocks have been trained."""
        cohort_id = trial.config["cohort"]
        self._tally.result(cohort_id, result)
        if result["note"] is not None:
            self._progress.note(f"Cohort {cohort_id}: {result['note']}.")
        if result["warning"] is not None and result["warning"] not in self._warnings:
            self._warnings.add(result["warning"])  # each process says so of the machine it is on
            self._progress.note(f"Warning: {result['warning']}.")
        if result["failure"] is not None:
            self.incurable[cohort_id] = result["failure"]

    def on_trial_recover(self, *, trial: Any, **_: Any) -> None:
        """Count a fault: a cohort's process is gone, and another one takes over."""
        self._fault(trial.config["cohort"], _error_of(trial))

    def on_trial_error(self, *, trial: Any, **_: Any) -> None:
        """Note that Tune gives a cohort up: after its last fault, but also if Tune hears of one death twice."""
        cohort_id, reason = trial.config["cohort"], _error_of(trial)
        self._fault(cohort_id, reason)
        self.given_up[cohort_id] = reason

    def on_step_end(self, **_: Any) -> None:
        """Update the display, once a round of Tune's loop; stop where the results are no longer this sweep's."""
        self._check()
        self._progress.show(self._tally.snapshot())

    def _fault(self, cohort_id: str, reason: str) -> None:
        """Count one fault once: after it the cohort trains no more until it is restarted."""
        if cohort_id in self._trains or cohort_id not in self.faults:
            self.faults[cohort_id] += 1
            self._tally.stands_still(cohort_id)
            self._progress.note(f"Cohort {cohort_id} has stopped: {reason}.")
        self._trains.discard(cohort_id)


def one_line(error: BaseException) -> str:
    """Summarise an error from Ray in one line: what was raised, not where."""
    if isinstance(error, RayActorError):
        return "its process died: it was killed, crashed or lost its machine"
    cause = error.cause if isinstance(error, RayTaskError) and error.cause is not None else error
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__


def _error_of(trial: Any) -> str:
    """Read the latest error from Tune's folder of the trial, because Tune gives callbacks no exception."""
    with contextlib.suppress(OSError, TypeError):
        return one_line(pickle.loads(Path(trial.pickled_error_file).read_bytes()))
    return "reason unknown"
