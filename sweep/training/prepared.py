"""A sweep from its plan to its summary: what a run on Ray and a run in this process have in common."""

from __future__ import annotations

import dataclasses
import itertools

from sweep.errors import ResultsGone, StorageFault
from sweep.plan.plan import Plan, plan, record, stop_rule_of
from sweep.results.store import Store
from sweep.specification.config import SweepConfig
from sweep.training.announcer import Announcer
from sweep.training.progress import Progress, Tally
from sweep.training.run_summary import RunSummary, ended_of, summary_as_heard, summary_of
from sweep.training.storage import given_up_text, patiently


class PreparedRun:
    """A planned sweep, its results folder, and what is said about both.

    Args:
        config: the specification.
        progress: the display.
        retry_failed: run only trials that have failed before.
        parallel: number of cohorts that train at once; by default what the machine offers.

    Raises:
        SpecificationError: the specification cannot be run.
        StoreError: the results cannot be read.
    """

    def __init__(
        self, config: SweepConfig, progress: Progress, *, retry_failed: bool = False, parallel: int | None = None
    ) -> None:
        self.config = config
        self.progress = progress
        self.store = Store(config.results_path)
        self.plan: Plan = plan(config, self.store, retry_failed=retry_failed, parallel=parallel)
        requested = [trial.trial_id for trial in self.plan.trials]
        before = ended_of(self.plan.outcomes, self.plan.trials, stop_rule_of(config))
        grokked = self.store.grokked() if self.plan.satisfied else set()
        self.tally = Tally(requested, before, grokked, self.plan.cohorts)
        self.announcer = Announcer(self.tally, progress)
        self.failed: dict[str, str] = {}
        """Cohort id -> why it failed for good in this run."""
        self.problem: str | None = None
        """What ended this run early."""
        self._begun = False
        self._storage_lasts = False

    def begin(self) -> None:
        """Record the request and the new cohorts, and wait for the storage if need be.

        Raises:
            StorageFault: they could not be written.
            StoreError: another run has added cohorts meanwhile.
        """
        tries = itertools.count()

        def write() -> None:
            new = self.plan.new
            if next(tries):
                there = {cohort.cohort_id for cohort in self.store.cohorts()}
                new = [cohort for cohort in new if cohort.cohort_id not in there]
            record(dataclasses.replace(self.plan, new=new), self.config, self.store)

        patiently(self.store, write, self.progress.note, begun=False)
        self._begun = True

    def fail(self, cohort_id: str, reason: str) -> None:
        """Record that a cohort has failed for good, and say so.

        Raises:
            StorageFault, ResultsGone: it could not be recorded.
        """
        patiently(self.store, lambda: self.store.mark_failed(cohort_id, reason), self.progress.note)
        self.failed[cohort_id] = reason
        self.tally.failed(cohort_id)
        self.progress.note(f"Cohort {cohort_id} failed: {reason}.")

    def end_early(self, problem: str | StorageFault | ResultsGone) -> None:
        """Note what ends this run although trials are left: the storage fails, or the results folder is gone."""
        text = given_up_text(str(problem), self.store.path) if isinstance(problem, StorageFault) else str(problem)
        self.problem = self.problem or text
        self._storage_lasts = True

    def summary(self, wall_s: float) -> RunSummary:
        """Summarise what there is now; what cohorts have reported, if the results folder cannot be read."""
        try:
            summary = patiently(
                self.store,
                lambda: summary_of(self.config, self.store, self.plan),
                self.progress.note,
                # It has been waited for already.
                bound_s=0 if self._storage_lasts else None,
                begun=self._begun,
            )
        except (StorageFault, ResultsGone) as error:
            self.end_early(error)
            summary = summary_as_heard(self.store, self.plan, self.tally)
        return dataclasses.replace(summary, failed=self.failed, problem=self.problem, wall_s=wall_s)
