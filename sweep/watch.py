"""What ends a trial besides its budget: the one place where the lane loop meets the definitions of `analysis`."""

from __future__ import annotations

from analysis.decline import DeclineParameters, decide, first_stop, is_audited
from analysis.events import Thresholds, Trajectory, trajectory_events
from trainables.config import TaskConfig
from trainables.measurement import Declined, Ending, TrialHistory
from trainables.measuring import MeasuringConfig
from trainables.tasks import build_task


def thresholds_of(measuring: MeasuringConfig, task: TaskConfig) -> Thresholds:
    """What counts as memorised and grokked: what the way of measuring says, or else the task."""
    memorised_at, grokked_at = measuring.thresholds(build_task(task))
    return Thresholds(memorised_at=memorised_at, grokked_at=grokked_at)


def decline_seen(thresholds: Thresholds) -> Declined:
    """What a lane run asks where a spectral penalty starts at the decline: whether its onset has been seen.

    The onset is the first of two measurements that show the decline, so it is seen at the second of them.
    """

    def declined(history: TrialHistory) -> bool:
        trajectory = Trajectory.from_measurements(history.measurements)
        return trajectory_events(trajectory, thresholds).decline_onset_step is not None

    return declined


class TrialWatch:
    """What a lane run asks after each evaluated step.

    A trial ends as `grokked` once it is past the tail of its grok, and as `stopped` where the decline rule says
    so; an audited trial is never stopped. The definitions are those the analysis uses afterwards.

    Args:
        decline: parameters of the decline rule; None never stops a trial.
        audit_share: share of trials, in [0, 1], that the rule never stops.
        thresholds: what counts as memorised and grokked.
    """

    def __init__(self, decline: DeclineParameters | None, audit_share: float, thresholds: Thresholds) -> None:
        self._decline = decline
        self._audit_share = audit_share
        self._thresholds = thresholds
        self._audited: dict[str, tuple[Trajectory, int]] = {}
        self.grokked: set[str] = set()
        """Ids of the trials whose grok step has been seen, whether or not they have ended."""

    def __call__(self, history: TrialHistory) -> Ending | None:
        """The ending of a trial that ends at its last measurement, None of one that goes on."""
        trial_id = history.measurements[-1].trial_id
        trajectory = Trajectory.from_measurements(history.measurements)
        audited = self._decline is not None and is_audited(trial_id, self._audit_share)
        if audited:
            self._audited[trial_id] = trajectory, history.trial.steps
        events = trajectory_events(trajectory, self._thresholds)
        if events.grok_step is not None:
            self.grokked.add(trial_id)
        if events.tail_complete:
            return Ending(
                because="grokked",
                reason=f"Grokked at step {events.grok_step:,} and followed to step {trajectory.step[-1]:,}.",
            )
        if self._decline is None or audited:
            return None
        decision = decide(trajectory, history.trial.steps, self._decline, self._thresholds)
        if not decision.stop:
            return None
        return Ending(because="stopped", reason=decision.reason, probability=decision.probability)

    def marked_at_step(self, trial_id: str) -> int | None:
        """Where the rule would have stopped an audited trial that has ended; forgets the trial.

        Replayed from the whole history, so a mark is not lost where a run went on from a checkpoint.
        """
        if self._decline is None or trial_id not in self._audited:
            return None
        trajectory, budget_steps = self._audited.pop(trial_id)
        return first_stop(trajectory, budget_steps, self._decline, self._thresholds)
