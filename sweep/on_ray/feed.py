"""What Tune tells the driver of the cohorts, on its way to the tally and the display."""

from __future__ import annotations

import contextlib
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayActorError, RayTaskError

from sweep.training.progress import Progress, Tally


class CohortFeed(tune.Callback):  # type: ignore[misc]
    """Counts results and faults, and says what goes wrong.

    Args:
        tally: counts trials.
        progress: shows.
    """

    def __init__(self, tally: Tally, progress: Progress) -> None:
        self.faults: Counter[str] = Counter()
        """Cohort id -> how often its process has died or raised."""
        self.given_up: dict[str, str] = {}
        """Cohort id -> why Tune does not start it again."""
        self.incurable: dict[str, str] = {}
        """Cohort id -> why starting it again would not help."""
        self._tally = tally
        self._progress = progress
        self._trains: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune saves its callbacks for a `Tuner.restore`, which is not used."""
        return {}

    def on_trial_start(self, *, trial: Any, **_: Any) -> None:
        """A cohort has a process."""
        self._trains.add(trial.config["cohort"])

    def on_trial_result(self, *, trial: Any, result: dict[str, Any], **_: Any) -> None:
        """A few blocks have been trained."""
        cohort_id = trial.config["cohort"]
        self._tally.result(cohort_id, result)
        if result["note"] is not None:
            self._progress.note(f"Cohort {cohort_id}: {result['note']}.")
        if result["failure"] is not None:
            self.incurable[cohort_id] = result["failure"]

    def on_trial_recover(self, *, trial: Any, **_: Any) -> None:
        """A cohort's process is gone, and another takes over."""
        self._fault(trial.config["cohort"], _error_of(trial))

    def on_trial_error(self, *, trial: Any, **_: Any) -> None:
        """Tune gives a cohort up: after its last fault, but also if one death is told to it twice."""
        cohort_id, reason = trial.config["cohort"], _error_of(trial)
        self._fault(cohort_id, reason)
        self.given_up[cohort_id] = reason

    def on_step_end(self, **_: Any) -> None:
        """Once a round of Tune's loop."""
        self._progress.show(self._tally.snapshot())

    def _fault(self, cohort_id: str, reason: str) -> None:
        """One fault, once: after it the cohort trains no more until it is started again."""
        if cohort_id in self._trains or cohort_id not in self.faults:
            self.faults[cohort_id] += 1
            self._tally.stands_still(cohort_id)
            self._progress.note(f"Cohort {cohort_id} has stopped: {reason}.")
        self._trains.discard(cohort_id)


def one_line(error: BaseException) -> str:
    """An error as Ray hands it over, in one line: what was raised, not where."""
    if isinstance(error, RayActorError):
        return "its process died: it was killed, crashed or lost its machine"
    cause = error.cause if isinstance(error, RayTaskError) and error.cause is not None else error
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__


def _error_of(trial: Any) -> str:
    """Tune hands callbacks no exception; it writes the latest one into its folder of the trial."""
    with contextlib.suppress(OSError, TypeError):
        return one_line(pickle.loads(Path(trial.pickled_error_file).read_bytes()))
    return "reason unknown"
