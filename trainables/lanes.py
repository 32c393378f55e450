"""The training loop: many trials of one shape as one batched model, each in a lane of its own.

Read `LaneRun.advance` first: refill, then train up to the next step at which some trial is due, evaluate and watch,
and so on to the end of the block. `LaneRun._step` is the step itself.
"""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from trainables import checkpoint, evaluate
from trainables.allocator import keep_freed_memory
from trainables.architectures import architecture_of, initial_weights
from trainables.config import AT_DECLINE, TrialConfig
from trainables.errors import ConfigError
from trainables.gradient import loss_gradient
from trainables.graphs import StepGraph, capture_of
from trainables.layout import Layout
from trainables.measurement import (
    ComplexityMeasurement,
    Declined,
    Ending,
    Measurement,
    TrialEnd,
    TrialHistory,
    Watch,
)
from trainables.optimiser import LaneSettings, adamw_step
from trainables.out_of_memory import fewer_lanes, give_memory_back, is_out_of_memory
from trainables.random import generator
from trainables.schedule import (
    ACCURACY_MOVE,
    BLOCK_STEPS,
    TAIL_RATIO,
    MeasuringConfig,
    evaluated_steps,
    measured_steps,
    steps_in_phases,
    whole_blocks,
)
from trainables.sizes import bzip2_bytes
from trainables.spectral import add_penalty_gradient
from trainables.step_inputs import StepInputs
from trainables.tasks import Split, Task, build_task
from trainables.tasks.phases import check_drift, phase_split, phase_task
from trainables.tasks.split import training_size

DEFAULT_LANES = 8
LARGEST_DEFAULT_BATCH = 512

_FEWEST_LANES = 2
"""A batch of exactly one takes other matrix kernels, whose bits differ: where lanes are batched, an idle lane keeps
a lone one company."""


