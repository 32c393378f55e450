"""The parking rule in a cohort: which trials wait with their state, and which of them continue.

The rule is in `analysis.stopping.parking`; here it meets the trials of a cohort and what is known of their cells,
from this cohort and from others. Which trials are resumed depends on what had ended by then, so each decision is
recorded with the evidence that it rests on. The rows of a trial do not depend on it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.events import Events, Thresholds
from analysis.stopping.calibration import Calibration
from analysis.stopping.decline import is_audited
from analysis.stopping.parking import Evidence, ParkingParameters, parks, patience
from analysis.stopping.reasons import Standstill, reason, standstill
from analysis.stopping.stall import stalls
from analysis.trajectory import Trajectory, phase_budget_steps
from sweep.results.evidence import Fate, Fates
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
        self._parameters, self._audit_share, self._thresholds = parameters, audit_share, thresholds
        self._fates: Fates = defaultdict(dict)
        self._elsewhere: Fates = {}
        self._parked_at: dict[str, int] = {}
        self.marked: dict[str, int] = {}
        """Audited trials -> the step at which they would have been given up."""
        self._decisions: list[dict[str, Any]] = []
        self._standstills: dict[str, Standstill] = {}
        self._none_resumes: object = None
        self._suspended = False

    @property
    def audits(self) -> dict[str, Any]:
        """What `sweep.training.brake` must hear: marked trials, and those that grokked, in their last phase."""
        grokked = (name for trials in self._fates.values() for name, fate in trials.items() if fate == "grokked")
        return {"marked": dict(self.marked), "confirmed": sorted(grokked)}

    @property
    def fates(self) -> Fates:
        """What is known of this cohort's own trials."""
        return {cell: dict(trials) for cell, trials in self._fates.items() if trials}

    def hear(self, elsewhere: Fates, *, suspended: bool = False) -> None:
        """Take in what other cohorts know of the cells, and whether trials are only to be marked from now on."""
        if (elsewhere, suspended) != (self._elsewhere, self._suspended):
            self._elsewhere, self._suspended = elsewhere, suspended
            self._none_resumes = None

    def pop_decisions(self) -> list[dict[str, Any]]:
        """Return the decisions since the last call, as rows of the table `decisions`."""
        decisions, self._decisions = self._decisions, []
        return decisions

    # --- what the watch has seen ---------------------------------------------------------------------------------

    def saw(self, history: TrialHistory, events: Events) -> None:
        """Take in an evaluated step of a trial.

        Args:
            history: the trial and its measurements.
            events: the events of its current phase.
        """
        if not history.in_last_phase:
            return
        if events.grok_step is not None:
            self._know(history.trial, "grokked")
        elif history.measurements[-1].step >= history.trial.steps and self._is_far(history):
            self._know(history.trial, "failed")

    def _know(self, trial: TrialConfig, fate: Fate | None) -> None:
        of_cell = self._fates[trial.cell_id]
        if fate != of_cell.get(trial.trial_id):
            self._none_resumes = None
            if fate is None:
                del of_cell[trial.trial_id]
            else:
                of_cell[trial.trial_id] = fate

    def _is_far(self, history: TrialHistory) -> bool:
        """Check that a trial without a grok is a hard failure: its validation accuracy was never high."""
        return all(row.val_accuracy < self._parameters.hard_accuracy for row in history.of_phase)

    def evidence(self, trial: TrialConfig) -> Evidence:
        """Return what is known of a trial's cell from its other seeds."""
        known = {**self._elsewhere.get(trial.cell_id, {}), **self._fates.get(trial.cell_id, {})}
        known.pop(trial.trial_id, None)
        counts = Counter(known.values())
        return Evidence(counts["grokked"], counts["failed"])

    # --- Parking -------------------------------------------------------------------------------------------------

    def parks(self, history: TrialHistory) -> bool:
        """Decide whether a trial that was evaluated just now is parked; an audited one is only marked."""
        if not history.in_last_phase:
            return False
        trial = history.trial
        trajectory = Trajectory.of_phase(history.of_phase)
        stalled = stalls(trajectory, self._parameters.stall, self._thresholds)
        if not stalled[-1]:
            return False
        evidence, share = self.evidence(trial), _share(history)
        before = trial.trial_id in self._parked_at
        if not parks(share, evidence, parked_before=before, parameters=self._parameters):
            return False
        over = share > patience(evidence, self._parameters)
        if self._suspended or is_audited(trial.trial_id, self._audit_share):
            if over and trial.trial_id not in self.marked:
                self.marked[trial.trial_id] = history.measurements[-1].step
                self._decide("marked", history, evidence, standstill(trajectory, stalled, self._parameters.stall))
            return False
        stood = standstill(trajectory, stalled, self._parameters.stall)
        self._standstills[trial.trial_id] = stood
        self._parked_at[trial.trial_id] = history.measurements[-1].step
        self._none_resumes = None
        self._decide("given up" if over else "parked", history, evidence, stood)
        if over and self._is_far(history):
            self._know(trial, "failed")
        return True

    def resumes(self, parked: Sequence[TrialHistory], running: Sequence[TrialConfig]) -> int | None:
        """Choose a parked trial whose patience is not over: of cells with a grok first, then with fewest running.

        Of several such trials it is the one that has been trained least.
        """
        if self._none_resumes == len(parked):
            return None
        in_cell = Counter(trial.cell_id for trial in running)
        best: tuple[bool, int, float, int] | None = None
        for place, history in enumerate(parked):
            evidence, share = self.evidence(history.trial), _share(history)
            if self._suspended or share <= patience(evidence, self._parameters):
                rank = not evidence.grokked, in_cell[history.trial.cell_id], share, place
                best = rank if best is None else min(best, rank)
        if best is None:
            # Nothing changes until a trial is parked or something new is known; this is asked at every block.
            self._none_resumes = len(parked)
            return None
        history = parked[best[-1]]
        self._decide("resumed", history, self.evidence(history.trial), None)
        self._know(history.trial, None)
        return best[-1]

    def ending(self, history: TrialHistory) -> Ending:
        """Return the ending of a trial that is parked when nothing is left to train."""
        evidence, (start, end) = self.evidence(history.trial), history.trial.phases[-1]
        stood = self._standstills.get(history.trial.trial_id)
        if stood is None:
            trajectory = Trajectory.of_phase(history.of_phase)
            stalled = stalls(trajectory, self._parameters.stall, self._thresholds)
            stood = standstill(trajectory, stalled, self._parameters.stall)
        text = reason(
            stood,
            evidence,
            budget_steps=end - start,
            patience=patience(evidence, self._parameters),
            cells=self._parameters.cells,
        )
        if history.measurements[-1].phase:
            text += f" Steps are those of phase {history.measurements[-1].phase}, which began at step {start:,}."
        if self._is_far(history):
            self._know(history.trial, "failed")
        return Ending(because="stopped", reason=text, probability=Calibration.load().probability_of_grok(evidence))

    def record(self) -> dict[str, Any]:
        """Return what must be kept in a checkpoint, as plain values."""
        return {"fates": self.fates, "parked_at": dict(self._parked_at), "marked": dict(self.marked)}

    def go_back(self, record: Mapping[str, Any]) -> None:
        """Restore what `record` returned; an empty mapping is that of a run that begins."""
        fates, parked_at, marked = (record.get(name, {}) for name in ("fates", "parked_at", "marked"))
        mappings = (fates, parked_at, marked, *(fates.values() if isinstance(fates, dict) else ()))
        if not all(isinstance(values, dict) for values in mappings):
            raise ValueError("what is known for parking must be mappings")
        self._fates = defaultdict(dict, {cell: dict(trials) for cell, trials in fates.items()})
        self._parked_at, self.marked = dict(parked_at), dict(marked)
        self._decisions, self._standstills, self._none_resumes = [], {}, None

    def _decide(self, decision: str, history: TrialHistory, evidence: Evidence, stood: Standstill | None) -> None:
        last = history.measurements[-1]
        self._decisions.append(
            {
                "trial_id": last.trial_id,
                "step": last.step,
                "decision": decision,
                "stalled_since_step": None if stood is None else last.phase_start_step + stood.since_step,
                "loss_change": None if stood is None else stood.loss_change,
                "complexity_change": None if stood is None else stood.complexity_change,
                "cell_grokked": evidence.grokked,
                "cell_failed": evidence.failed,
                "patience": patience(evidence, self._parameters),
            }
        )


def _share(history: TrialHistory) -> float:
    """Return the steps in the current phase as a share of the phase's budget."""
    last = history.measurements[-1]
    return (last.step - last.phase_start_step) / phase_budget_steps(last)
