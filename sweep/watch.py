"""What ends a trial besides its budget: the one place where the lane loop meets the definitions of `analysis`."""

from __future__ import annotations

from analysis.decline import DeclineParameters, decide, is_audited
from analysis.events import Thresholds, Trajectory, trajectory_events
from trainables.measurement import Ending, TrialHistory, Watch


def build_watch(decline: DeclineParameters | None, audit_share: float, thresholds: Thresholds) -> Watch:
    """Build what a lane run asks after each evaluated step.

    A trial ends as `grokked` once it is past the tail of its grok, and as `stopped` where the decline rule says
    so. The definitions are those the analysis uses afterwards.

    Args:
        decline: parameters of the decline rule; None never stops a trial.
        audit_share: share of trials, in [0, 1], that the rule never stops.
        thresholds: what counts as memorised and grokked.
    """

    def watch(history: TrialHistory) -> Ending | None:
        trajectory = Trajectory.from_measurements(history.measurements)
        events = trajectory_events(trajectory, thresholds)
        if events.tail_complete:
            return Ending(
                because="grokked",
                reason=f"Grokked at step {events.grok_step:,} and followed to step {trajectory.step[-1]:,}.",
            )
        if decline is None or is_audited(history.measurements[-1].trial_id, audit_share):
            return None
        decision = decide(trajectory, history.trial.steps, decline, thresholds)
        if not decision.stop:
            return None
        return Ending(because="stopped", reason=decision.reason, probability=decision.probability)

    return watch
