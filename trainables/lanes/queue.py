"""The trials of a lane run that have no lane: not begun, waiting for a lane after a restart, or parked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from trainables.config import TrialConfig
from trainables.lanes.checkpoint import LaneRecord, RunRecord
from trainables.lanes.lane import Lane
from trainables.lanes.shape import Shape, State
from trainables.schedule import MeasuringConfig


class TrialQueue:
    """Hands out trials: first those that have begun and wait for a lane, then the others in their order.

    Args:
        trials: all trials of the run.
        shape: their common shape.
        measuring: when they are evaluated and measured.
    """

    def __init__(self, trials: Sequence[TrialConfig], shape: Shape, measuring: MeasuringConfig) -> None:
        self._trials, self._shape, self._measuring = tuple(trials), shape, measuring
        self.next_trial = 0
        """Index of the first trial that has not begun."""
        self.waiting: list[tuple[Lane, State]] = []
        """Trials that have begun and wait for a lane, the first one first, with their state on the host."""
        self.parked: list[tuple[Lane, State]] = []
        """Trials that are parked, in the order in which they were, with their state on the host."""
        self.given_up: list[tuple[Lane, State]] = []
        """Trials that have ended while they were parked, with the state from which a later run can continue."""

    def __len__(self) -> int:
        """Count the trials that could take a lane now."""
        return len(self.waiting) + self.not_begun

    @property
    def not_begun(self) -> int:
        """The number of trials that have not begun."""
        return len(self._trials) - self.next_trial

    def pop(self) -> tuple[Lane, State]:
        """Take out the next trial, with its state on the host."""
        if self.waiting:
            return self.waiting.pop(0)
        return self._begin()

    def _begin(self) -> tuple[Lane, State]:
        lane = Lane.begin(self.next_trial, self._trials[self.next_trial], self._measuring)
        self.next_trial += 1
        return lane, self._shape.initial_state(lane.trial.seed)

    def give_up(self) -> list[tuple[Lane, State]]:
        """End the trials that are parked, and return them."""
        ended, self.parked = self.parked, []
        self.given_up += ended
        return ended

    def wait_for_lanes(self) -> None:
        """Let parked trials wait for lanes like any other, where nothing decides which of them continue."""
        self.waiting, self.parked = self.waiting + self.parked, []

    def go_back(self, record: RunRecord) -> None:
        """Restore the recorded queue, with all trials that were running at the head of it."""
        self.next_trial = record.next_trial
        resumed = [
            (Lane.resume(saved, self._trials[saved.trial_index], self._measuring), state)
            for saved, state in record.states()
        ]
        running, parked = len(record.running), len(record.running) + len(record.parked)
        self.waiting, self.parked, self.given_up = resumed[:running], resumed[running:parked], resumed[parked:]

    def adopt(self, saved: Sequence[tuple[LaneRecord, State] | None]) -> list[Lane]:
        """Let trials that another run has begun wait for lanes: the first ones of the queue, before any has begun.

        Args:
            saved: what was recorded of the trials, in the order of the queue, with their states; None for a trial
                that begins anew.
        """
        assert self.next_trial == 0, "trials are adopted before any begins"
        for recorded in saved:
            lane, state = self._begin()
            if recorded is not None:
                record = dataclasses.replace(recorded[0], trial_index=lane.trial_index)
                lane, state = Lane.resume(record, lane.trial, self._measuring), recorded[1]
            self.waiting.append((lane, state))
        return [lane for lane, _ in self.waiting]
