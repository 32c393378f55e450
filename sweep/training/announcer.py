"""What the results of cohorts mean for the count and the display of a sweep, through Ray and without it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from sweep.training.brake import Brake
from sweep.training.progress import Progress, Tally
from sweep.training.storage import RESUMED, pause_text


class Announcer:
    """Passes results of cohorts to the tally, and to the display what people should know, once.

    Args:
        tally: counts trials.
        progress: the display.
    """

    def __init__(self, tally: Tally, progress: Progress) -> None:
        self.ended_early: str | None = None
        """What ends the whole sweep, although trials are left: its results folder is gone, or cannot be written."""
        self._tally = tally
        self._progress = progress
        self._warnings: set[str] = set()
        self._waiting: set[str] = set()
        self.brake: Brake | None = None
        """Judges the parking rule, if there is one."""

    def result(self, cohort_id: str, result: Mapping[str, Any]) -> None:
        """Take in a result of `CohortTraining.step`."""
        self._tally.result(cohort_id, result)
        if self.brake is not None:
            # A suspension that cannot be written now is written with a later result.
            with contextlib.suppress(OSError):
                if (suspended := self.brake.result(result)) is not None:
                    self._progress.note(f"{suspended}.")
        if result["note"] is not None:
            self._progress.note(f"Cohort {cohort_id}: {result['note']}.")
        if result["warning"] is not None and result["warning"] not in self._warnings:
            self._warnings.add(result["warning"])  # each process says so of the machine it is on
            self._progress.note(f"Warning: {result['warning']}.")
        if result["ended_early"] is not None:
            self.ended_early = self.ended_early or result["ended_early"]
        elif result["waits_for"] is not None:
            if not self._waiting:
                self._progress.note(pause_text(result["waits_for"]))
            self._waiting.add(cohort_id)
        elif cohort_id in self._waiting:
            self._waiting.discard(cohort_id)
            if not self._waiting:
                self._progress.note(RESUMED)

    def stands_still(self, cohort_id: str) -> None:
        """Note that a cohort's process is gone; another one may take over."""
        self._waiting.discard(cohort_id)
        self._tally.stands_still(cohort_id)
