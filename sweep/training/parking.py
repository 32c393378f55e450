"""The parking rule in a cohort: which trials wait with their state, and which of them continue.

The rule and what it knows are in `analysis.stopping.cells`; here it meets the lanes of a cohort. The rows of a
trial do not depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.events import Events, Thresholds
from analysis.stopping.cells import CellRule, Standing
from analysis.stopping.decline import is_audited
from analysis.stopping.evidence import Fates
from analysis.stopping.parking import Evidence, ParkingParameters
from analysis.trajectory import Trajectory
from trainables.config import TrialConfig
from trainables.measurement import Ending, TrialHistory


class CellParking:
    """Decides which trials of a cohort are parked and resumed: the `Parking` of its lane run.

    With drift a trial is parked in its last phase only, because an exchange of the training set may set it in
    motion again.

    Args:
        parameters: parameters of the rule.
        audit_share: share of trials, in [0, 1], that are never parked, only marked.
        thresholds: the thresholds for memorised and grokked.
    """

    def __init__(self, parameters: ParkingParameters, audit_share: float, thresholds: Thresholds) -> None:
        self._rule, self._audit_share = CellRule(parameters, thresholds), audit_share

    @property
    def marked(self) -> dict[str, int]:
        """Audited trials -> the step at which they would have been given up."""
        return self._rule.marked

    @property
    def audits(self) -> dict[str, Any]:
        """What `sweep.training.brake` must hear: marked trials, and those that grokked, in their last phase."""
        grokked = (name for trials in self.fates.values() for name, fate in trials.items() if fate == "grokked")
        return {"marked": dict(self.marked), "confirmed": sorted(grokked)}

    @property
    def fates(self) -> Fates:
        """What is known of this cohort's own trials."""
        return self._rule.fates

    def hear(self, elsewhere: Fates, *, suspended: bool = False) -> None:
        """Take in what other cohorts know of the cells, and whether trials are only to be marked from now on."""
        self._rule.hear(elsewhere, suspended=suspended)

    def pop_decisions(self) -> list[dict[str, Any]]:
        """Return the decisions since the last call, as rows of the table `decisions`."""
        return self._rule.pop_decisions()

    def saw(self, history: TrialHistory, trajectory: Trajectory, events: Events) -> None:
        """Take in an evaluated step of a trial.

        Args:
            history: the trial and its measurements.
            trajectory: its evaluated steps in the current phase.
            events: the events of that phase.
        """
        if history.in_last_phase:
            self._rule.saw(_standing(history), trajectory, events)

    def evidence(self, trial: TrialConfig) -> Evidence:
        """Return what is known of a trial's cell from its other seeds."""
        return self._rule.evidence(trial.cell_id, trial.trial_id)

    def parks(self, history: TrialHistory) -> bool:
        """Decide whether a trial that was evaluated just now is parked; an audited one is only marked."""
        return history.in_last_phase and self._rule.parks(
            _standing(history),
            Trajectory.of_phase(history.of_phase),
            audited=is_audited(history.trial.trial_id, self._audit_share),
        )

    def resumes(self, parked: Sequence[TrialHistory], running: Sequence[TrialConfig]) -> int | None:
        """Choose a parked trial whose patience is not over: of cells with a grok first, then with fewest running.

        Of several such trials it is the one that has been trained least.
        """
        standing = [_standing(history) for history in parked]
        best = self._rule.best(standing, (trial.cell_id for trial in running))
        if best is not None:
            self._rule.resume(standing[best])
        return best

    def ending(self, history: TrialHistory) -> Ending:
        """Return the ending of a trial that is parked when nothing is left to train."""
        trial = _standing(history)
        text, probability = self._rule.end(trial, Trajectory.of_phase(history.of_phase))
        if history.measurements[-1].phase:
            phase, start = history.measurements[-1].phase, trial.phase_start_step
            text += f" Steps are those of phase {phase}, which began at step {start:,}."
        return Ending(because="stopped", reason=text, probability=probability)

    def record(self) -> dict[str, Any]:
        """Return what must be kept in a checkpoint, as plain values."""
        return self._rule.record()

    def go_back(self, record: Mapping[str, Any]) -> None:
        """Restore what `record` returned; an empty mapping is that of a run that begins."""
        self._rule.go_back(record)


def _standing(history: TrialHistory) -> Standing:
    return Standing.at(history.measurements[-1], history.trial.trial_id, history.trial.cell_id)
