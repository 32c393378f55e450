"""Trials small enough for tests of the training loop."""

from __future__ import annotations

from typing import Any

import torch

from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.lanes.device import DeviceLanes
from trainables.lanes.queue import TrialQueue
from trainables.lanes.shape import Shape
from trainables.schedule import MeasuringConfig

RARELY = MeasuringConfig(measure_ratio=1e6)
"""Complexity at the first and last step, and where accuracy moves."""


def trial(**values: Any) -> TrialConfig:
    defaults = {"task": TaskConfig(modulus=11), "model": ModelConfig(width=8, heads=2), "batch_size": 17}
    return TrialConfig(**{**defaults, "data_fraction": 0.4, "steps": 40, **values})


def shape_of(trials: list[TrialConfig]) -> Shape:
    return Shape.of(trials[0], torch.device("cpu"))


def placed(trials: list[TrialConfig], width: int) -> tuple[Shape, DeviceLanes]:
    """The shape of trials, and their lanes, W in all."""
    shape = shape_of(trials)
    lanes, queue = DeviceLanes(shape, trials), TrialQueue(trials, shape, RARELY)
    lanes.allocate(width)
    for place in range(len(trials)):
        lanes.place(place, *queue.pop())
    lanes.take_settings()
    return shape, lanes
