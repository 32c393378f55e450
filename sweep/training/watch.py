"""The endings of a trial besides its budget: the only place where the lane loop meets `analysis`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

from analysis.events import Thresholds, trajectory_events
from analysis.stopping.decline import DeclineParameters, first_stop, is_audited, stop_decision
from analysis.trajectory import Trajectory, phase_budget_steps
from sweep.training.parking import CellParking
from trainables.config import TaskConfig
from trainables.measurement import Declined, Ending, TrialHistory
from trainables.schedule import MeasuringConfig
from trainables.tasks import build_task


def thresholds_of(measuring: MeasuringConfig, task: TaskConfig) -> Thresholds:
    """Return the thresholds for memorised and grokked: those of the measuring, otherwise the task's."""
    memorised_at, grokked_at = measuring.thresholds(build_task(task))
    return Thresholds(memorised_at=memorised_at, grokked_at=grokked_at)


def decline_seen(thresholds: Thresholds) -> Declined:
    """Return a check for the onset of the decline, for a lane run whose spectral penalty starts there.

    The onset is the first of two measurements that show the decline, so it is seen at the second of them. With
    drift, both are in the current phase.
    """

    def declined(history: TrialHistory) -> bool:
        trajectory = Trajectory.of_phase(history.of_phase)
        return trajectory_events(trajectory, thresholds).decline_onset_step is not None

    return declined


class TrialWatch:
    """The watcher that a lane run calls after each evaluated step.

    A trial ends as `grokked` once it is past the tail of its grok, and as `stopped` if the decline rule says
    so; an audited trial is never stopped. The analysis uses the same definitions afterwards.

    With drift, all of this is about the current phase, whose budget is the steps until the next exchange; a grok
    ends a trial in its last phase only.

    Args:
        decline: parameters of the decline rule; None never stops a trial.
        audit_share: share of trials, in [0, 1], that the rule never stops.
        thresholds: the thresholds for memorised and grokked.
        parking: learns from each evaluated step; None if no trials are parked.
        marked: trials that a rule has stopped before -> the step at which it did.
    """

    def __init__(
        self,
        decline: DeclineParameters | None,
        audit_share: float,
        thresholds: Thresholds,
        parking: CellParking | None = None,
        marked: Mapping[str, int] | None = None,
    ) -> None:
        self._parking = parking
        self._marked = marked or {}
        self._decline = decline
        self._audit_share = audit_share
        self._thresholds = thresholds
        self._audited: dict[str, TrialHistory] = {}
        self.grokked: set[str] = set()
        """Ids of the trials whose grok step has been seen, whether or not they have ended."""

    def __call__(self, history: TrialHistory) -> Ending | None:
        """Return the ending of a trial that ends at its last measurement, or None if it continues."""
        last = history.measurements[-1]
        trajectory = Trajectory.of_phase(history.of_phase)
        audited = self._decline is not None and is_audited(last.trial_id, self._audit_share)
        if audited:
            self._audited[last.trial_id] = history
        events = trajectory_events(trajectory, self._thresholds)
        if self._parking is not None:
            self._parking.saw(history, trajectory, events)
        if events.grok_step is not None:
            self.grokked.add(last.trial_id)
            if events.tail_complete and history.in_last_phase:
                grok_step = last.phase_start_step + events.grok_step
                reason = f"Grokked at step {grok_step:,} and followed to step {last.step:,}."
                return Ending(because="grokked", reason=reason)
        if self._decline is None or audited:
            return None
        decision = stop_decision(trajectory, phase_budget_steps(last), self._decline, self._thresholds)
        if not decision.stop:
            return None
        reason = decision.reason
        if last.phase:
            reason += f" Steps are those of phase {last.phase}, which began at step {last.phase_start_step:,}."
        return Ending(because="stopped", reason=reason, probability=decision.probability)

    def marked_at_step(self, trial_id: str) -> int | None:
        """Return where the rule would have stopped an audited trial that has ended, and forget the trial.

        The rule is replayed over the whole history, so a mark is not lost when a run resumes from a checkpoint.
        """
        # `DeclineStopper` marks as it goes, at the same steps: Tune does not tell it when a trial ends, and pickles
        # it with its marks. This watch is made anew after a restart, and a lane's checkpoint knows of no rule.
        if trial_id in self._marked:
            return self._marked[trial_id]
        if self._parking is not None:
            return self._parking.marked.get(trial_id)
        if self._decline is None or trial_id not in self._audited:
            return None
        for _, phase in groupby(self._audited.pop(trial_id).measurements, key=lambda row: row.phase):
            rows = list(phase)
            step = first_stop(
                Trajectory.of_phase(rows), phase_budget_steps(rows[-1]), self._decline, self._thresholds
            )
            if step is not None:
                return rows[-1].phase_start_step + step
        return None
