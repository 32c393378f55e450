"""The training loop: many trials of one shape as one batched model, each in a lane of its own.

Read `LaneRun.advance` first. The parts it calls have modules of their own: the trials without a lane are in
`queue`, the lanes and their tensors in `device`, the training step in `step`, and evaluation in `evaluate`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainables.config import AT_DECLINE, TrialConfig
from trainables.errors import CheckpointError, ConfigError
from trainables.lanes import checkpoint
from trainables.lanes.company import dependent_computations, independent_of_company, is_own
from trainables.lanes.device import DeviceLanes
from trainables.lanes.evaluate import Evaluator
from trainables.lanes.lane import Lane
from trainables.lanes.memory import keep_freed_memory
from trainables.lanes.queue import TrialQueue
from trainables.lanes.shape import Shape, State, shape_key
from trainables.lanes.step import Stepper
from trainables.measurement import Declined, Measurement, Parking, TrialHistory, Watch
from trainables.numerics.computing import THREADS, settled_torch
from trainables.numerics.environment import HERE, NOT_REPRODUCIBLE, Verdict, weakest
from trainables.numerics.reference import kernels_digest, reproducible_here
from trainables.schedule import BLOCK_STEPS, MeasuringConfig
from trainables.tasks import build_task

DEFAULT_LANES = 8


@dataclass(frozen=True, slots=True)
class Counts:
    """Trials of a lane run by state; their sum is the number of trials."""

    done: int
    running: int
    queued: int
    """Not begun, or parked."""


class LaneRun:
    """Trains a queue of trials of one shape, several at a time, in blocks of `BLOCK_STEPS` steps.

    A trial's measurements do not depend on which others it shares the run with, to the last bit where
    `dependent_computations` is empty (`train_wall_s`, `measure_wall_s` and the `wall_s` of complexities excepted).
    All is computed with one CPU thread, whatever torch is set to outside (`trainables.numerics.computing`).

    Args:
        trials: the queue; all of one `shape_key`.
        measuring: when to evaluate and at which epsilons to measure.
        watch: asked after each evaluated step whether the trial ends there.
        declined: asked, where `spectral_start` is `at_decline`, whether complexity has declined.
        parking: asked which trials wait with their state and which continue; None parks none.
        lanes: trials trained at once, at most.
        device: a torch device, e.g. `cpu` or `cuda`.

    Raises:
        ConfigError: trials of several shapes, no trials, no lanes, a device that is not there, an epsilon that a
            network which has learnt nothing would satisfy, or `at_decline` without a `declined` to ask.
    """

    @settled_torch()
    def __init__(
        self,
        trials: Sequence[TrialConfig],
        *,
        measuring: MeasuringConfig = MeasuringConfig(),  # noqa: B008 (frozen)
        watch: Watch | None = None,
        declined: Declined | None = None,
        parking: Parking | None = None,
        lanes: int = DEFAULT_LANES,
        device: str = "cpu",
    ) -> None:
        _check(trials, lanes, device, declined)
        self._trials = tuple(trials)
        self._parking = parking
        self._measuring = measuring
        self._wanted_lanes = lanes
        keep_freed_memory()

        measuring.check_classes(build_task(trials[0].task).classes)
        self._penalised = trials[0].spectral_entropy_weight > 0
        shape = Shape.of(trials[0], torch.device(device))
        self._shape = shape = independent_of_company(shape, penalised=self._penalised)
        self._earlier: dict[str, Verdict] = {}
        self._threads = THREADS
        self._queue = TrialQueue(self._trials, shape, measuring)
        self._lanes = DeviceLanes(shape, self._trials)
        self._stepper = Stepper(shape, self._lanes)
        self._evaluator = Evaluator(shape, self._lanes, measuring, watch, declined)
        self._allocate()

    # --- what is asked from outside ------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether every trial has ended."""
        return not self._queue and not self._queue.parked and not self._lanes.running()

    @property
    def counts(self) -> Counts:
        """Trials done, running and queued."""
        running, queued = len(self._begun()), self._queue.not_begun + len(self._queue.parked)
        return Counts(len(self._trials) - running - queued, running, queued)

    @property
    def ages(self) -> dict[str, int]:
        """Trial id -> steps done, of the trials that have begun and not ended, parked ones included."""
        parked = (lane for lane, _ in self._queue.parked)
        return {lane.trial.trial_id: lane.age for lane in (*self._begun(), *parked)}

    @property
    def remaining_steps(self) -> int:
        """Steps left in the budgets of the trials that run or have not begun; a parked one may never continue."""
        begun = sum(lane.trial.steps - lane.age for lane in self._begun())
        return begun + sum(trial.steps for trial in self._trials[self._queue.next_trial :])

    @property
    def lanes(self) -> int:
        """Trials trained at once: as many as asked for, or as there is use for."""
        return min(self._wanted_lanes, len(self._lanes))

    def _begun(self) -> list[Lane]:
        """Return the trials that are running: those in lanes, then those that wait for one after a restart."""
        return [*self._lanes.running(), *(lane for lane, _ in self._queue.waiting)]

    @property
    def device(self) -> torch.device:
        """The device of the lanes."""
        return self._shape.device

    @functools.cached_property
    def dependent_computations(self) -> tuple[str, ...]:
        """The computations of this run whose bits depend on company here; see `trainables.lanes.company`."""
        lanes = min(self._wanted_lanes, len(self._trials))
        return dependent_computations(self._shape, penalised=self._penalised, lanes=lanes)

    @property
    def threads(self) -> int:
        """The most CPU threads that torch was left with by a block: 1, unless user-supplied code sets more."""
        return self._threads

    def verdict(self, trial_id: str) -> Verdict:
        """Say what holds for the bits of a trial: the weakest of what held whenever it was trained."""
        if self.dependent_computations or self._threads != THREADS:
            return NOT_REPRODUCIBLE
        # A user-supplied network may use operations whose bits are not certified.
        now = HERE if is_own(self._shape) else reproducible_here()
        return weakest(now, self._earlier.get(trial_id, now))

    # --- training ------------------------------------------------------------------------------------------------

    @settled_torch()
    def advance(self, blocks: int) -> list[Measurement]:
        """Train all lanes for `blocks` blocks; return the measurements in the order in which they were taken.

        At the beginning of each block free lanes are refilled, and trials that begin are evaluated at step 0. Then
        all lanes are trained up to the next step at which some trial is due, and the trials due there are
        evaluated. This is repeated until the block is over or no trial is running. Trials that are to wait are
        parked at the end of their block. They end once nothing is left to train.
        """
        measurements: list[Measurement] = []
        for _ in range(blocks):
            self._refill()
            if not self._lanes.running():
                return measurements + self._give_up()
            measurements += self._evaluate()
            steps_left = BLOCK_STEPS
            while steps_left and (running := self._lanes.running()):
                steps = min(steps_left, *(lane.steps_to_evaluation for lane in running))
                self._train(steps)
                measurements += self._evaluate()
                steps_left -= steps
            self._park()
        self._threads = max(self._threads, torch.get_num_threads())
        return measurements

    def _refill(self) -> None:
        """Put waiting trials into free lanes, then parked ones that may continue, and give up lanes that stay free.

        Parked trials may be more than the lanes that are left; then there are as many lanes again as at first.
        """
        free = self._lanes.free()
        for place in free[: len(self._queue)]:
            self._lanes.place(place, *self._queue.pop())
        if self._resume_parked() or free:
            if self._lanes.compact():
                self._stepper.allocate()
            self._lanes.take_settings()

    def _resume_parked(self) -> bool:
        """Put parked trials that may continue into free lanes; return whether there was one."""
        resumed = False
        while self._parking is not None and self._queue.parked and not self._queue:
            free = self._lanes.free()
            if not free and len(self._lanes) >= self._wanted_lanes:
                break
            parked = [_history(lane) for lane, _ in self._queue.parked]
            chosen = self._parking.resumes(parked, [lane.trial for lane in self._lanes.running()])
            if chosen is None:
                break
            if not free:
                self._lanes.widen(min(self._wanted_lanes, len(self._lanes) + len(self._queue.parked)))
                self._stepper.allocate()
                free = self._lanes.free()
            self._lanes.place(free[0], *self._queue.parked.pop(chosen))
            resumed = True
        return resumed

    def _park(self) -> None:
        """Take trials that are to wait out of their lanes, at the end of a block in which they were evaluated."""
        if self._parking is None:
            return
        for place, lane in self._lanes.placed():
            now = lane.age % BLOCK_STEPS == 0 and lane.history[-1].step == lane.age
            if now and self._parking.parks(_history(lane)):
                self._queue.parked.append((lane, self._lanes.take_out(place)))

    def _give_up(self) -> list[Measurement]:
        """End the parked trials, since nothing is left that could let them continue."""
        if self._parking is None:
            return []
        ended = self._queue.give_up()
        return [
            self._evaluator.end_of_parked(lane, state["weights"], self._parking.ending(_history(lane)))
            for lane, state in ended
        ]

    def _train(self, steps: int) -> None:
        """Take `steps` steps in every lane."""
        self._stepper.train(steps)

    def _evaluate(self) -> list[Measurement]:
        """Evaluate the trials that are due; exchange the training sets of those whose phase ends here."""
        measurements = self._evaluator.evaluate_due()
        for place, lane in self._lanes.placed():
            if lane.is_at_phase_end:
                lane.exchange()
                self._lanes.give_training_set(place, lane)
        return measurements

    def _allocate(self) -> None:
        """Make as many lanes as there is use for, all free."""
        self._lanes.allocate(min(self._wanted_lanes, len(self._trials)))
        self._stepper.allocate()

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def record(self) -> checkpoint.RunRecord:
        """Copy the state between two calls of `advance` to the host."""
        queue = self._queue
        waiting = [state for _, state in (*queue.waiting, *queue.parked, *queue.given_up)]
        begun = [*self._begun(), *(lane for lane, _ in (*queue.parked, *queue.given_up))]
        return checkpoint.RunRecord(
            trial_ids=[trial.trial_id for trial in self._trials],
            budgets=[trial.steps for trial in self._trials],
            measuring=dataclasses.asdict(self._measuring),
            lanes=self._wanted_lanes,
            next_trial=queue.next_trial,
            running=[lane.record() for lane in self._begun()],
            parked=[lane.record() for lane, _ in queue.parked],
            given_up=[lane.record() for lane, _ in queue.given_up],
            parking={} if self._parking is None else self._parking.record(),
            tensors={
                name: torch.cat([rows, *(state[name][None] for state in waiting)])
                for name, rows in self._lanes.states().items()
            },
            verdicts={lane.trial.trial_id: self.verdict(lane.trial.trial_id) for lane in begun},
            kernels=kernels_digest(),
        )

    @settled_torch()
    def go_back(self, record: checkpoint.RunRecord, lanes: int) -> None:
        """Restore the recorded state with `lanes` lanes; trials without a lane wait for one."""
        self._wanted_lanes = lanes
        self._queue.go_back(record)
        self._earlier = checkpoint.verdicts_of(record)
        if self._parking is None:
            self._queue.wait_for_lanes()
        else:
            checkpoint.restore_parking(self._parking, record)
        # Let go of everything first: there may be no room for the old tensors beside the new ones.
        self._stepper.release()
        self._lanes.release()
        self._allocate()

    @settled_torch()
    def adopt(self, saved: Sequence[bytes]) -> tuple[list[Measurement], dict[str, str]]:
        """Continue the first trials of the queue where other runs have parked them, before anything is trained.

        The other runs may have had another budget and another rule. A trial whose checkpoint cannot be read, does
        not hold it, or is of another way of measuring begins anew.

        Args:
            saved: for each of the first trials of the queue, what `save` returned to the run that parked it.

        Returns:
            What has been measured of the trials that continue, and trial id -> why it begins anew.
        """
        read = functools.cache(checkpoint.decode)  # one checkpoint holds many trials
        states: list[tuple[checkpoint.LaneRecord, State] | None] = []
        anew: dict[str, str] = {}
        for data, trial in zip(saved, self._trials, strict=False):
            try:
                record = read(data)
                state = checkpoint.state_of(record, trial, self._measuring, self._shape.layout.weights)
                self._earlier[trial.trial_id] = checkpoint.verdicts_of(record)[trial.trial_id]
                states.append(state)
            except CheckpointError as error:
                anew[trial.trial_id] = str(error).partition(";")[0]
                states.append(None)
        return [row for lane in self._queue.adopt(states) for row in lane.history], anew

    def save(self) -> bytes:
        """Write the state between two calls of `advance` as safetensors bytes."""
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
        parking: Parking | None = None,
        lanes: int | None = None,
        device: str = "cpu",
    ) -> LaneRun:
        """Continue where `save` was called; on a CPU with the bits of an uninterrupted run.

        There are as many lanes as before unless `lanes` says otherwise.

        Raises:
            CheckpointTooNew: a later version of the package wrote the bytes.
            CheckpointError: the bytes are damaged, or were saved with other trials or another way of measuring.
            ConfigError: as for a new run.
        """
        record = checkpoint.decode(data)
        run = cls(
            trials,
            measuring=measuring,
            watch=watch,
            declined=declined,
            parking=parking,
            lanes=1 if lanes is None else lanes,  # those of the checkpoint once it is known to be sound
            device=device,
        )
        checkpoint.check_belongs(record, trials, dataclasses.asdict(measuring), run._shape.layout.weights)
        run.go_back(record, record.lanes if lanes is None else lanes)
        return run


def _history(lane: Lane) -> TrialHistory:
    return TrialHistory(lane.trial, tuple(lane.history))


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
