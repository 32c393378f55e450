"""The trials of an experiment of Ray Tune, as the parking rule sees them, and what it has decided about them.

This knows trials by their ids and results; `sweep.on_ray.scheduler.grok_scheduler` knows Tune.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from analysis.events import Events, Thresholds, trajectory_events
from analysis.stopping.alarm import Alarm, AuditedFate
from analysis.stopping.cells import CellRule, Standing
from analysis.stopping.certificate import known_fates
from analysis.stopping.decline import is_audited
from analysis.stopping.parking import ParkingParameters
from analysis.trajectory import Trajectory
from sweep.on_ray.scheduler.record import Record, Seen
from sweep.on_ray.scheduler.reported import Columns, Row, Stop, of_last_phase, row_of, take_in


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a scheduler is told by its user."""

    budget_steps: int
    parameters: ParkingParameters
    audit_share: float
    thresholds: Thresholds
    columns: Columns


@dataclass(slots=True)
class _Known:
    """What is known of a trial."""

    cell_id: str
    place: int
    """In the order in which the trials were added."""
    drifts: bool
    audited: bool
    rows: list[Row] = field(default_factory=list)
    over: bool = False
    """Whether it has ended, so that it says no more."""


class WatchedTrials:
    """The trials of one experiment.

    Args:
        settings: what the rule needs to know.
        folder: where Tune's driver stages its files; None keeps no record.

    Attributes:
        parked: ids of the trials that are parked, in the order in which they were -> how far they have come.
        decisions: rows of the table `decisions`.
        stops: ids of stopped and of marked trials -> where and why.
        suspended: why the rule only marks trials from now on; None as long as it parks them.
    """

    def __init__(self, settings: Settings, folder: str | None) -> None:
        self._settings, self._record = settings, Record(folder)
        self._rule = CellRule(settings.parameters, settings.thresholds)
        self._trials: dict[str, _Known] = {}
        self.parked: dict[str, Standing] = {}
        self._parked_at: dict[str, int] = {}
        self.decisions: list[dict[str, Any]] = []
        self.stops: dict[str, Stop] = {}
        self._alarm = Alarm(alpha=settings.parameters.level)
        self._audited: dict[str, AuditedFate] = {}
        self.suspended: str | None = None

    def __contains__(self, trial_id: str) -> bool:
        return trial_id in self._trials

    def __len__(self) -> int:
        return len(self._trials)

    def cell_of(self, trial_id: str) -> str:
        """Return the id of a trial's cell."""
        return self._trials[trial_id].cell_id

    def place_of(self, trial_id: str) -> int:
        """Return a trial's place in the order in which they were added."""
        return self._trials[trial_id].place

    def begun(self, running: Iterable[str]) -> Counter[str]:
        """Count the trials of each cell that have begun.

        Args:
            running: the trials that have lanes now, and may not have reported yet.
        """
        ids = {*running, *(trial_id for trial_id, known in self._trials.items() if known.rows)}
        return Counter(map(self.cell_of, ids))

    def add(self, trial_id: str, cell_id: str, *, drifts: bool) -> None:
        """Take in a new trial.

        Args:
            trial_id: Tune's id.
            cell_id: equal for trials that differ in their seed only.
            drifts: whether its training set is exchanged on the way: then it is parked in its last phase only.
        """
        audited = is_audited(trial_id, self._settings.audit_share)
        self._trials[trial_id] = _Known(cell_id, len(self._trials), drifts, audited)

    def recall(self, trial_id: str, seen: Seen, *, finished: bool) -> bool:
        """Take in what was recorded of a trial that has been added, and return whether it is parked.

        Args:
            trial_id: Tune's id.
            seen: what was recorded before the experiment was interrupted.
            finished: whether Tune knows that the trial has ended.
        """
        if seen.stop is not None and not (finished or seen.stop.audited):
            seen.stop = None
        if seen.stop is not None:
            self.stops[trial_id] = seen.stop
        self._trials[trial_id].rows = seen.rows
        self.decisions += seen.decisions
        self._record.add(trial_id, seen)
        if not seen.rows:
            return False
        standing, trajectory = self._standing(trial_id)
        parked = False
        for decision in seen.decisions:
            self._rule.recall(decision, standing, trajectory)
            if decision["decision"] != "marked":
                parked = decision["decision"] != "resumed"
        self._judge(trial_id)
        if finished:
            self.ends(trial_id)
        if parked and not finished:
            self.parked[trial_id] = standing
            self._parked_at[trial_id] = seen.at
            # Tune adds the trials of a restored experiment in another order.
            self.parked = {one: self.parked[one] for one in sorted(self.parked, key=self._parked_at.__getitem__)}
        return trial_id in self.parked

    def see(self, trial_id: str, result: Mapping[str, Any], reader: str) -> None:
        """Take in a result.

        Args:
            trial_id: Tune's id.
            result: the result, its nested metrics joined by `/`.
            reader: the scheduler, for messages.

        Raises:
            ValueError: a metric is missing or is no number.
        """
        row = row_of(result, self._settings.columns, self._settings.budget_steps, reader)
        known = self._trials[trial_id]
        if "sweep_trial_id" in result:
            known.audited = is_audited(str(result["sweep_trial_id"]), self._settings.audit_share)
        if (
            known.rows and known.rows[-1].step == row.step
        ):  # Tune repeats the last result of a function that returns
            return
        take_in(known.rows, row)
        known.over = False
        self._record.add(trial_id, Seen(rows=[row]))
        self._judge(trial_id)

    def _judge(self, trial_id: str) -> None:
        """Tell the rule whether a trial has grokked or failed."""
        if self._in_last_phase(trial_id):
            standing, trajectory = self._standing(trial_id)
            events = trajectory_events(trajectory, self._settings.thresholds)
            self._rule.saw(standing, trajectory, events)
            self._audit(trial_id, standing, events)

    def ends(self, trial_id: str) -> None:
        """Take in that a trial has ended and says no more; without a grok or its full budget it never counts."""
        self._trials[trial_id].over = True
        self._brake()

    def _audit(self, trial_id: str, standing: Standing, events: Events) -> None:
        """Take in what an audited trial says about the rule, once it has grokked or used up its budget."""
        grokked = events.grok_step is not None
        if self._trials[trial_id].audited and trial_id not in self._audited and (grokked or standing.share >= 1):
            marked = trial_id in self._rule.marked
            self._audited[trial_id] = ("lost" if marked else "kept") if grokked else "no grok"
            self._brake()

    def _brake(self) -> None:
        """Suspend the rule once audited trials show that it errs more often than it may.

        They count in the order in which they were added, which depends on no outcome, up to the first one that
        may yet grok.
        """
        if self.suspended is not None:
            return
        order = [
            name
            for name, known in self._trials.items()
            if known.audited and (name in self._audited or not known.over)
        ]
        self.suspended = self._alarm.suspends(known_fates(order, self._audited))
        if self.suspended is not None:
            self._rule.hear({}, suspended=True)

    def _in_last_phase(self, trial_id: str) -> bool:
        known = self._trials[trial_id]
        return not known.drifts or known.rows[-1].phase_end_step >= self._settings.budget_steps

    def parks(self, trial_id: str) -> bool:
        """Decide whether a trial is parked after its last result; an audited one is only marked."""
        if not self._in_last_phase(trial_id):
            return False
        standing, trajectory = self._standing(trial_id)
        parked = self._rule.parks(standing, trajectory, audited=self._trials[trial_id].audited)
        if trial_id in self._rule.marked and trial_id not in self.stops:
            self._stop(standing, *self._rule.reason(standing, trajectory), audited=True)
        if parked:
            self.parked[trial_id] = standing
        self._keep_decisions()
        return parked

    def best(self, waiting: Iterable[str], running: Iterable[str]) -> str | None:
        """Choose a parked trial whose patience is not over: of cells with a grok first, then with fewest running.

        Args:
            waiting: the parked trials to choose from.
            running: the trials that have lanes and keep them.
        """
        chosen = set(waiting)
        standings = [standing for trial_id, standing in self.parked.items() if trial_id in chosen]
        best = self._rule.best(standings, map(self.cell_of, running))
        return None if best is None else standings[best].trial_id

    def hopeless(self, waiting: Iterable[str]) -> str:
        """Return the parked trial with the worst prospects: no grok in its cell, most failures, most trained."""

        def prospects(trial_id: str) -> tuple[int, int, float]:
            standing = self.parked[trial_id]
            evidence = self._rule.evidence(standing.cell_id, trial_id)
            return evidence.grokked, -evidence.failed, -standing.share

        return min(waiting, key=prospects)

    def resume(self, trial_id: str) -> None:
        """Record that a parked trial continues."""
        self._rule.resume(self.parked.pop(trial_id))
        self._keep_decisions()

    def fails(self, trial_id: str) -> None:
        """Take in that a trial has an error and is not parked any more; it may be tried again."""
        standing = self.parked.pop(trial_id, None)
        if standing is not None:
            self._rule.know(standing, None)
        self.ends(trial_id)

    def end(self, trial_id: str) -> Stop:
        """End a parked trial, and say why."""
        standing, trajectory = self._standing(trial_id)
        return self._stop(standing, *self._rule.end(standing, trajectory), audited=False)

    def _stop(self, standing: Standing, text: str, probability: float, *, audited: bool) -> Stop:
        stop = Stop(standing.step, text, probability, audited)
        self.stops[standing.trial_id] = stop
        self._record.add(standing.trial_id, Seen(stop=stop))
        return stop

    def _keep_decisions(self) -> None:
        for decision in self._rule.pop_decisions():
            self.decisions.append(decision)
            self._record.add(decision["trial_id"], Seen(decisions=[decision], at=len(self.decisions)))

    def _standing(self, trial_id: str) -> tuple[Standing, Trajectory]:
        known = self._trials[trial_id]
        rows = of_last_phase(known.rows)
        return Standing.at(rows[-1], trial_id, known.cell_id), Trajectory.of_phase(rows)
