"""Passes what Tune tells the driver about cohorts to the tally and the display."""

from __future__ import annotations

import contextlib
import pickle
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayActorError, RayTaskError

from sweep.errors import ResultsGone
from sweep.training.prepared import PreparedRun
from trainables.errors import raised

LOOK_EVERY_S = 1.0
"""Seconds between two looks at whether the results folder is still there."""


class CohortFeed(tune.Callback):  # type: ignore[misc]
    """Counts results and faults, and reports problems.

    Args:
        run: the sweep, its results folder and its display.
        check: called once a round of Tune's loop; an error that it raises ends the experiment.
    """

    def __init__(self, run: PreparedRun, check: Callable[[], None]) -> None:
        self.faults: Counter[str] = Counter()
        """Cohort id -> number of times that its process has died or raised."""
        self.given_up: dict[str, str] = {}
        """Cohort id -> why Tune does not restart it."""
        self.incurable: dict[str, str] = {}
        """Cohort id -> why restarting it would not help."""
        self._run = run
        self._check = check
        self._trains: set[str] = set()
        self._next_look = 0.0

    @property
    def ends_early(self) -> bool:
        """Whether something ends the whole sweep although trials are left."""
        return self._run.announcer.ended_early is not None

    def __getstate__(self) -> dict[str, Any]:
        """Save nothing: Tune saves its callbacks for `Tuner.restore`, which is not used."""
        return {}

    def on_trial_start(self, *, trial: Any, **_: Any) -> None:
        """Note that a cohort has a process."""
        self._trains.add(trial.config["cohort"])

    def on_trial_result(self, *, trial: Any, result: dict[str, Any], **_: Any) -> None:
        """Take in a result: a few blocks have been trained."""
        cohort_id = trial.config["cohort"]
        self._run.announcer.result(cohort_id, result)
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
        """Update the display, once a round of Tune's loop, and look whether the results are there and still ours.

        In a bucket this would cost a request each time; there the cohorts look, before each report.
        """
        self._run.progress.show(self._run.tally.snapshot())
        if self._run.store.is_local and time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_EVERY_S
            try:
                self._run.store.require_there()
            except ResultsGone as error:
                self._run.announcer.ended_early = str(error)
                return
            except OSError:  # the cohorts wait for the storage
                pass
        self._check()

    def _fault(self, cohort_id: str, reason: str) -> None:
        """Count one fault once: after it the cohort trains no more until it is restarted."""
        if cohort_id in self._trains or cohort_id not in self.faults:
            self.faults[cohort_id] += 1
            self._run.announcer.stands_still(cohort_id)
            self._run.progress.note(f"Cohort {cohort_id} has stopped: {reason}.")
        self._trains.discard(cohort_id)


class StopEarly(tune.Stopper):  # type: ignore[misc]
    """Makes Tune end all cohorts once something ends the whole sweep.

    Args:
        feed: hears of it.
    """

    def __init__(self, feed: CohortFeed) -> None:
        self._feed = feed

    def __call__(self, _trial_id: str, _result: dict[str, Any]) -> bool:
        """Stop no cohort alone."""
        return False

    def stop_all(self) -> bool:
        """Return whether the sweep ends."""
        return self._feed.ends_early


def one_line(error: BaseException) -> str:
    """Summarise an error from Ray in one line: what was raised, not where."""
    if isinstance(error, RayActorError):
        trace = str(error).strip().splitlines()
        if trace and "creation task" in trace[0]:  # it raised while it began; the last line is what
            return f"it could not begin: {trace[-1].strip()}"
        return "its process died: it was killed, crashed or lost its machine"
    # Ray wraps what a task raised, and its own text is the whole trace.
    return raised(error.cause if isinstance(error, RayTaskError) and error.cause is not None else error)


def _error_of(trial: Any) -> str:
    """Read the latest error from Tune's folder of the trial, because Tune gives callbacks no exception."""
    with contextlib.suppress(OSError, TypeError):
        return one_line(pickle.loads(Path(trial.pickled_error_file).read_bytes()))
    return "reason unknown"
