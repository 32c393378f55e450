"""A sweep from its plan to its summary: what a run on Ray and a run in this process have in common."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterator

from analysis.stopping.alarm import Alarm
from analysis.stopping.decline import is_audited
from analysis.words import counted
from sweep.errors import ResultsGone, StorageFault
from sweep.plan.plan import Plan, plan, record, stop_rule_of
from sweep.results.cohort import Cohort
from sweep.results.evidence import EvidenceBook
from sweep.results.store import Store
from sweep.specification.config import SweepConfig
from sweep.training.announcer import Announcer
from sweep.training.brake import Brake
from sweep.training.certifying import next_cohorts
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
        if config.stop == "park":
            self.announcer.brake = self._brake(grokked)
        self.failed: dict[str, str] = {}
        """Cohort id -> why it failed for good in this run."""
        self.problem: str | None = None
        """What ended this run early."""
        self._begun = False
        self._storage_lasts = False

    def _brake(self, grokked: Collection[str]) -> Brake:
        """Return the brake on the parking rule, which knows the audited trials that ended under this very rule."""
        rule = stop_rule_of(self.config)
        before = {name: self.plan.outcomes[name] for name in self.plan.satisfied}
        judged = {name for name, one in before.items() if one.stop_rule == rule and one.ended_because != "stopped"}
        audited = [
            trial.trial_id
            for trial in self.plan.trials
            if is_audited(trial.trial_id, self.config.audit_share)
            and (trial.trial_id in judged or trial.trial_id not in before)
        ]
        brake = Brake(rule, audited, Alarm(alpha=self.config.parking.level), EvidenceBook(self.store.path))
        for trial_id in judged.intersection(audited):
            brake.know(trial_id, grokked=trial_id in grokked, marked=before[trial_id].marked_at_step is not None)
        return brake

    def begin(self) -> None:
        """Record the request and the new cohorts, and wait for the storage if need be.

        Raises:
            StorageFault: they could not be written.
            StoreError: another run has added cohorts meanwhile.
        """
        if self._begun:
            return
        tries = itertools.count()

        def write() -> None:
            new = self.plan.new
            # The last try may have written some cohorts before it failed, and ids are written once only.
            if next(tries):
                there = {cohort.cohort_id for cohort in self.store.cohorts()}
                new = [cohort for cohort in new if cohort.cohort_id not in there]
            record(dataclasses.replace(self.plan, new=new), self.config, self.store)

        patiently(self.store, write, self.progress.note, begun=False)
        self._begun = True

    def cohorts(self) -> Iterator[Cohort]:
        """Yield the cohorts to train: those of the plan, and then those that follow stopped trials."""
        yield from self.plan.cohorts
        while drawn := self.draw():
            yield from drawn

    def draw(self) -> list[Cohort]:
        """Record the cohorts that follow stopped trials, and return them; none if nothing is to be certified yet.

        Raises:
            StorageFault, ResultsGone: the results could not be read or written.
        """
        if self.config.certify is None or self.failed or self.problem or self.tally.missing:
            return []

        def record_cohorts() -> list[Cohort]:
            cohorts = next_cohorts(self.config, self.store, self.plan.trials, self.plan.sharing)
            self.store.add_cohorts(cohorts)
            return cohorts

        cohorts = patiently(self.store, record_cohorts, self.progress.note)
        drawn = {trial_id for cohort in cohorts for trial_id in cohort.trial_ids}
        satisfied = [trial_id for trial_id in self.plan.satisfied if trial_id not in drawn]
        self.plan = dataclasses.replace(self.plan, new=[*self.plan.new, *cohorts], satisfied=satisfied)
        self.tally.add(cohorts)
        if cohorts:
            count = counted(sum(len(cohort.trials) for cohort in cohorts), "stopped trial")
            self.progress.note(
                f"To certify what the rule has lost, {count} drawn by lot are followed to their end."
            )
        return cohorts

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
