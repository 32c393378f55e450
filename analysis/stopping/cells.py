"""What is known of cells, and which of their trials wait or continue: the state behind the parking rule.

The rule's numbers are in `analysis.stopping.parking`; here it meets trials and the evidence of their other seeds.
Which trials are resumed depends on what had ended by then, so each decision is recorded with the evidence that it
rests on. Whoever trains the trials, in lanes or as trials of Ray Tune, asks the same questions in the same order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from analysis.events import Events, Thresholds
from analysis.stopping.calibration import Calibration
from analysis.stopping.evidence import Evidence, Fate, Fates
from analysis.stopping.parking import ParkingParameters, parks, patience
from analysis.stopping.reasons import Standstill, reason, standstill
from analysis.stopping.stall import stalls
from analysis.trajectory import PhaseStep, Trajectory, phase_budget_steps


class Standing(NamedTuple):
    """A trial, and how far it has come in its current phase."""

    trial_id: str
    cell_id: str
    """Trials that differ in their seed only have the same."""
    phase_start_step: int
    """Steps done when the phase began; 0 without drift."""
    phase_steps: int
    """Steps done since then."""
    budget_steps: int
    """Steps of the whole phase."""

    @classmethod
    def at(cls, last: PhaseStep, trial_id: str, cell_id: str) -> Standing:
        """Return how far a trial has come at an evaluated step, its last one."""
        begun = last.phase_start_step
        return cls(trial_id, cell_id, begun, last.step - begun, phase_budget_steps(last))

    @property
    def step(self) -> int:
        """Steps done since the trial began."""
        return self.phase_start_step + self.phase_steps

    @property
    def share(self) -> float:
        """Steps done in the phase as a share of the phase's budget."""
        return self.phase_steps / self.budget_steps


