"""The trials of a lane run that have no lane."""

from __future__ import annotations

from collections.abc import Sequence

from trainables.config import TrialConfig
from trainables.lanes.checkpoint import RunRecord
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
        lane = Lane.begin(self.next_trial, self._trials[self.next_trial], self._measuring)
        state = self._shape.initial_state(lane.trial.seed)
        self.next_trial += 1
        return lane, state

    def go_back(self, record: RunRecord) -> None:
        """Restore the recorded queue, with all trials that were running at the head of it."""
        self.next_trial = record.next_trial
        self.waiting = [
            (
                Lane.resume(saved, self._trials[saved.trial_index], self._measuring),
                {name: rows[place] for name, rows in record.tensors.items()},
            )
            for place, saved in enumerate(record.running)
        ]
