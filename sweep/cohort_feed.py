"""What Tune tells the driver of the cohorts, on its way to the tally and the display."""

from __future__ import annotations

from typing import Any

from ray import tune
from ray.exceptions import RayActorError, RayTaskError

from sweep.progress import Progress, Tally


class CohortFeed(tune.Callback):  # type: ignore[misc]
    """Counts results, says what goes wrong, and notes which cohorts fail for good.

    Args:
        tally: counts.
        progress: shows.
        failed: cohort id -> why; filled.
    """

    def __init__(self, tally: Tally, progress: Progress, failed: dict[str, str]) -> None:
        self._tally = tally
        self._progress = progress
        self._failed = failed

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune saves its callbacks for a `Tuner.restore`, which is not used."""
        return {}

    def on_trial_result(self, *, trial: Any, result: dict[str, Any], **_: Any) -> None:
        """A few blocks have been trained."""
        self._tally.result(trial.config["cohort"], result)
        if result["failure"] is not None:
            self._fail(trial.config["cohort"], result["failure"])

    def on_trial_recover(self, *, trial: Any, **_: Any) -> None:
        """A cohort's process is gone, and another takes over."""
        cohort_id = trial.config["cohort"]
        self._tally.stands_still(cohort_id)
        self._progress.note(f"Cohort {cohort_id} starts again from its last checkpoint: {_error_of(trial)}.")

    def on_trial_error(self, *, trial: Any, **_: Any) -> None:
        """A cohort has failed as often as it may."""
        self._fail(trial.config["cohort"], _error_of(trial))

    def on_step_end(self, **_: Any) -> None:
        """Once a round of Tune's loop."""
        self._progress.show(self._tally.snapshot())

    def _fail(self, cohort_id: str, reason: str) -> None:
        self._failed[cohort_id] = reason
        self._tally.failed(cohort_id)
        self._progress.note(f"Cohort {cohort_id} failed: {reason}")


def one_line(error: BaseException) -> str:
    """An error as Ray hands it over, in one line: what was raised, not where."""
    if isinstance(error, RayActorError):
        return "its process died: it was killed, crashed or lost its machine"
    cause = error.cause if isinstance(error, RayTaskError) and error.cause is not None else error
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__


def _error_of(trial: Any) -> str:
    error = trial.get_pickled_error() or trial.get_error()
    return one_line(error) if isinstance(error, BaseException) else str(error or "reason unknown")