class CellRule:
    """Decides which trials are parked and resumed, by their own trajectory and by what is known of their cells.

    Args:
        parameters: parameters of the rule.
        thresholds: the thresholds for memorised and grokked.
    """

    def __init__(self, parameters: ParkingParameters, thresholds: Thresholds) -> None:
        self.parameters, self._thresholds = parameters, thresholds
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
    def fates(self) -> Fates:
        """What is known of the trials that were seen here."""
        return {cell: dict(trials) for cell, trials in self._fates.items() if trials}

    def hear(self, elsewhere: Fates, *, suspended: bool = False) -> None:
        """Take in what others know of the cells, and whether trials are only to be marked from now on."""
        if (elsewhere, suspended) != (self._elsewhere, self._suspended):
            self._elsewhere, self._suspended = elsewhere, suspended
            self._none_resumes = None

    def pop_decisions(self) -> list[dict[str, Any]]:
        """Return the decisions since the last call, as rows of the table `decisions`."""
        decisions, self._decisions = self._decisions, []
        return decisions

    # --- Evidence ------------------------------------------------------------------------------------------------

    def saw(self, trial: Standing, trajectory: Trajectory, events: Events) -> None:
        """Take in an evaluated step of a trial that is in its last phase.

        Args:
            trial: how far it has come.
            trajectory: its evaluated steps in this phase.
            events: the events of this phase.
        """
        if events.grok_step is not None:
            self.know(trial, "grokked")
        elif trial.share >= 1 and self._is_far(trajectory):
            self.know(trial, "failed")

    def know(self, trial: Standing, fate: Fate | None) -> None:
        """Record the fate of a trial; None if it is open again."""
        of_cell = self._fates[trial.cell_id]
        if fate != of_cell.get(trial.trial_id):
            self._none_resumes = None
            if fate is None:
                del of_cell[trial.trial_id]
            else:
                of_cell[trial.trial_id] = fate

    def _is_far(self, trajectory: Trajectory) -> bool:
        """Check that a trial without a grok is a hard failure: its validation accuracy was never high."""
        return bool((trajectory.val_accuracy < self.parameters.hard_accuracy).all())

    def evidence(self, cell_id: str, trial_id: str) -> Evidence:
        """Return what is known of a trial's cell from its other seeds."""
        known = {**self._elsewhere.get(cell_id, {}), **self._fates.get(cell_id, {})}
        known.pop(trial_id, None)
        counts = Counter(known.values())
        return Evidence(counts["grokked"], counts["failed"])

    def _patience(self, trial: Standing) -> float:
        return patience(self.evidence(trial.cell_id, trial.trial_id), self.parameters)

    # --- Parking -------------------------------------------------------------------------------------------------

    def parks(self, trial: Standing, trajectory: Trajectory, *, audited: bool) -> bool:
        """Decide whether a trial that was evaluated just now is parked; an audited one is only marked.

        Args:
            trial: how far it has come; it is in its last phase.
            trajectory: its evaluated steps in this phase.
            audited: whether it is never parked.
        """
        stalled = stalls(trajectory, self.parameters.stall, self._thresholds)
        if not stalled[-1]:
            return False
        evidence = self.evidence(trial.cell_id, trial.trial_id)
        before = trial.trial_id in self._parked_at
        if not parks(trial.share, evidence, parked_before=before, parameters=self.parameters):
            return False
        over = trial.share > patience(evidence, self.parameters)
        if self._suspended or audited:
            if over and trial.trial_id not in self.marked:
                self.marked[trial.trial_id] = trial.step
                self._decide("marked", trial, evidence, standstill(trajectory, stalled, self.parameters.stall))
            return False
        stood = standstill(trajectory, stalled, self.parameters.stall)
        self._standstills[trial.trial_id] = stood
        self._parked_at[trial.trial_id] = trial.step
        self._none_resumes = None
        self._decide("given up" if over else "parked", trial, evidence, stood)
        if over and self._is_far(trajectory):
            self.know(trial, "failed")
        return True

    def best(self, parked: Sequence[Standing], running: Iterable[str]) -> int | None:
        """Choose a parked trial whose patience is not over: of cells with a grok first, then with fewest running.

        Of several such trials it is the one that has been trained least.

        Args:
            parked: the trials that wait, in the order in which they were parked.
            running: the cell of each trial that is trained now.

        Returns:
            Its place in `parked`; None if the patience of all is over.
        """
        if self._none_resumes == len(parked):
            return None
        in_cell = Counter(running)
        best: tuple[bool, int, float, int] | None = None
        for place, trial in enumerate(parked):
            evidence = self.evidence(trial.cell_id, trial.trial_id)
            if self._suspended or trial.share <= patience(evidence, self.parameters):
                rank = not evidence.grokked, in_cell[trial.cell_id], trial.share, place
                best = rank if best is None else min(best, rank)
        if best is None:
            # Nothing changes until a trial is parked or something new is known; this is asked at every block.
            self._none_resumes = len(parked)
            return None
        return best[-1]

    def resume(self, trial: Standing) -> None:
        """Record that a parked trial continues."""
        self._decide("resumed", trial, self.evidence(trial.cell_id, trial.trial_id), None)
        self.know(trial, None)

    def reason(self, trial: Standing, trajectory: Trajectory) -> tuple[str, float]:
        """Say why a trial is given up, and how likely it would have grokked.

        Args:
            trial: how far it has come; it was stalled at its last evaluated step.
            trajectory: its evaluated steps in this phase.

        Returns:
            One or two sentences, with steps counted from the start of the phase; the share of recorded trials that
            grok among those given up with the same evidence.
        """
        stood = self._standstills.get(trial.trial_id)
        if stood is None:
            stalled = stalls(trajectory, self.parameters.stall, self._thresholds)
            stood = standstill(trajectory, stalled, self.parameters.stall)
        evidence = self.evidence(trial.cell_id, trial.trial_id)
        text = reason(
            stood,
            evidence,
            budget_steps=trial.budget_steps,
            patience=self._patience(trial),
            cells=self.parameters.cells,
        )
        return text, Calibration.load().probability_of_grok(evidence)

    def end(self, trial: Standing, trajectory: Trajectory) -> tuple[str, float]:
        """End a trial that is parked when nothing is left to train: it counts as failed if it was far from a grok.

        Args:
            trial: how far it has come.
            trajectory: its evaluated steps in this phase.

        Returns:
            What `reason` returns.
        """
        said = self.reason(trial, trajectory)
        if self._is_far(trajectory):
            self.know(trial, "failed")
        return said

    # --- Records -------------------------------------------------------------------------------------------------

    def record(self) -> dict[str, Any]:
        """Return what must be kept in a checkpoint, as plain values."""
        return {"fates": self.fates, "parked_at": dict(self._parked_at), "marked": dict(self.marked)}

    def go_back(self, record: Mapping[str, Any]) -> None:
        """Restore what `record` returned; an empty mapping is that of a run that begins.

        Raises:
            ValueError: the values are none that `record` can return.
        """
        fates, parked_at, marked = (record.get(name, {}) for name in ("fates", "parked_at", "marked"))
        mappings = (fates, parked_at, marked, *(fates.values() if isinstance(fates, dict) else ()))
        if not all(isinstance(values, dict) for values in mappings):
            raise ValueError("what is known for parking must be mappings")
        self._fates = defaultdict(dict, {cell: dict(trials) for cell, trials in fates.items()})
        self._parked_at, self.marked = dict(parked_at), dict(marked)
        self._decisions, self._standstills, self._none_resumes = [], {}, None

    def recall(self, decision: Mapping[str, Any], trial: Standing, trajectory: Trajectory) -> None:
        """Take in a decision about a trial that was recorded in an earlier run, oldest first.

        Args:
            decision: a row of the table `decisions`.
            trial: how far it had come when the earlier run ended.
            trajectory: its evaluated steps up to there.
        """
        if decision["decision"] == "marked":
            self.marked[trial.trial_id] = decision["step"]
        elif decision["decision"] == "resumed":
            self.know(trial, None)
        else:
            self._parked_at[trial.trial_id] = decision["step"]
            if decision["decision"] == "given up" and self._is_far(trajectory):
                self.know(trial, "failed")

    def _decide(self, decision: str, trial: Standing, evidence: Evidence, stood: Standstill | None) -> None:
        self._decisions.append(
            {
                "trial_id": trial.trial_id,
                "step": trial.step,
                "decision": decision,
                "stalled_since_step": None if stood is None else trial.phase_start_step + stood.since_step,
                "loss_change": None if stood is None else stood.loss_change,
                "complexity_change": None if stood is None else stood.complexity_change,
                "cell_grokked": evidence.grokked,
                "cell_failed": evidence.failed,
                "patience": patience(evidence, self.parameters),
            }
        )