def effective_batch_size(trial: TrialConfig) -> int:
    """Examples per step: as asked for, 0 for all n training examples, by default min(512, n // 2) but at least 1.

    Raises:
        ConfigError: more than the n training examples are asked for.
    """
    examples = training_size(build_task(trial.task).examples, trial.data_fraction)
    if trial.batch_size is None:
        return max(1, min(LARGEST_DEFAULT_BATCH, examples // 2))
    if trial.batch_size > examples:
        raise ConfigError(
            f"batch_size must be at most the number of training examples, got {trial.batch_size} for {examples} "
            f"(data_fraction {trial.data_fraction}); choose a smaller one, or 0 for the full batch"
        )
    return trial.batch_size or examples


EVALUATED_LANES = 16
"""Lanes evaluated at once, a bound on memory."""

ShapeKey = tuple[object, ...]


def shape_key(trial: TrialConfig) -> ShapeKey:
    """What trials must have in common to share a batched model; hashable.

    Raises:
        ConfigError: the trial cannot be trained, see `effective_batch_size`, `trainables.tasks.build_task` and
            `trainables.tasks.phases.check_drift`.
    """
    check_drift(trial.task, trial.drift)
    penalised = trial.spectral_entropy_weight > 0
    return (
        trial.task,
        trial.model,
        effective_batch_size(trial),
        penalised,
        (trial.spectral_floor, trial.spectral_every) if penalised else None,
        trial.weight_noise > 0,
    )


@dataclass(frozen=True, slots=True)
class Counts:
    """Trials of a lane run by state; their sum is the number of trials."""

    done: int
    running: int
    queued: int


@dataclass(slots=True)
class _Lane:
    """The trial in a lane and what is known of it on the host."""

    trial_index: int
    trial: TrialConfig
    task: Task
    """The table of the phase."""
    split: Split
    """What of it is trained on in this phase."""
    evaluated: list[int]
    """Steps still to be evaluated, the next one last."""
    measured: frozenset[int]
    penalised_from: int | None
    """Step at which the spectral penalty begins to act; None if there is none, or that is not known yet."""
    phase: int = 0
    """Exchanges of the training set so far."""
    age: int = 0
    """Steps done."""
    running: bool = True
    train_wall_s: float = 0.0
    measure_wall_s: float = 0.0
    history: list[Measurement] = field(default_factory=list)
    epoch: int = -1
    """Of the phase."""
    order: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    """Training examples in the order of the epoch."""

    @property
    def trial_id(self) -> str:
        return self.trial.trial_id

    @property
    def phase_start(self) -> int:
        """Steps done when the phase began."""
        return self.trial.phases[self.phase][0]

    @property
    def of_phase(self) -> list[Measurement]:
        """What has been measured in this phase, the latest first."""
        return list(takewhile(lambda past: past.phase == self.phase, reversed(self.history)))

    def exchange(self) -> None:
        """Go on with the training set of the next phase."""
        self.phase += 1
        self.task = phase_task(self.trial, self.phase)
        self.split = phase_split(self.trial, self.phase, self.task)
        self.epoch = -1

    @property
    def penalised(self) -> bool:
        """Whether the spectral penalty acts in this block."""
        return self.penalised_from is not None and self.age >= self.penalised_from

    def accuracy_moved(self, val_accuracy: float) -> bool:
        """Whether validation accuracy is far from where it was when complexity was last measured."""
        last = next((past.val_accuracy for past in self.of_phase if past.complexity_bytes is not None), None)
        return last is not None and abs(val_accuracy - last) >= ACCURACY_MOVE

    def in_tail(self, val_accuracy: float, grokked_at: float) -> bool:
        """Whether validation accuracy has stayed at its threshold, and not yet for `TAIL_RATIO` times as long."""
        began, before = self.age - self.phase_start if val_accuracy >= grokked_at else 0, 0
        for past in self.of_phase if began else []:
            before = before or past.step - self.phase_start
            if past.val_accuracy < grokked_at:
                break
            began = past.step - self.phase_start
        return before < TAIL_RATIO * began

    def next_batches(self, steps: int, size: int) -> Tensor:
        """[steps, size] indices into the table: the epochs' permutations in turn, each one's remainder dropped."""
        per_epoch = len(self.split.train) // size
        batches = []
        for step in range(self.age - self.phase_start, self.age - self.phase_start + steps):
            epoch, cursor = divmod(step, per_epoch)
            if epoch != self.epoch:
                which = (self.phase, epoch) if self.phase else (epoch,)
                shuffled = torch.randperm(
                    len(self.split.train), generator=generator(self.trial.seed, "batches", *which)
                )
                self.epoch, self.order = epoch, self.split.train[shuffled]
            batches.append(self.order[cursor * size : (cursor + 1) * size])
        return torch.stack(batches)


class LaneRun:
    """Trains a queue of trials of one shape, several at a time, in blocks of `BLOCK_STEPS` steps.

    A trial's measurements do not depend on which others it shares the run with; on a CPU to the last bit
    (`train_wall_s`, `measure_wall_s` and the `wall_s` of complexities excepted).

    Args:
        trials: the queue; all of one `shape_key`.
        measuring: when to evaluate and at which epsilons to measure.
        watch: asked after each evaluated step whether the trial ends there.
        declined: asked, where `spectral_start` is `at_decline`, whether complexity has declined.
        lanes: trials trained at once, at most.
        device: a torch device, e.g. `cpu` or `cuda`.

    Raises:
        ConfigError: trials of several shapes, no trials, no lanes, a device that is not there, an epsilon that a
            network which has learnt nothing would satisfy, or `at_decline` without a `declined` to ask.
    """

    def __init__(
        self,
        trials: Sequence[TrialConfig],
        *,
        measuring: MeasuringConfig = MeasuringConfig(),  # noqa: B008 (frozen)
        watch: Watch | None = None,
        declined: Declined | None = None,
        lanes: int = DEFAULT_LANES,
        device: str = "cpu",
    ) -> None:
        _check(trials, lanes, device, declined)
        first = trials[0]
        self._trials = tuple(trials)
        self._measuring = measuring
        self._watch = watch
        self._declined = declined
        self._wanted_lanes = lanes
        self._device = torch.device(device)
        self._task = build_task(first.task)
        _, self._grokked_at = measuring.thresholds(self._task)
        self._model = first.model
        self._batch_size = effective_batch_size(first)
        self._noisy = first.weight_noise > 0
        measuring.check_classes(self._task.classes)
        keep_freed_memory()

        self._architecture = architecture_of(self._task, self._model)
        self._layout = Layout(self._architecture.shapes)
        self._tables = _distinct_tables(trials)
        self._inputs = torch.cat(self._tables).to(self._device)
        """All tables of inputs, one after the other: that of the task, and those that an exchange brings."""
        self._next_trial = 0
        self._waiting: list[tuple[_Lane, dict[str, Tensor]]] = []
        """Trials that have begun and wait for a lane, the first one first, with their state on the host."""
        self._one_by_one = self._architecture.by_hand(self._batch_size, self._device) is not None
        self._fewest_lanes = 1 if self._one_by_one else _FEWEST_LANES
        self._graph = StepGraph(capture_of(self._device))
        self._allocate()

    def _allocate(self) -> None:
        """Make the lanes, empty."""
        width = max(self._fewest_lanes, min(self._wanted_lanes, len(self._trials)))
        self._lanes: list[_Lane | None] = [None] * width
        self._weights = torch.zeros(width, self._layout.weights, device=self._device)
        self._first_moment = torch.zeros_like(self._weights)
        self._second_moment = torch.zeros_like(self._weights)
        self._targets = self._task.targets.to(self._device).repeat(width, 1)
        self._first_row = torch.zeros(width, 1, dtype=torch.int64, device=self._device)
        """Where each lane's table begins."""
        self._provide_for_lanes()

    def _provide_for_lanes(self) -> None:
        """Make what a step reads, for as many lanes as there are; elsewhere than before."""
        together = 1 if self._one_by_one else len(self._lanes)
        noise_weights = self._layout.weights if self._noisy else 0
        self._settings = LaneSettings(self._trials_of_lanes(), self._device)
        self._ahead = StepInputs(together, self._batch_size, noise_weights, self._device)
        self._graph.forget()

    # --- what is asked from outside ------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether every trial has ended."""
        return self._next_trial == len(self._trials) and not self._begun()

    @property
    def counts(self) -> Counts:
        """Trials done, running and queued."""
        running, queued = len(self._begun()), len(self._trials) - self._next_trial
        return Counts(len(self._trials) - running - queued, running, queued)

    @property
    def ages(self) -> dict[str, int]:
        """Trial id -> steps done, of the running trials."""
        return {lane.trial_id: lane.age for lane in self._begun()}

    @property
    def lanes(self) -> int:
        """Trials trained at once: what was asked for, or what there is use for."""
        return min(self._wanted_lanes, len(self._lanes))

    def advance(self, blocks: int) -> list[Measurement]:
        """Train all lanes for so many blocks; return the measurements taken, in order of happening."""
        measurements: list[Measurement] = []
        for _ in range(blocks):
            self._refill()
            measurements += self._evaluate_due()
            left = BLOCK_STEPS
            while left and self._running():
                steps = min(left, *(lane.evaluated[-1] - lane.age for lane in self._running()))
                self._train(steps)
                measurements += self._evaluate_due()
                left -= steps
        return measurements

    def record(self) -> checkpoint.RunRecord:
        """The state between two calls of `advance`, a copy on the host."""
        running = [place for place, _ in self._placed()]
        in_lanes = {name: tensor[running].cpu() for name, tensor in self._state().items()}
        return checkpoint.RunRecord(
            **self._identity(),
            lanes=self._wanted_lanes,
            next_trial=self._next_trial,
            running=[
                checkpoint.LaneRecord(
                    lane.trial_index,
                    lane.age,
                    lane.train_wall_s,
                    lane.measure_wall_s,
                    lane.penalised_from,
                    list(lane.history),
                )
                for lane in self._begun()
            ],
            tensors={
                name: torch.cat([rows, *(state[name][None] for _, state in self._waiting)])
                for name, rows in in_lanes.items()
            },
        )

    def go_back(self, record: checkpoint.RunRecord, lanes: int) -> None:
        """Be as when the record was made, but with so many lanes; who has none waits for the next block."""
        self._next_trial, self._wanted_lanes = record.next_trial, lanes
        self._waiting = [
            (self._begun_lane(saved), {name: rows[place] for name, rows in record.tensors.items()})
            for place, saved in enumerate(record.running)
        ]
        # Not at once with what takes its place: there may be no room for both.
        del self._weights, self._first_moment, self._second_moment, self._targets, self._settings, self._ahead
        self._graph.forget()
        self._allocate()

    def save(self) -> bytes:
        """The state between two calls of `advance`, as safetensors bytes."""
        return checkpoint.encode(self.record())

    @classmethod
    def restore(
        cls,
        data: bytes,
        trials: Sequence[TrialConfig],
        *,
        measuring: MeasuringConfig = MeasuringConfig(),  # noqa: B008 (frozen)
        watch: Watch | None = None,
        declined: Declined | None = None,
        lanes: int | None = None,
        device: str = "cpu",
    ) -> LaneRun:
        """Go on where `save` was called; on a CPU the measurements are those of an uninterrupted run, bit for bit.

        Lanes are as many as before unless said otherwise.

        Raises:
            CheckpointError: the bytes are damaged, or were saved with other trials or another way of measuring.
            ConfigError: as for a new run.
        """
        record = checkpoint.decode(data)
        lanes = record.lanes if lanes is None else lanes
        run = cls(trials, measuring=measuring, watch=watch, declined=declined, lanes=lanes, device=device)
        checkpoint.check_belongs(record, **run._identity())
        run.go_back(record, lanes)
        return run

    # --- lanes ---------------------------------------------------------------------------------------------------

    def _refill(self) -> None:
        """At a block boundary: free lanes take trials, waiting ones first; once there are none, free lanes go."""
        free = [place for place, lane in enumerate(self._lanes) if lane is None or not lane.running]
        if not free:
            return
        while free and (self._waiting or self._next_trial < len(self._trials)):
            self._place(free.pop(0), *(self._waiting.pop(0) if self._waiting else self._next_new()))
        busy = [place for place in range(len(self._lanes)) if place not in free]
        kept = sorted(busy + free[: max(0, self._fewest_lanes - len(busy))])
        if len(kept) < len(self._lanes):
            self._lanes = [self._lanes[place] for place in kept]
            self._weights, self._first_moment, self._second_moment, self._targets, self._first_row = (
                tensor[kept]
                for tensor in (
                    self._weights,
                    self._first_moment,
                    self._second_moment,
                    self._targets,
                    self._first_row,
                )
            )
            self._provide_for_lanes()
        self._settings.take(self._trials_of_lanes())

    def _next_new(self) -> tuple[_Lane, dict[str, Tensor]]:
        """The next trial of the queue and its state before the first step."""
        lane = self._new_lane(self._next_trial, age=0)
        weights = initial_weights(self._architecture, self._model, lane.trial.seed)
        row = self._layout.rows({name: weight[None] for name, weight in weights.items()})[0]
        self._next_trial += 1
        return lane, {"weights": row, "first_moment": row * 0, "second_moment": row * 0}

    def _begun_lane(self, saved: checkpoint.LaneRecord) -> _Lane:
        lane = self._new_lane(saved.trial_index, saved.age)
        lane.evaluated = [step for step in lane.evaluated if step > saved.age]
        lane.train_wall_s, lane.measure_wall_s = saved.train_wall_s, saved.measure_wall_s
        lane.penalised_from = saved.penalised_from
        lane.history = list(saved.history)
        return lane

    def _new_lane(self, trial_index: int, age: int) -> _Lane:
        trial = self._trials[trial_index]
        phase = trial.phase_at(age)
        task = phase_task(trial, phase)
        return _Lane(
            trial_index=trial_index,
            trial=trial,
            task=task,
            split=phase_split(trial, phase, task),
            evaluated=list(reversed(steps_in_phases(evaluated_steps, self._measuring, trial.phases))),
            measured=frozenset(steps_in_phases(measured_steps, self._measuring, trial.phases)),
            penalised_from=trial.penalised_from,
            phase=phase,
            age=age,
        )

    def _place(self, place: int, lane: _Lane, state: dict[str, Tensor]) -> None:
        self._lanes[place] = lane
        self._give_training_set(place, lane)
        for name, tensor in self._state().items():
            tensor[place] = state[name].to(self._device)

    def _give_training_set(self, place: int, lane: _Lane) -> None:
        """Have the device train the lane on the training set of its phase; in place, for graphs look there."""
        self._targets[place] = lane.split.targets.to(self._device)
        self._first_row[place] = self._table_of(lane) * self._task.examples

    def _table_of(self, lane: _Lane) -> int:
        """Which of the tables of inputs is that of the lane's phase."""
        return next(
            which
            for which, inputs in enumerate(self._tables)
            if inputs is lane.task.inputs or torch.equal(inputs, lane.task.inputs)
        )

    def _placed(self) -> list[tuple[int, _Lane]]:
        """The running lanes with their places."""
        return [(place, lane) for place, lane in enumerate(self._lanes) if lane is not None and lane.running]

    def _running(self) -> list[_Lane]:
        return [lane for _, lane in self._placed()]

    def _begun(self) -> list[_Lane]:
        """The running trials and those that wait."""
        return [*self._running(), *(lane for lane, _ in self._waiting)]

    def _state(self) -> dict[str, Tensor]:
        return {
            "weights": self._weights,
            "first_moment": self._first_moment,
            "second_moment": self._second_moment,
        }

    def _trials_of_lanes(self) -> list[TrialConfig]:
        """The lanes' trials; a lane that never held one has the settings of the first."""
        return [self._trials[0] if lane is None else lane.trial for lane in self._lanes]

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must agree on with the run that goes on from it."""
        return {
            "trial_ids": [trial.trial_id for trial in self._trials],
            "budgets": [trial.steps for trial in self._trials],
            "measuring": dataclasses.asdict(self._measuring),
        }

    # --- training ------------------------------------------------------------------------------------------------

    def _train(self, steps: int) -> None:
        """So many optimiser updates in every lane, without the host waiting for the device."""
        started = time.perf_counter()
        for places in self._trained_together():
            self._take_steps(places, steps)
        running = self._running()
        for lane in running:
            lane.train_wall_s += (time.perf_counter() - started) / len(running)

    def _trained_together(self) -> list[slice]:
        """The lanes in groups whose steps are batched: all in one, or every running one by itself."""
        if not self._one_by_one:
            return [slice(0, len(self._lanes))]
        return [slice(place, place + 1) for place, _ in self._placed()]

    def _take_steps(self, places: slice, steps: int) -> None:
        """So many optimiser updates in the lanes at these places."""
        running = [lane for lane in self._lanes[places] if lane is not None and lane.running]
        settings = self._settings.of(places)
        penalised = self._penalised(self._lanes[places])
        plain_step = partial(self._step, places, settings, penalised=[])
        while steps:
            few = min(steps, self._ahead.steps)
            self._send_inputs(places, few)
            for step in range(running[0].age, running[0].age + few):  # the lanes' ages agree modulo a block
                if penalised and step % self._trials[0].spectral_every == 0:
                    self._step(places, settings, penalised=penalised)  # a decomposition cannot be captured
                else:
                    self._graph.run(plain_step)
            for lane in running:
                lane.age += few
            steps -= few

    def _penalised(self, lanes: list[_Lane | None]) -> list[int]:
        """Where among these lanes the spectral penalty acts in this block; everywhere, if in all that run.

        To take all is cheaper than to choose, and nobody looks at a free lane.
        """
        running = [row for row, lane in enumerate(lanes) if lane is not None and lane.running]
        acting = [row for row in running if (lane := lanes[row]) is not None and lane.penalised]
        return list(range(len(lanes))) if acting == running else acting

    def _step(self, places: slice, settings: LaneSettings, *, penalised: list[int]) -> None:
        """One optimiser update of these lanes, whose inputs have been sent; see `trainables.graphs`.

        The spectral penalty acts in those of them, counted from the first, that are named.
        """
        weights, batch = self._weights[places], self._ahead.batch
        at = weights + self._ahead.noise.mul_(settings.weight_noise) if self._noisy else weights
        targets = self._targets[places].gather(1, batch)
        inputs = self._inputs[batch if len(self._tables) == 1 else batch + self._first_row[places]]
        gradient = loss_gradient(self._architecture, self._layout, at, inputs, targets)
        if penalised:
            self._add_penalty(gradient, at, settings, penalised)
        moments = self._first_moment[places], self._second_moment[places]
        adamw_step(weights, *moments, gradient, settings, self._ahead.updates)
        self._ahead.next_step()

    def _add_penalty(self, gradient: Tensor, at: Tensor, settings: LaneSettings, lanes: list[int]) -> None:
        """Add the gradient of the spectral penalty at weights [L, P], which has a closed form, in these lanes.

        The others are left out and not added zeros: -0 and +0 are different bits.
        """
        every, floor = self._trials[0].spectral_every, self._trials[0].spectral_floor
        weight = every * settings.penalty_weight
        some, all_lanes = gradient, len(lanes) == len(gradient)
        if not all_lanes:
            lanes = lanes * _FEWEST_LANES if len(lanes) < _FEWEST_LANES else lanes
            some, at, weight = gradient[lanes], at[lanes], weight[lanes]
        add_penalty_gradient(self._layout.parameters(some), self._layout.parameters(at), floor, weight)
        if not all_lanes:
            gradient[lanes] = some

    def _send_inputs(self, places: slice, steps: int) -> None:
        """Batches and noise of so many steps; a free lane repeats the first example, without noise."""
        lanes = self._lanes[places]
        batches = torch.zeros(steps, len(lanes), self._batch_size, dtype=torch.int64)
        noise = torch.zeros(steps, len(lanes), self._layout.weights) if self._noisy else None
        for place, lane in enumerate(lanes):
            if lane is not None and lane.running:
                batches[:, place] = lane.next_batches(steps, self._batch_size)
                for step, of_step in enumerate([] if noise is None else noise):
                    of_step[place].normal_(generator=generator(lane.trial.seed, "noise", lane.age + step))
        self._ahead.send(batches, noise, [0 if lane is None else lane.age for lane in lanes])

    # --- evaluating ----------------------------------------------------------------------------------------------

    def _evaluate_due(self) -> list[Measurement]:
        """Evaluate the trials that are due at their age, measure those that should be, and ask the watch."""
        due = sorted(
            ((place, lane) for place, lane in self._placed() if lane.evaluated[-1] == lane.age),
            key=lambda placed: placed[1].trial_index,
        )
        if not due:
            return []
        started = time.perf_counter()
        outcomes = self._outcomes(due)
        seconds_each = (time.perf_counter() - started) / len(due)
        measurements = []
        for (_, lane), *results in zip(due, *outcomes, strict=True):
            lane.measure_wall_s += seconds_each
            measurements.append(self._report(lane, *results))
        for place, lane in due:
            if lane.running and lane.age == lane.trial.phases[lane.phase][1]:
                lane.exchange()
                self._give_training_set(place, lane)
        return measurements

    @torch.no_grad()
    def _outcomes(self, due: list[tuple[int, _Lane]]) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Losses [N] and answers [N] of each of D lanes, and weights [D, P]: the host's one look at a segment."""
        by_table: dict[int, list[int]] = {}
        for at, (_, lane) in enumerate(due):
            by_table.setdefault(self._table_of(lane), []).append(at)
        losses, answers = dict[int, Tensor](), dict[int, Tensor]()
        together = 1 if self._one_by_one else EVALUATED_LANES
        for table, members in by_table.items():
            inputs = self._inputs[table * self._task.examples :][: self._task.examples]
            for first in range(0, len(members), together):
                some = members[first : first + together]
                places = [due[at][0] for at in some]
                rows = places * _FEWEST_LANES if len(some) < self._fewest_lanes else places
                parameters = self._layout.parameters(self._weights[rows])
                outcomes = evaluate.table_outcomes(self._architecture, parameters, inputs, self._targets[rows])
                # A free lane's copy is left out.
                losses |= zip(some, outcomes[0], strict=False)
                answers |= zip(some, outcomes[1], strict=False)
        in_order = range(len(due))
        return (
            list(torch.stack([losses[at] for at in in_order]).cpu()),
            list(torch.stack([answers[at] for at in in_order]).cpu()),
            self._weights[[place for place, _ in due]].cpu(),
        )

    def _report(self, lane: _Lane, losses: Tensor, answers: Tensor, weights: Tensor) -> Measurement:
        """One lane's measurement, from its rows [N], [N], [P] on the host; ends the trial where that is due."""
        started = time.perf_counter()
        lane.evaluated.pop()
        network = {name: weight.clone() for name, weight in self._layout.parameters(weights).items()}
        scores = evaluate.scores(losses, answers, lane.split)
        of_noise = evaluate.noise_scores(answers, lane.split, lane.task.targets)
        of_group = evaluate.group_scores(answers, lane.split, lane.task.group)
        size = evaluate.size(network)
        finite = math.isfinite(scores.train_loss) and math.isfinite(size.l2_norm)
        measured = finite and (
            lane.age in lane.measured
            or lane.accuracy_moved(scores.val_accuracy)
            or lane.in_tail(scores.val_accuracy, self._grokked_at)
        )
        complexities: tuple[ComplexityMeasurement, ...] = ()
        if measured:
            complexities = evaluate.complexities(
                self._architecture, lane.task, lane.split, network, self._measuring
            )
        lane.measure_wall_s += time.perf_counter() - started
        measurement = Measurement(
            trial_id=lane.trial_id,
            step=lane.age,
            weight_decay=lane.trial.weight_decay,
            data_fraction=lane.trial.data_fraction,
            spectral_entropy_weight=lane.trial.spectral_entropy_weight,
            seed=lane.trial.seed,
            train_loss=scores.train_loss,
            val_loss=scores.val_loss,
            train_accuracy=scores.train_accuracy,
            val_accuracy=scores.val_accuracy,
            clean_train_accuracy=of_noise.clean_train_accuracy,
            corrupted_train_accuracy=of_noise.corrupted_train_accuracy,
            recovered_train_accuracy=of_noise.recovered_train_accuracy,
            group_train_accuracy=of_group.group_train_accuracy,
            group_val_accuracy=of_group.group_val_accuracy,
            complexity_bytes=complexities[0].complexity_bytes if complexities else None,
            description_length_bits=(
                evaluate.description_length_bits(complexities[0], len(lane.split.train)) if complexities else None
            ),
            zstd_bytes=size.zstd_bytes,
            l2_norm=size.l2_norm,
            spectral_entropy=size.spectral_entropy,
            effective_rank=size.effective_rank,
            train_wall_s=lane.train_wall_s,
            measure_wall_s=lane.measure_wall_s,
            phase=lane.phase,
            phase_start_step=lane.phase_start,
            phase_end_step=lane.trial.phases[lane.phase][1],
            complexities=complexities,
            matrices=size.matrices if measured else (),
        )
        lane.history.append(measurement)
        ending = self._ending(lane, finite)
        if ending is None:
            self._start_penalty_at_decline(lane)
            return dataclasses.replace(measurement, network=network if measured else None)
        lane.running = False
        has_started = lane.penalised_from is not None and lane.penalised_from < lane.age
        end = TrialEnd(
            ending=ending,
            bzip2_bytes=bzip2_bytes(network),
            parameters=self._layout.weights,
            training_examples=len(lane.split.train),
            validation_examples=len(lane.split.validation),
            spectral_started_at_step=lane.penalised_from if has_started else None,
        )
        return dataclasses.replace(measurement, network=network, end=end)

    def _start_penalty_at_decline(self, lane: _Lane) -> None:
        waits = lane.trial.spectral_start == AT_DECLINE and lane.penalised_from is None
        if waits and self._declined and self._declined(TrialHistory(lane.trial, tuple(lane.history))):
            lane.penalised_from = whole_blocks(lane.age)

    def _ending(self, lane: _Lane, finite: bool) -> Ending | None:
        """Diverged, what the watch says, or the budget; at the last step a decision to stop comes too late."""
        if not finite:
            return Ending(because="diverged", reason=f"loss or weights were not finite at step {lane.age}")
        ending = self._watch(TrialHistory(lane.trial, tuple(lane.history))) if self._watch else None
        if lane.age == lane.trial.steps and (ending is None or ending.because == "stopped"):
            return Ending(because="budget", reason=f"the budget of {lane.trial.steps} steps was used up")
        return ending


def train(
    trials: Sequence[TrialConfig],
    watch: Watch | None = None,
    *,
    declined: Declined | None = None,
    measuring: MeasuringConfig = MeasuringConfig(),  # noqa: B008 (frozen)
    lanes: int = DEFAULT_LANES,
    device: str = "cpu",
) -> Iterator[Measurement]:
    """Train any trials, one shape after the other, and yield their measurements as they are taken.

    Where memory runs out, a block is trained again with half the lanes, and a warning says so; the watch then sees
    histories it has seen before.

    Args:
        trials: of any shapes; those of one shape train together.
        watch: asked after each evaluated step whether the trial ends there.
        declined: asked, where `spectral_start` is `at_decline`, whether complexity has declined.
        measuring: when to evaluate and at which epsilons to measure.
        lanes: trials trained at once, at most.
        device: a torch device.

    Raises:
        ConfigError: a trial cannot be trained; raised here, before any is.
        OutOfMemory: not even one lane fits; raised from the iterator.
    """
    groups: dict[ShapeKey, list[TrialConfig]] = {}
    for trial in trials:
        groups.setdefault(shape_key(trial), []).append(trial)
    runs = [
        LaneRun(group, measuring=measuring, watch=watch, declined=declined, lanes=lanes, device=device)
        for group in groups.values()
    ]

    def measurements() -> Iterator[Measurement]:
        while runs:
            yield from _next_block(runs[0])
            if runs[0].finished:
                runs.pop(0)

    return measurements()


def _next_block(run: LaneRun) -> list[Measurement]:
    """Train a block; where memory runs out, again with half the lanes, and half of these."""
    before, lanes = run.record(), run.lanes
    while True:
        try:
            if lanes < run.lanes:
                run.go_back(before, lanes)
            return run.advance(1)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # Here the error is gone, and what its traceback held.
        give_memory_back()
        fewer = fewer_lanes(lanes)
        warnings.warn(f"memory ran out with {lanes} lanes; going on with {fewer}", RuntimeWarning, stacklevel=3)
        lanes = fewer


def _check(trials: Sequence[TrialConfig], lanes: int, device: str, declined: Declined | None) -> None:
    if not trials:
        raise ConfigError("a lane run needs at least one trial, got none")
    if lanes < 1:
        raise ConfigError(f"lanes must be at least 1, got {lanes}")
    shapes = {shape_key(trial) for trial in trials}
    if len(shapes) > 1:
        raise ConfigError(
            f"the trials of a lane run must have one shape, got {len(shapes)}: "
            f"{'; '.join(sorted(map(str, shapes)))}; group them by `shape_key`, or use `train`"
        )
    if declined is None and any(trial.spectral_start == AT_DECLINE for trial in trials):
        raise ConfigError(
            f"spectral_start {AT_DECLINE} needs a callable that says whether complexity has declined, got none; "
            "pass declined=..., or give a step"
        )
    _check_device(device)


def _distinct_tables(trials: Sequence[TrialConfig]) -> list[Tensor]:
    """Every table of inputs that a phase of these trials has, each once, that of their task first."""
    tables = [build_task(trials[0].task).inputs]
    for trial in trials:
        for phase in range(1, len(trial.phases)):
            inputs = phase_task(trial, phase).inputs
            if not any(inputs is table or torch.equal(inputs, table) for table in tables):
                tables.append(inputs)
    return tables


def _check_device(device: str) -> None:
    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"device must be a device of torch, got {device!r}; use 'cpu' or 'cuda'") from None
    if wanted.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {device!r} needs a GPU that torch can use, and there is none; use 'cpu'")
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {device!r} must be one of the {torch.cuda.device_count()} GPUs that torch can use; "
            "they are counted from 'cuda:0'"
        )
