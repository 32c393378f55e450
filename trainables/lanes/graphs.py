"""Replaying a step of training as a CUDA graph, where launching its kernels would take longer than running them.

A graph is recorded, not run again: what Python decided while it was captured stays decided, and every tensor is
read and written where it lay then. So a step that shall be captured reads its inputs, the number of the step
included, from tensors that stay where they are, and never asks the device for a value.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

from trainables.out_of_memory import is_out_of_memory

Step = Callable[[], None]
Capture = Callable[[Step], Step]

EAGER_STEPS = 3
"""Run before a step is captured: libraries set themselves up at first use, which a capture does not survive."""


class StepGraph:
    """Runs a step, by and by as a replay of its capture; what it does is the same.

    Args:
        capture: makes a replay of a step without running it; None: the step is always run as it is.
    """

    def __init__(self, capture: Capture | None) -> None:
        self._capture = capture
        self._eager_steps = 0
        self._replay: Step | None = None

    def run(self, step: Step) -> None:
        """One step; always the same one, until `forget` is called."""
        if self._capture is not None and self._replay is None and self._eager_steps == EAGER_STEPS:
            self._replay = self._captured(self._capture, step)
        if self._replay is not None:
            self._replay()
            return
        step()
        self._eager_steps += 1

    def _captured(self, capture: Capture, step: Step) -> Step | None:
        """A replay, or None from now on where a library of this machine does something no graph can hold."""
        try:
            return capture(step)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self._capture = None
            warnings.warn(f"steps run one by one, for no graph holds them: {error}", RuntimeWarning, stacklevel=2)
            return None

    def forget(self) -> None:
        """What the step reads or writes lies elsewhere from now on: capture it anew."""
        self._eager_steps = 0
        self._replay = None


def capture_of(device: torch.device) -> Capture | None:
    """How steps are captured on a device: as CUDA graphs on a GPU, elsewhere not at all."""
    return _cuda_graph if device.type == "cuda" else None


def _cuda_graph(step: Step) -> Step:
    """The step's memory belongs to the graph from now on; that of the eager steps is given back first."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay
