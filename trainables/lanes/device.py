"""The lanes, and the tensors on the device in which each of them has a row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.lanes.lane import Lane
from trainables.lanes.optimiser import LaneSettings
from trainables.lanes.shape import Shape, State
from trainables.tasks import build_task
from trainables.tasks.phases import phase_task


class DeviceLanes:
    """W lanes with their weights, moments, training sets and settings on the device.

    A lane is free if it never held a trial or the trial in it has ended. Free lanes are computed like the others:
    to leave them out would change the shape of every tensor.

    Trials are put into lanes in place, because captured steps read and write where the tensors lay when they were
    captured (see `trainables.lanes.graphs`). Only `allocate` and `compact` move them.

    Args:
        shape: common to the trials.
        trials: all trials of the run; their phases determine which tables of inputs the device holds.
    """

    weights: Tensor
    """[W, P] float32, laid out by `Shape.layout`."""
    first_moment: Tensor
    """[W, P] of AdamW."""
    second_moment: Tensor
    """[W, P] of AdamW."""
    targets: Tensor
    """[W, N] labels of every example of each lane's table, as trained on."""
    first_row: Tensor
    """[W, 1]: where each lane's table begins in `inputs`."""
    settings: LaneSettings

    def __init__(self, shape: Shape, trials: Sequence[TrialConfig]) -> None:
        self._shape = shape
        self._first_trial = trials[0]
        self._tables = distinct_tables(trials)
        self.inputs = torch.cat(self._tables).to(shape.device)
        """All tables of inputs, one after the other: that of the task, then those that exchanges bring."""
        self._lanes: list[Lane | None] = []

    def allocate(self, lanes: int) -> None:
        """Make W free lanes; what the former ones held is lost."""
        self.release()
        width = max(self._shape.fewest_lanes, lanes)
        self._lanes = [None] * width
        self.weights = torch.zeros(width, self._shape.layout.weights, device=self._shape.device)
        self.first_moment = torch.zeros_like(self.weights)
        self.second_moment = torch.zeros_like(self.weights)
        self.targets = self._shape.task.targets.to(self._shape.device).repeat(width, 1)
        self.first_row = torch.zeros(width, 1, dtype=torch.int64, device=self._shape.device)
        self.settings = LaneSettings(self._trials_of_lanes(), self._shape.device)

    def release(self) -> None:
        """Let go of the lanes and their memory, so that there is room for what takes their place."""
        self._lanes = []
        empty = torch.empty(0, device=self._shape.device)
        self.weights = self.first_moment = self.second_moment = self.targets = self.first_row = empty

    # --- which lanes there are -----------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Return W, free lanes included."""
        return len(self._lanes)

    def __getitem__(self, places: slice) -> list[Lane | None]:
        """Return the lanes at some places; None where a lane never held a trial."""
        return self._lanes[places]

    @property
    def several_tables(self) -> bool:
        """Whether lanes may train on different tables of inputs."""
        return len(self._tables) > 1

    def placed(self) -> list[tuple[int, Lane]]:
        """Return the running lanes with their places."""
        return [(place, lane) for place, lane in enumerate(self._lanes) if lane is not None and lane.running]

    def running(self) -> list[Lane]:
        """Return the running lanes."""
        return [lane for _, lane in self.placed()]

    def free(self) -> list[int]:
        """Return the places of free lanes."""
        return [place for place, lane in enumerate(self._lanes) if lane is None or not lane.running]

    # --- putting trials into lanes -------------------------------------------------------------------------------

    def place(self, place: int, lane: Lane, state: State) -> None:
        """Put a trial and its state into a lane; its settings follow with `take_settings`."""
        self._lanes[place] = lane
        self.give_training_set(place, lane)
        for name, rows in self._rows().items():
            rows[place] = state[name].to(self._shape.device)

    def give_training_set(self, place: int, lane: Lane) -> None:
        """Let a lane train on the training set of its phase."""
        self.targets[place] = lane.split.targets.to(self._shape.device)
        self.first_row[place] = self.table_of(lane) * self._shape.task.examples

    def take_settings(self) -> None:
        """Let every lane train with the settings of the trial in it."""
        self.settings.take(self._trials_of_lanes())

    def compact(self) -> bool:
        """Give up free lanes, down to the fewest there may be; return whether that has moved the tensors."""
        busy, free = [place for place, _ in self.placed()], self.free()
        kept = sorted(busy + free[: max(0, self._shape.fewest_lanes - len(busy))])
        if len(kept) == len(self._lanes):
            return False
        self._lanes = [self._lanes[place] for place in kept]
        self.weights, self.first_moment, self.second_moment = (rows[kept] for rows in self._rows().values())
        self.targets, self.first_row = self.targets[kept], self.first_row[kept]
        self.settings = LaneSettings(self._trials_of_lanes(), self._shape.device)
        return True

    def take_out(self, place: int) -> State:
        """Free a lane whose trial has not ended, and return the trial's state on the host."""
        self._lanes[place] = None
        return {name: rows[place].cpu().clone() for name, rows in self._rows().items()}

    def widen(self, lanes: int) -> None:
        """Add free lanes up to W of them; this moves the tensors."""
        free = lanes - len(self._lanes)
        self._lanes += [None] * free
        self.weights, self.first_moment, self.second_moment = (
            torch.cat([rows, rows.new_zeros(free, rows.shape[1])]) for rows in self._rows().values()
        )
        labels = self._shape.task.targets.to(self._shape.device).repeat(free, 1)
        self.targets = torch.cat([self.targets, labels])
        self.first_row = torch.cat([self.first_row, self.first_row.new_zeros(free, 1)])
        self.settings = LaneSettings(self._trials_of_lanes(), self._shape.device)

    def states(self) -> dict[str, Tensor]:
        """Copy the state of the running lanes to the host: name -> [running, P]."""
        places = [place for place, _ in self.placed()]
        return {name: rows[places].cpu() for name, rows in self._rows().items()}

    def _rows(self) -> dict[str, Tensor]:
        return {
            "weights": self.weights,
            "first_moment": self.first_moment,
            "second_moment": self.second_moment,
        }

    def _trials_of_lanes(self) -> list[TrialConfig]:
        """Return the lanes' trials; a lane that never held one gets the settings of the run's first."""
        return [self._first_trial if lane is None else lane.trial for lane in self._lanes]

    # --- tables of inputs ----------------------------------------------------------------------------------------

    def table_of(self, lane: Lane) -> int:
        """Return the number of the table that the lane's phase has."""
        return next(
            number
            for number, inputs in enumerate(self._tables)
            if inputs is lane.task.inputs or torch.equal(inputs, lane.task.inputs)
        )

    def table(self, number: int) -> Tensor:
        """Return a table's inputs on the device, [N, ...]."""
        examples = self._shape.task.examples
        return self.inputs[number * examples :][:examples]


def distinct_tables(trials: Sequence[TrialConfig]) -> list[Tensor]:
    """Collect every table of inputs that a phase of these trials has, each once, that of their task first."""
    tables = [build_task(trials[0].task).inputs]
    for trial in trials:
        for phase in range(1, len(trial.phases)):
            inputs = phase_task(trial, phase).inputs
            if not any(inputs is table or torch.equal(inputs, table) for table in tables):
                tables.append(inputs)
    return tables
