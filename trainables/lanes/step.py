"""Training steps: one optimiser update in every lane, without the host waiting for the device.

Read `Stepper.train` first, and then `Stepper._step`, which is the step itself.
"""

from __future__ import annotations

import time
from functools import partial

import torch
from torch import Tensor

from trainables.lanes.device import DeviceLanes
from trainables.lanes.gradient import loss_gradient
from trainables.lanes.graphs import StepGraph, capture_of
from trainables.lanes.optimiser import LaneSettings, adamw_step
from trainables.lanes.shape import FEWEST_BATCHED_LANES, Shape
from trainables.lanes.step_inputs import StepInputs
from trainables.random import generator
from trainables.spectral import add_penalty_gradient


class Stepper:
    """Takes training steps in the lanes.

    A step adds noise to the weights if the shape has it, computes the gradient of each lane's loss on its own
    batch, adds the gradient of the spectral penalty where it acts, and updates weights and moments.

    The host decides the batches and draws the noise, and sends them ahead of the steps; so a step reads nothing but
    tensors on the device and can be captured as a graph.

    Args:
        shape: common to the trials.
        lanes: the lanes to train.
    """

    def __init__(self, shape: Shape, lanes: DeviceLanes) -> None:
        self._shape, self._lanes = shape, lanes
        self._graph = StepGraph(capture_of(shape.device))
        self._ahead: StepInputs | None = None

    def allocate(self) -> None:
        """Make room for what a step reads, as the lanes are now; call it whenever their tensors have moved."""
        together = 1 if self._shape.one_by_one else len(self._lanes)
        noise_weights = self._shape.layout.weights if self._shape.noisy else 0
        self._ahead = StepInputs(together, self._shape.batch_size, noise_weights, self._shape.device)
        self._graph.forget()

    def release(self) -> None:
        """Let go of what `allocate` made, and of the captured step with its memory."""
        self._ahead = None
        self._graph.forget()

    def train(self, steps: int) -> None:
        """Take `steps` steps in every lane, none of which may cross a block boundary."""
        # On a GPU this is the time that it takes to queue the steps; the wait for them falls into the evaluation.
        started = time.perf_counter()
        for places in self._trained_together():
            self._take_steps(places, steps)
        running = self._lanes.running()
        for lane in running:
            lane.train_wall_s += (time.perf_counter() - started) / len(running)

    def _trained_together(self) -> list[slice]:
        """Group the lanes whose steps are batched: all in one group, or every running one by itself."""
        if not self._shape.one_by_one:
            return [slice(0, len(self._lanes))]
        return [slice(place, place + 1) for place, _ in self._lanes.placed()]

    def _take_steps(self, places: slice, steps: int) -> None:
        """Take `steps` steps in the lanes at these places, in portions whose inputs are held at once."""
        running = [lane for lane in self._lanes[places] if lane is not None and lane.running]
        settings = self._lanes.settings.of(places)
        penalised = self._penalised(places)
        inputs = self._inputs
        # A capture keeps the tensors that it was made with; these arguments are views of the same ones at each
        # call.
        plain_step = partial(self._step, places, settings, inputs, penalised=[])
        while steps:
            portion = min(steps, inputs.steps)
            self._send_inputs(places, portion)
            # Trials begin at block boundaries: their ages agree modulo a block, and so do the penalty's steps.
            for step in range(running[0].age, running[0].age + portion):
                if penalised and step % self._shape.spectral_every == 0:
                    # Run as it is: no graph can hold the decomposition of a matrix.
                    self._step(places, settings, inputs, penalised=penalised)
                else:
                    self._graph.run(plain_step)
            for lane in running:
                lane.age += portion
            steps -= portion

    def _penalised(self, places: slice) -> list[int]:
        """Say in which of these lanes the spectral penalty acts in this block, as rows counted from the first.

        If it acts in all that run, these are all rows: taking all is cheaper than choosing, and the fate of a
        free lane does not matter.
        """
        running = [(row, lane) for row, lane in enumerate(self._lanes[places]) if lane is not None and lane.running]
        acting = [row for row, lane in running if lane.is_penalised]
        return list(range(len(self._lanes[places]))) if len(acting) == len(running) else acting

    def _step(self, places: slice, settings: LaneSettings, ahead: StepInputs, *, penalised: list[int]) -> None:
        """Take one step in the lanes at these places, whose inputs have been sent.

        Nothing here may read a value back from the device, since it may be captured (`trainables.lanes.graphs`).

        Args:
            places: the lanes, L of them.
            settings: theirs.
            ahead: what the host has sent.
            penalised: rows of these lanes in which the spectral penalty acts.
        """
        lanes = self._lanes
        weights, batch = lanes.weights[places], ahead.batch
        # The gradient is taken at the noisy weights, and moves those without noise.
        at = weights + ahead.noise.mul_(settings.weight_noise) if self._shape.noisy else weights
        # Labels are a lane's own, because they may be noisy; inputs are common to all lanes of a table.
        targets = lanes.targets[places].gather(1, batch)
        inputs = lanes.inputs[batch + lanes.first_row[places] if lanes.several_tables else batch]
        gradient = loss_gradient(self._shape.architecture, self._shape.layout, at, inputs, targets)
        if penalised:
            add_penalty(self._shape, gradient, at, settings, penalised)
        moments = lanes.first_moment[places], lanes.second_moment[places]
        adamw_step(weights, *moments, gradient, settings, ahead.updates)
        ahead.next_step()

    def _send_inputs(self, places: slice, steps: int) -> None:
        """Send batches and noise of the next `steps` steps; a free lane gets the first example, without noise."""
        lanes = self._lanes[places]
        batches = torch.zeros(steps, len(lanes), self._shape.batch_size, dtype=torch.int64)
        noise = torch.zeros(steps, len(lanes), self._shape.layout.weights) if self._shape.noisy else None
        for row, lane in enumerate(lanes):
            # A free lane is computed like the others and its result never read, so anything valid will do.
            if lane is None or not lane.running:
                continue
            batches[:, row] = lane.next_batches(steps, self._shape.batch_size)
            for step, noise_of_step in enumerate([] if noise is None else noise):
                # A stream for every step, so that a trial which is restored draws what it would have drawn.
                noise_of_step[row].normal_(generator=generator(lane.trial.seed, "noise", lane.age + step))
        self._inputs.send(batches, noise, [0 if lane is None else lane.age for lane in lanes])

    @property
    def _inputs(self) -> StepInputs:
        assert self._ahead is not None, "allocate comes before train"
        return self._ahead


def add_penalty(shape: Shape, gradient: Tensor, at: Tensor, settings: LaneSettings, rows: list[int]) -> None:
    """Add the gradient of the spectral penalty, which has a closed form, in some of L lanes.

    The penalty acts every `spectral_every` steps, multiplied by that number. The other lanes are left out rather
    than given a penalty of zero: adding +0 to -0 changes the bits, and zero times an infinite slope is NaN.

    Args:
        shape: of the lanes.
        gradient: [L, P], changed in place.
        at: the weights at which the gradient is taken, [L, P].
        settings: of the lanes.
        rows: the lanes in which the penalty acts.
    """
    floor, weight = shape.spectral_floor, shape.spectral_every * settings.penalty_weight
    some, all_lanes = gradient, len(rows) == len(gradient)
    if not all_lanes:
        # A lane alone is taken twice, since a batch of one has other bits.
        rows = rows * FEWEST_BATCHED_LANES if len(rows) < FEWEST_BATCHED_LANES else rows
        some, at, weight = gradient[rows], at[rows], weight[rows]
    add_penalty_gradient(shape.layout.parameters(some), shape.layout.parameters(at), floor, weight)
    if not all_lanes:
        gradient[rows] = some
