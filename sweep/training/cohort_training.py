"""Training cohorts in this process: queues of trials of one shape, several trials at a time, and their results.

Results and checkpoints go to the results folder, under the cohort's id. So whichever process gets the cohort next,
after a fault or in a later run, can resume it from there. This module does not use Ray.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import torch

from analysis.errors import AnalysisError
from sweep.errors import SweepError
from sweep.results.cohort import Cohort
from sweep.results.rows import RunContext, is_kept
from sweep.results.store import Store
from sweep.training.watch import TrialWatch, decline_seen, thresholds_of
from trainables.errors import ConfigError, TrainablesError
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
        asked: Reproducible = ACROSS_MACHINES,
    ) -> None:
        torch.set_num_threads(THREADS)
        self._report_blocks = report_blocks
        self._result_every_s = result_every_s
        self._prepare = prepare
        self._asked = asked
        self._store = Store(results)

    def take_up(self, cohort_id: str) -> None:
        """Begin a cohort, or resume it from its last report; `step` reports failures that no retry can cure."""
        self._failure: str | None = None
        self._note: str | None = None
        self._warning: str | None = None
        self._ended: dict[str, tuple[str, int]] = {}
        try:
            cohort = self._store.cohort(cohort_id)
            if cohort.reproducible == ACROSS_MACHINES:
                self._certify()  # before the user's modules, which may compute
            if self._prepare is not None:
                self._prepare(cohort)
            self._take_up(cohort)
            return
        except Exception as error:
            self._judge(error)
        self._go_on_with_fewer_lanes()

    def step(self) -> dict[str, Any]:
        """Train some blocks, and write a report if one is due.

        Returns:
            ended: trial id -> (ending, step), for the trials that ended since the last result.
            grokked: ids of the trials that have grokked so far in this attempt, whether or not they have ended.
            running: trials that have begun and not ended.
            trained_steps: optimiser updates since the last result, summed over trials.
            remaining_steps: budgets of the cohort's unfinished trials, minus the steps already done.
            note: one sentence about this cohort for people, or None.
            warning: one or two sentences about this machine for people, the same at every step, or None.
            failure: one sentence about a failure that no retry can cure, or None.
            done: whether the cohort has ended or failed.
        """
        if self._failure is None:
            try:
                return self._train()
            except Exception as error:
                self._judge(error)
            self._go_on_with_fewer_lanes()
        ages = {} if self._failure else self._run.ages
        return {
            "ended": self._pop_ended(),
            "grokked": [],
            "running": len(ages),
            "trained_steps": 0,
            "remaining_steps": self._remaining_steps(ages) if ages else 0,
            "note": self._pop_note(),
            "warning": self._warning,
            "failure": self._failure,
            "done": self._failure is not None,
        }

    def close(self) -> None:
        """Write what is not reported yet, so that nothing is trained twice; for a clean stop, by Ctrl-C say.

        It is not called if the process dies or seems dead, but is called after an error. If the error came in the
        middle of training, measurements are lost that the lanes count as taken: nothing may resume from that state.
        """
        if self._failure is None and self._whole and self._unreported_blocks and not self._run.finished:
            self._write_report()

    def _certify(self) -> None:
        try:
            require_across_machines()
        except ConfigError:
            if self._asked == ACROSS_MACHINES:
                raise

    def _judge(self, error: Exception) -> None:
        """Keep a failure that no retry can cure, pass if memory ran out, and raise any other error."""
        if isinstance(error, NOT_CURED_BY_A_RETRY):
            self._failure = f"{type(error).__name__}: {error}"
        elif not is_out_of_memory(error):
            raise error

    def _go_on_with_fewer_lanes(self) -> None:
        """Resume with half the lanes, or fail for good; call it once the error's traceback has been released."""
        while self._failure is None:
            lanes = self._lanes
            try:
                self._take_up(self._cohort, fewer_lanes(lanes))
                self._note = (
                    f"memory ran out with {lanes} lanes; it resumes from its last report with {self._lanes}"
                )
                return
            except Exception as error:
                self._judge(error)

    def _take_up(self, cohort: Cohort, lanes: int | None = None) -> None:
        """Begin a cohort, or resume it from its last report; `lanes` defaults to the recorded or planned number."""
        self.__dict__.pop("_run", None)  # free its memory first
        give_memory_back()
        self._cohort = cohort
        self._lanes = lanes or cohort.lanes
        self._attempt = self._store.claim_attempt(cohort.cohort_id)
        self._report = self._attempt.next_report
        self._unreported_blocks = 0
        self._unreported: list[Measurement] = []
        self._whole = True
        thresholds = thresholds_of(cohort.measuring, cohort.trials[0].task)
        self._trial_watch = TrialWatch(cohort.decline, cohort.audit_share, thresholds)
        how: dict[str, Any] = {
            "measuring": cohort.measuring,
            "declined": decline_seen(thresholds),
            "watch": self._trial_watch,
            "device": cohort.device,
        }
        if self._attempt.checkpoint is None:
            self._run = LaneRun(cohort.trials, lanes=self._lanes, **how)
        else:
            self._run = LaneRun.restore(self._attempt.checkpoint, cohort.trials, lanes=lanes, **how)
        self._lanes = self._run.lanes
        self._warning = advice(self._run.dependent_computations, torch.device(cohort.device))

    def _train(self) -> dict[str, Any]:
        began = time.monotonic()
        ages_before = self._run.ages
        self._advance()
        while not self._run.finished and time.monotonic() - began < self._result_every_s:
            self._advance()

        ages, ended = self._run.ages, self._pop_ended()
        reached = {**ages, **{trial_id: step for trial_id, (_, step) in ended.items()}}
        return {
            "ended": ended,
            "grokked": sorted(self._trial_watch.grokked),
            "running": len(ages),
            "trained_steps": sum(step - ages_before.get(trial_id, 0) for trial_id, step in reached.items()),
            "remaining_steps": self._remaining_steps(ages),
            "note": self._pop_note(),
            "warning": self._warning,
            "failure": None,
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
        """Return the trials that have ended since the last call: trial id -> (ending, step)."""
        ended, self._ended = self._ended, {}
        return ended

    def _pop_note(self) -> str | None:
        """Return the note, once."""
        note, self._note = self._note, None
        return note

    def _write_report(self) -> None:
        """Write the tables first, then the checkpoint, so that a checkpoint never refers to missing rows."""
        if self._unreported or not self._run.finished:
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
            )
            self._store.add_report(
                self._cohort.cohort_id, self._attempt.number, self._report, self._unreported, context
            )
            self._store.write_checkpoint(
                self._cohort.cohort_id, self._attempt.number, self._report, self._run.save()
            )
            self._report += 1
            self._unreported_blocks = 0
            self._unreported = []

    def _remaining_steps(self, ages: dict[str, int]) -> int:
        counts = self._run.counts
        started = self._cohort.trials[: counts.done + counts.running]
        queued = self._cohort.trials[len(started) :]
        running = sum(trial.steps - ages[trial.trial_id] for trial in started if trial.trial_id in ages)
        return running + sum(trial.steps for trial in queued)
