"""Replays a rule over a sweep's trials in lanes: when each is trained, parked, resumed and given up.

Lanes are the unit of compute: one lane trains one trial at a time, one step takes one unit of time, and trials are
judged at the steps at which they were evaluated. Trials begin breadth first: the first seed of every cell before
the second seed of any.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from analysis.replay.recordings import Recording
from analysis.stopping.evidence import Evidence, EvidenceKind
from analysis.stopping.parking import ParkingParameters, parks, patience

LANES = 8


@dataclass(frozen=True, slots=True)
class Fates:
    """How far each trial was trained under a rule."""

    steps: NDArray[np.int64]
    """Steps that each trial was trained, [n]."""
    makespan_steps: int
    """Steps from the start of the sweep to its end, with all lanes at work."""
    given_up: dict[int, EvidenceKind] = field(default_factory=dict)
    """Place of each trial that was parked when the sweep ended -> what was known of its cell then."""


Rule = Callable[[Sequence[Recording], int], Fates]
"""Replays a rule on the trials of one sweep, with this number of lanes."""


def alone(first_stop: Callable[[Recording], int | None]) -> Rule:
    """Make a rule from a function of one trial that returns the step at which it is stopped, None for never."""

    def rule(trials: Sequence[Recording], lanes: int) -> Fates:
        stopped = [first_stop(trial) for trial in trials]
        steps = [
            trial.steps if at is None else min(at, trial.steps) for trial, at in zip(trials, stopped, strict=True)
        ]
        return Fates(np.array(steps, dtype=np.int64), _makespan(breadth_first(trials), steps, lanes))

    return rule


def unstopped(trials: Sequence[Recording], lanes: int) -> Fates:
    """Return the fates of the trials of one sweep without a rule."""
    return alone(lambda _: None)(trials, lanes)


def parking(parameters: ParkingParameters) -> Rule:
    """Make the parking rule, work-conserving: an idle lane takes a parked trial whose patience is not over."""

    def rule(trials: Sequence[Recording], lanes: int) -> Fates:
        return _Lanes(trials, parameters).run(lanes)

    return rule


def breadth_first(trials: Sequence[Recording]) -> list[int]:
    """Return the places of the trials in the order in which they begin: first seeds of all cells, then second."""
    cells: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for place, trial in enumerate(trials):
        cells[trial.cell].append(place)
    ordered = [sorted(places, key=lambda place: trials[place].seed) for places in cells.values()]
    longest = max(map(len, ordered), default=0)
    return [places[seed] for seed in range(longest) for places in ordered if seed < len(places)]


def _makespan(order: Sequence[int], steps: Sequence[int], lanes: int) -> int:
    free_at = [0] * lanes
    for place in order:
        heapq.heapreplace(free_at, free_at[0] + steps[place])
    return max(free_at)


def _first_high(trial: Recording, accuracy: float) -> int:
    high = np.flatnonzero(trial.trajectory.val_accuracy >= accuracy)
    return int(high[0]) if len(high) else len(trial.trajectory)


class _Lanes:
    """The state of a sweep in mid-replay: `at[i]` is the last evaluation of trial i, -1 before its first."""

    def __init__(self, trials: Sequence[Recording], parameters: ParkingParameters) -> None:
        self._trials = trials
        self._parameters = parameters
        self._stalled = [trial.stalled(parameters.stall) for trial in trials]
        self._first_high = [_first_high(trial, parameters.hard_accuracy) for trial in trials]
        """Place of each trial's first evaluation at which it is no hard failure; their number if there is none."""
        self._at = [-1] * len(trials)
        self._parked: set[int] = set()
        self._given_up: set[int] = set()
        self._ended: set[int] = set()
        self._running: set[int] = set()
        self._seen: set[int] = set()
        """Trials that have been parked before."""
        self._grokked: dict[tuple[object, ...], set[int]] = defaultdict(set)
        self._cells: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for place, trial in enumerate(trials):
            self._cells[trial.cell].append(place)

    def run(self, lanes: int) -> Fates:
        waiting = breadth_first(self._trials)[::-1]
        # Time, order of entry, trial: its next evaluation. The order settles ties, so a replay is always the same.
        events: list[tuple[int, int, int]] = []
        entered = now = 0
        idle = lanes
        while True:
            while idle and (place := waiting.pop() if waiting else self._best_parked()) is not None:
                self._take_up(place)
                idle -= 1
                entered += 1
                heapq.heappush(events, (now + self._to_next(place), entered, place))
            if not events:
                break
            now, _, place = heapq.heappop(events)
            if self._evaluate(place):
                idle += 1
            else:
                entered += 1
                heapq.heappush(events, (now + self._to_next(place), entered, place))
        steps = [int(trial.trajectory.step[at]) for trial, at in zip(self._trials, self._at, strict=True)]
        given_up = {place: self._evidence(place).kind for place in sorted(self._parked)}
        return Fates(np.array(steps, dtype=np.int64), now, given_up)

    def _take_up(self, place: int) -> None:
        self._parked.discard(place)
        self._given_up.discard(place)
        self._running.add(place)

    def _to_next(self, place: int) -> int:
        step, at = self._trials[place].trajectory.step, self._at[place]
        return int(step[at + 1] - (step[at] if at >= 0 else 0))

    def _evaluate(self, place: int) -> bool:
        """Take a trial to its next evaluation; return whether its lane is free then."""
        trial = self._trials[place]
        self._at[place] += 1
        at = self._at[place]
        # Before anything is decided: a grok at this evaluation prolongs the patience of the cell's other seeds.
        if trial.confirmed_at is not None and at >= trial.confirmed_at:
            self._grokked[trial.cell].add(place)
        if at == len(trial.trajectory) - 1:
            self._ended.add(place)
        elif self._stalled[place][at] and self._parks(place):
            self._parked.add(place)
            self._seen.add(place)
            if self._share(place) > self._patience(place):
                self._given_up.add(place)
        else:
            return False
        self._running.discard(place)
        return True

    def _parks(self, place: int) -> bool:
        return parks(
            self._share(place),
            self._evidence(place),
            parked_before=place in self._seen,
            parameters=self._parameters,
        )

    def _share(self, place: int) -> float:
        trial = self._trials[place]
        return float(trial.trajectory.step[self._at[place]] / trial.budget_steps)

    def _patience(self, place: int) -> float:
        return patience(self._evidence(place), self._parameters)

    def _evidence(self, place: int) -> Evidence:
        cell = self._trials[place].cell
        others = [other for other in self._cells[cell] if other != place]
        over = [other for other in others if other in self._given_up or other in self._ended]
        failed = [other for other in over if other not in self._grokked[cell] and self._is_hard(other)]
        return Evidence(len(self._grokked[cell] - {place}), len(failed))

    def _is_hard(self, place: int) -> bool:
        return self._at[place] < self._first_high[place]

    def _best_parked(self) -> int | None:
        """Return the parked trial to be resumed next, None if the patience of all is over.

        Cells with a grok come first, then the cell in which the fewest are running, then the least trained.
        """

        def rank(place: int) -> tuple[bool, int, float, int]:
            cell = self._trials[place].cell
            running = sum(other in self._running for other in self._cells[cell])
            return not self._grokked[cell], running, self._share(place), place

        patient = [place for place in self._parked if self._share(place) <= self._patience(place)]
        return min(patient, key=rank, default=None)
