"""Training cohorts in this process: queues of trials of one shape, several trials at a time, and their results.

Results and checkpoints go to the results folder, under the cohort's id. So whichever process gets the cohort next,
after a fault or in a later run, can resume it from there. This module does not use Ray.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from analysis.errors import AnalysisError
from sweep.errors import ResultsGone, StorageFault, SweepError
from sweep.results.attempts import Attempt
from sweep.results.cohort import Cohort
from sweep.results.evidence import EvidenceBook
from sweep.results.rows import RunContext, is_kept
from sweep.results.store import Store
from sweep.training.parking import CellParking
from sweep.training.storage import Patience, compact, given_up_text, storage_faults
from sweep.training.watch import TrialWatch, decline_seen, thresholds_of
from trainables.errors import CheckpointError, CheckpointTooNew, ConfigError, TrainablesError
from trainables.lanes import LaneRun
from trainables.lanes.company import advice
from trainables.measurement import Measurement
from trainables.numerics.computing import THREADS
from trainables.numerics.environment import ACROSS_MACHINES, Reproducible
from trainables.numerics.reference import require_across_machines
from trainables.out_of_memory import fewer_lanes, give_memory_back, is_out_of_memory

STEP_BLOCKS = 2
"""Blocks trained between two checks of the clock and of whether a report is due."""

RESULT_EVERY_S = 1.0
"""The least number of seconds between two results for the driver, which feeds the progress display: each result
costs the driver 3 ms, and tiny trials would send dozens a second."""

REPORT_BLOCKS = 64
"""Blocks trained between two reports, which is the most that a fault costs. They are counted from the start of the
attempt, not timed, so that a process thought dead and its successor report at the same places. A multiple of
`STEP_BLOCKS`."""

T = TypeVar("T")

NOT_CURED_BY_A_RETRY = (TrainablesError, SweepError, AnalysisError)


class CohortTraining:
    """Trains one cohort after the other, and writes their results.

    If memory runs out, a cohort resumes from its last report with half the lanes. That is a new attempt: what the
    old one has trained since then is trained again, and counts once.

    Args:
        results: the results folder; a local path is absolute.
        report_blocks: blocks trained between two reports, a multiple of `STEP_BLOCKS`.
        result_every_s: seconds between two results, at least; 0 for one each `STEP_BLOCKS` blocks.
        prepare: called with each cohort before it begins or resumes.
        patience_s: seconds for which a failing storage is waited for; by default `storage.PATIENCE_S`.
        asked: the promise asked for now. A cohort that promises more resumes even where this process cannot keep
            that, and its trials say what held.
    """

    def __init__(
        self,
        results: str,
        *,
        report_blocks: int,
        result_every_s: float,
        prepare: Callable[[Cohort], object] | None = None,
        patience_s: float | None = None,
        asked: Reproducible = ACROSS_MACHINES,
    ) -> None:
        torch.set_num_threads(THREADS)
        self._report_blocks = report_blocks
        self._result_every_s = result_every_s
        self._prepare = prepare
        self._patience_s = patience_s
        self._store = Store(results, makes_root=False)
        self._evidence = EvidenceBook(self._store.path)
        self._asked = asked

    def take_up(self, cohort_id: str) -> None:
        """Begin a cohort, or resume it from its last report; `step` reports failures that no retry can cure."""
        self._failure: str | None = None
        self._ended_early: str | None = None
        self._notes: list[str] = []
        self._warning: str | None = None
        self._ended: dict[str, tuple[str, int]] = {}
        self._patience = Patience(self._patience_s)
        self._whole = False
        self._to_store: Callable[[], None] | None = functools.partial(self._begin, cohort_id)
        self._guarded(self._catch_up)

    def step(self) -> dict[str, Any]:
        """Train some blocks, and write a report if one is due.

        While the storage fails nothing is trained: each call waits for a while and tries once more.

        Returns:
            ended: trial id -> (ending, step), for the trials that ended since the last result.
            grokked: ids of the trials that have grokked so far in this attempt, whether or not they have ended.
            marked: ids of audited trials that the parking rule would have given up so far -> the step.
            confirmed: ids of trials that have grokked so far for the parking rule, with drift in their last phase.
            running: trials that have begun and not ended.
            trained_steps: optimiser updates since the last result, summed over trials.
            remaining_steps: budgets of the cohort's unfinished trials, minus the steps already done; None if not
                known.
            note: one sentence about this cohort for people, or None.
            warning: one or two sentences about this machine for people, the same at every step, or None.
            waits_for: what is wrong with the storage that it waits for, or None.
            failure: one sentence about a failure that no retry can cure, or None.
            ended_early: one sentence about the storage that ends the whole sweep, or None.
            done: whether the cohort has ended or failed.
        """
        if self._failure is None and self._ended_early is None:
            self._patience.wait()
            result = self._guarded(self._train)
            if result is not None:
                return result
        over = self._failure is not None or self._ended_early is not None
        waits_for = None if over else self._patience.cause
        run: LaneRun | None = None if over else self.__dict__.get("_run")
        return {
            # What is not stored yet has not ended.
            "ended": {} if waits_for or self._ended_early else self._pop_ended(),
            "grokked": [],
            **self._audits(),
            "running": 0 if run is None else run.counts.running,
            "trained_steps": 0,
            "remaining_steps": 0 if over else None if run is None else run.remaining_steps,
            "note": self._pop_note(),
            "warning": self._warning,
            "waits_for": waits_for,
            "failure": self._failure,
            "ended_early": self._ended_early,
            "done": over,
        }

    def close(self) -> None:
        """Write what is not reported yet, so that nothing is trained twice; for a clean stop, by Ctrl-C say.

        It is not called if the process dies or seems dead, but is called after an error. If the error came in the
        middle of training, measurements are lost that the lanes count as taken: nothing may resume from that state.
        If the storage fails, what is not reported is trained again by the next run, with the same rows.
        """
        if self._failure is None and self._ended_early is None and self._whole:
            with contextlib.suppress(StorageFault, ResultsGone):
                self._catch_up()
                if self._unreported_blocks and not self._run.finished:
                    self._write_report()

    def _certify(self) -> None:
        try:
            require_across_machines()
        except ConfigError:
            if self._asked == ACROSS_MACHINES:
                raise

    def _guarded(self, work: Callable[[], T]) -> T | None:
        """Do some work and return its result; None if it was cut short by what can be waited for or reported.

        A storage that fails is waited for. If memory runs out, the cohort begins again with half the lanes. What
        no retry can cure is kept for the next result, and any other error is raised.
        """
        try:
            return work()
        except ResultsGone as error:
            self._ended_early = str(error)
        except StorageFault as fault:
            if not self._patience.failed(fault):
                self._ended_early = given_up_text(str(fault), self._store.path)
        except NOT_CURED_BY_A_RETRY as error:
            self._failure = f"{type(error).__name__}: {error}"
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._to_store = functools.partial(self._begin_with_fewer, self._lanes)
        if self._failure is None and self._ended_early is None and self._patience.cause is None:
            # Memory ran out; the traceback that held it has been released.
            self._guarded(self._catch_up)
        return None

    def _catch_up(self) -> None:
        """Do what could not be stored or read so far, before any training."""
        if self._to_store is not None:
            self._to_store()
            self._to_store = None
        self._patience.works()

    def _begin(self, cohort_id: str) -> None:
        """Begin a cohort, or resume it from its last report."""
        with storage_faults(self._store):
            cohort = self._store.cohort(cohort_id)
        if cohort.reproducible == ACROSS_MACHINES:
            self._certify()  # before the user's modules, which may compute
        if self._prepare is not None:
            self._prepare(cohort)
        self._take_up(cohort)

    def _begin_with_fewer(self, lanes: int) -> None:
        """Resume the cohort from its last report with half the lanes."""
        self._take_up(self._cohort, fewer_lanes(lanes))
        self._notes.append(f"memory ran out with {lanes} lanes; it resumes from its last report with {self._lanes}")

    def _take_up(self, cohort: Cohort, lanes: int | None = None) -> None:
        """Begin a cohort, or resume it from its last report; `lanes` defaults to the recorded or planned number."""
        self.__dict__.pop("_run", None)  # free its memory first
        give_memory_back()
        self._whole = False
        self._cohort = cohort
        self._lanes = lanes or cohort.lanes
        self._unreported_blocks = 0
        self._unreported: list[Measurement] = []
        # Decisions about trials that continue here, of the cohorts that parked them.
        self._carried: list[dict[str, Any]] = []
        thresholds = thresholds_of(cohort.measuring, cohort.trials[0].task)
        self._parking = (
            None if cohort.parking is None else CellParking(cohort.parking, cohort.audit_share, thresholds)
        )
        self._trial_watch = TrialWatch(
            cohort.decline, cohort.audit_share, thresholds, self._parking, cohort.certifies
        )
        if self._parking is not None:
            with storage_faults(self._store):
                self._shares_cells_with = self._evidence.shared_with(cohort.cohort_id)
            self._hear()
        how: dict[str, Any] = {
            "measuring": cohort.measuring,
            "declined": decline_seen(thresholds),
            "watch": self._trial_watch,
            "parking": self._parking,
            "device": cohort.device,
        }
        self._run = self._resumed(cohort, lanes, how)
        self._lanes = self._run.lanes
        self._counted = self._run.ages
        self._warning = advice(self._run.dependent_computations, torch.device(cohort.device))
        self._whole = True

    def _resumed(self, cohort: Cohort, lanes: int | None, how: dict[str, Any]) -> LaneRun:
        """Begin an attempt from the newest checkpoint that is sound, or from the beginning if none is.

        Others are set aside. Each of them has used up an attempt without reports, which hides no row.
        """
        damaged: list[str] = []
        while True:
            with storage_faults(self._store):
                self._attempt = attempt = self._store.claim_attempt(cohort.cohort_id)
            self._report = attempt.next_report
            try:
                run = self._run_of(attempt, cohort, lanes, how)
                break
            except CheckpointTooNew:
                raise  # it is sound: starting again would throw its work away
            except CheckpointError as error:
                if attempt.checkpoint_name is None:
                    raise
                with storage_faults(self._store):
                    aside = self._store.set_aside(attempt.checkpoint_name)
                why = str(error).partition(";")[0]
                damaged.append(f"its checkpoint after report {attempt.next_report - 1} was moved to {aside}: {why}")
        if damaged:
            where = f"after report {self._report - 1}" if self._report else "at step 0"
            self._notes.append(f"{'; '.join(damaged)}; it continues {where}")
        return run

    def _audits(self) -> dict[str, Any]:
        """Return what the brake on the parking rule must hear."""
        parking: CellParking | None = self.__dict__.get("_parking")
        return {"marked": {}, "confirmed": []} if parking is None else parking.audits

    def _write_evidence(self) -> None:
        """Write what this cohort knows of its cells: also that a trial has grokked that was stopped before."""
        if self._parking is not None:
            self._evidence.write(self._cohort.cohort_id, self._parking.fates)
        elif self._cohort.certifies:
            self._evidence.write_grokked(self._cohort, self._trial_watch.grokked)

    def _hear(self) -> None:
        """Read what is known of this cohort's cells from other cohorts."""
        if self._parking is not None:
            # What cannot be read now is read with the next report; until then less is known.
            with contextlib.suppress(StorageFault), storage_faults(self._store):
                # Trials that continue here had failed in the cohort that gave them up.
                elsewhere = self._evidence.read(self._shares_cells_with, without=set(self._cohort.trial_ids))
                self._parking.hear(elsewhere, suspended=self._evidence.is_suspended(self._cohort.stop_rule))

    def _run_of(self, attempt: Attempt, cohort: Cohort, lanes: int | None, how: dict[str, Any]) -> LaneRun:
        if attempt.checkpoint is None:
            run = LaneRun(cohort.trials, lanes=self._lanes, **how)
            self._adopt(cohort, run)
            return run
        return LaneRun.restore(attempt.checkpoint, cohort.trials, lanes=lanes, **how)

    def _adopt(self, cohort: Cohort, run: LaneRun) -> None:
        """Continue trials where other cohorts have parked them, as far as their checkpoints can be read."""
        if not cohort.adopts:
            return
        with storage_faults(self._store):
            saved = {name: self._store.newest_checkpoint(name) for name in dict.fromkeys(cohort.adopts.values())}
        parked = [saved[cohort.adopts[trial]] or b"" for trial in cohort.trial_ids if trial in cohort.adopts]
        before, anew = run.adopt(parked)
        self._unreported += before
        self._carried = self._store.decisions([trial for trial in cohort.adopts if trial not in anew])
        if anew:
            told = f"{len(anew)} of {len(parked)} trials that had been parked begin anew"
            why = "; ".join(dict.fromkeys(anew.values()))
            self._notes.append(f"{told}, since their state cannot be used: {why}")

    def _train(self) -> dict[str, Any]:
        self._catch_up()
        began = time.monotonic()
        while not self._run.finished:
            self._advance()
            if time.monotonic() - began >= self._result_every_s:
                break
        if self._run.finished:
            self._to_store = functools.partial(compact, self._store, self._cohort)
            self._catch_up()

        before, ages, ended = self._counted, self._run.ages, self._pop_ended()
        self._counted = ages
        reached = {**ages, **{trial_id: step for trial_id, (_, step) in ended.items()}}
        return {
            "ended": ended,
            "grokked": sorted(self._trial_watch.grokked),
            **self._audits(),
            "running": self._run.counts.running,
            "trained_steps": sum(step - before.get(trial_id, 0) for trial_id, step in reached.items()),
            "remaining_steps": self._run.remaining_steps,
            "note": self._pop_note(),
            "warning": self._warning,
            "waits_for": None,
            "failure": None,
            "ended_early": None,
            "done": self._run.finished,
        }

    def _advance(self) -> None:
        """Train a few blocks, and write a report if one is due."""
        self._lanes = self._run.lanes
        self._whole = False
        measurements = self._run.advance(STEP_BLOCKS)
        self._whole = True
        self._ended |= {m.trial_id: (m.end.ending.because, m.step) for m in measurements if m.end is not None}
        self._unreported_blocks += STEP_BLOCKS
        # Networks come with every measured step; drop those that are not kept instead of holding them until the
        # report.
        keep = self._cohort.keep_networks
        self._unreported += [m if is_kept(keep, m) else dataclasses.replace(m, network=None) for m in measurements]
        if self._run.finished or self._unreported_blocks >= self._report_blocks:
            self._write_report()

    def _pop_ended(self) -> dict[str, tuple[str, int]]:
        ended, self._ended = self._ended, {}
        return ended

    def _pop_note(self) -> str | None:
        """Return the notes in one line, once."""
        notes, self._notes = self._notes, []
        return "; ".join(notes) or None

    def _write_report(self) -> None:
        """Write a report of what has been trained since the last one, and the state after it."""
        if self._unreported or not self._run.finished:
            # The marks can be taken only once, so a report that could not be written is kept.
            marks = {
                m.trial_id: step
                for m in self._unreported
                if m.end is not None and (step := self._trial_watch.marked_at_step(m.trial_id)) is not None
            }
            context = RunContext(
                cohort=self._cohort,
                device=self._cohort.device,
                threads=self._run.threads,
                reproducible={m.trial_id: self._run.verdict(m.trial_id) for m in self._unreported},
                marked_at_step=marks,
                decisions=[*self._carried, *(() if self._parking is None else self._parking.pop_decisions())],
            )
            self._to_store = functools.partial(self._store_report, context, self._run.save())
            self._catch_up()

    def _store_report(self, context: RunContext, checkpoint: bytes) -> None:
        """Write the tables first, then the checkpoint, so that a checkpoint never refers to missing rows."""
        place = self._cohort.cohort_id, self._attempt.number, self._report
        with storage_faults(self._store):
            self._store.add_report(*place, self._unreported, context)
            self._write_evidence()
            self._store.write_checkpoint(*place, checkpoint)
        self._report += 1
        self._unreported_blocks = 0
        self._unreported, self._carried = [], []
        self._hear()
