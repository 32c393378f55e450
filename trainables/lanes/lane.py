"""One trial in training, and what the host knows of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile

import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.lanes.checkpoint import LaneRecord
from trainables.measurement import Measurement, PhaseColumns, TrialColumns, WallSeconds
from trainables.random import generator
from trainables.schedule import (
    ACCURACY_MOVE,
    TAIL_RATIO,
    MeasuringConfig,
    evaluated_steps,
    measured_steps,
    steps_in_phases,
)
from trainables.tasks import Split, Task
from trainables.tasks.phases import phase_split, phase_task


@dataclass(slots=True)
class Lane:
    """A trial that has begun: its age, its training set, its schedule and its measurements so far."""

    trial_index: int
    """Its place in the run's queue."""
    trial: TrialConfig
    task: Task
    """The table of the phase."""
    split: Split
    """Which of the table's examples are trained on in this phase, and with which labels."""
    evaluated: list[int]
    """Steps still to be evaluated, the next one last."""
    measured: frozenset[int]
    """Steps at which complexity is measured whatever happens."""
    penalised_from: int | None
    """Step at which the spectral penalty begins to act; None if there is none, or that is not known yet."""
    phase: int = 0
    """Exchanges of the training set so far."""
    age: int = 0
    """Steps done."""
    running: bool = True
    """Whether the trial has not ended yet."""
    train_wall_s: float = 0.0
    measure_wall_s: float = 0.0
    history: list[Measurement] = field(default_factory=list)
    epoch: int = -1
    """The epoch of the phase that `order` is of; -1 before the first."""
    order: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    """Training examples in the order of the epoch."""

    @classmethod
    def begin(cls, trial_index: int, trial: TrialConfig, measuring: MeasuringConfig, *, age: int = 0) -> Lane:
        """Start a trial; with an age, on the training set of that age."""
        phase = trial.phase_at(age)
        task = phase_task(trial, phase)
        return cls(
            trial_index=trial_index,
            trial=trial,
            task=task,
            split=phase_split(trial, phase, task),
            evaluated=list(reversed(steps_in_phases(evaluated_steps, measuring, trial.phases))),
            measured=frozenset(steps_in_phases(measured_steps, measuring, trial.phases)),
            penalised_from=trial.penalised_from,
            phase=phase,
            age=age,
        )

    @classmethod
    def resume(cls, record: LaneRecord, trial: TrialConfig, measuring: MeasuringConfig) -> Lane:
        """Continue a trial where its record was made; the inverse of `record`."""
        lane = cls.begin(record.trial_index, trial, measuring, age=record.age)
        # A record is made after the evaluations at its age, so only those of later steps are left, unless the trial
        # had no lane yet.
        has_begun = record.age > 0 or bool(record.history)
        lane.evaluated = [step for step in lane.evaluated if step > record.age or not has_begun]
        lane.train_wall_s, lane.measure_wall_s = record.train_wall_s, record.measure_wall_s
        lane.penalised_from = record.penalised_from
        lane.history = list(record.history)
        return lane

    def record(self) -> LaneRecord:
        """Copy what a checkpoint must hold; the rest follows from the trial."""
        return LaneRecord(
            trial_index=self.trial_index,
            age=self.age,
            train_wall_s=self.train_wall_s,
            measure_wall_s=self.measure_wall_s,
            penalised_from=self.penalised_from,
            history=list(self.history),
        )

    # --- columns of its rows -------------------------------------------------------------------------------------

    def trial_columns(self) -> TrialColumns:
        """Return the columns that say which trial and step a row is of."""
        trial = self.trial
        return TrialColumns(
            trial_id=trial.trial_id,
            step=self.age,
            weight_decay=trial.weight_decay,
            data_fraction=trial.data_fraction,
            spectral_entropy_weight=trial.spectral_entropy_weight,
            seed=trial.seed,
        )

    def wall_seconds(self) -> WallSeconds:
        """Return the seconds spent on the trial so far."""
        return WallSeconds(train_wall_s=self.train_wall_s, measure_wall_s=self.measure_wall_s)

    def phase_columns(self) -> PhaseColumns:
        """Return the columns that say which training set a row is about."""
        start, end = self.trial.phases[self.phase]
        return PhaseColumns(phase=self.phase, phase_start_step=start, phase_end_step=end)

    # --- schedule ------------------------------------------------------------------------------------------------

    @property
    def is_due(self) -> bool:
        """Whether the trial is to be evaluated at its age."""
        return self.evaluated[-1] == self.age

    @property
    def steps_to_evaluation(self) -> int:
        """The number of steps until the next evaluation."""
        return self.evaluated[-1] - self.age

    @property
    def is_penalised(self) -> bool:
        """Whether the spectral penalty acts in this block."""
        return self.penalised_from is not None and self.age >= self.penalised_from

    @property
    def phase_start(self) -> int:
        """Steps done when the phase began."""
        return self.trial.phases[self.phase][0]

    @property
    def is_at_phase_end(self) -> bool:
        """Whether the training set is exchanged, or the budget used up, at this age."""
        return self.age == self.trial.phases[self.phase][1]

    def exchange(self) -> None:
        """Continue with the training set of the next phase."""
        self.phase += 1
        self.task = phase_task(self.trial, self.phase)
        self.split = phase_split(self.trial, self.phase, self.task)
        # Otherwise the order drawn for an epoch of the last phase would pass for that epoch of this one.
        self.epoch = -1

    def needs_complexity(self, val_accuracy: float, grokked_at: float) -> bool:
        """Decide whether complexity is measured now: on schedule, after a move of accuracy, or in the tail."""
        return (
            self.age in self.measured
            or self._accuracy_moved(val_accuracy)
            or self._in_tail(val_accuracy, grokked_at)
        )

    def _rows_of_phase(self) -> list[Measurement]:
        """Return what has been measured in this phase, the latest first."""
        return list(takewhile(lambda past: past.phase == self.phase, reversed(self.history)))

    def _accuracy_moved(self, val_accuracy: float) -> bool:
        """Tell whether validation accuracy is far from where it was when complexity was last measured."""
        measured = (past for past in self._rows_of_phase() if past.complexity_bytes is not None)
        last = next(measured, None)
        return last is not None and abs(val_accuracy - last.val_accuracy) >= ACCURACY_MOVE

    def _in_tail(self, val_accuracy: float, grokked_at: float) -> bool:
        """Tell whether validation accuracy has stayed at its threshold, and not yet for `TAIL_RATIO` times as long.

        Steps are counted from the beginning of the phase. Accuracy has stayed since the first of the evaluations in
        a row, up to this one, that reach the threshold; the tail ends with the first evaluation at or past
        `TAIL_RATIO` times that step, so what counts is the evaluation before this one.
        """
        began, before = self.age - self.phase_start if val_accuracy >= grokked_at else 0, 0
        for past in self._rows_of_phase() if began else []:
            before = before or past.step - self.phase_start
            if past.val_accuracy < grokked_at:
                break
            # Evaluations are met backwards, so this ends at the first of those in a row.
            began = past.step - self.phase_start
        return before < TAIL_RATIO * began

    # --- batches -------------------------------------------------------------------------------------------------

    def next_batches(self, steps: int, size: int) -> Tensor:
        """Draw the batches of the next steps, as indices into the table.

        Every epoch of the phase has its own permutation of the training examples; what remains of it after the last
        whole batch is dropped. The permutation depends on seed, phase and epoch alone, so a restored trial draws
        the batches that it would have drawn.

        Args:
            steps: S.
            size: examples in a batch, B.

        Returns:
            [S, B] int64.
        """
        # At least 1, since a batch is no larger than the training set (`effective_batch_size`).
        per_epoch = len(self.split.train) // size
        batches = []
        for step in range(self.age - self.phase_start, self.age - self.phase_start + steps):
            epoch, cursor = divmod(step, per_epoch)
            if epoch != self.epoch:
                # The stream of phase 0 is named without its phase, as it was before there were phases.
                which = (self.phase, epoch) if self.phase else (epoch,)
                shuffled = torch.randperm(
                    len(self.split.train), generator=generator(self.trial.seed, "batches", *which)
                )
                self.epoch, self.order = epoch, self.split.train[shuffled]
            batches.append(self.order[cursor * size : (cursor + 1) * size])
        return torch.stack(batches)
