"""Replay a training step as a CUDA graph, where launching its kernels would take longer than running them.

A replay repeats the recorded kernels and runs no Python: what Python decided while the step was captured stays
decided, and every tensor is read and written where it lay then. So a step that is captured must read its inputs,
the number of the step included, from tensors that never move, and must not ask the device for a value.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

from trainables.out_of_memory import is_out_of_memory

Step = Callable[[], None]
Capture = Callable[[Step], Step]

EAGER_STEPS = 3
"""Steps run before one is captured: libraries set themselves up at first use, which breaks a capture."""


class StepGraph:
    """Runs a step: the first `EAGER_STEPS` times directly, then by replaying its capture, which does the same.

    Args:
        capture: makes a replay of a step without running it; with None the step is never captured.
    """

    def __init__(self, capture: Capture | None) -> None:
        self._capture = capture
        self._eager_steps = 0
        self._replay: Step | None = None

    def run(self, step: Step) -> None:
        """Run the step once; it must be the same one at each call until `forget` is called."""
        if self._capture is not None and self._replay is None and self._eager_steps == EAGER_STEPS:
            self._replay = self._captured(self._capture, step)
        if self._replay is not None:
            self._replay()
            return
        step()
        self._eager_steps += 1

    def _captured(self, capture: Capture, step: Step) -> Step | None:
        """Capture the step; return None, and try no more, where a library does what no graph can hold."""
        try:
            return capture(step)
        except RuntimeError as error:
            # This says nothing about graphs: with fewer lanes the capture may succeed
            # (`trainables.lanes.training`).
            if is_out_of_memory(error):
                raise
            self._capture = None
            warnings.warn(f"steps run one by one, for no graph holds them: {error}", RuntimeWarning, stacklevel=2)
            return None

    def forget(self) -> None:
        """Drop the capture, because what the step reads or writes has moved; it is captured anew later."""
        self._eager_steps = 0
        self._replay = None


def capture_of(device: torch.device) -> Capture | None:
    """Return how steps are captured on a device: as CUDA graphs on a GPU, elsewhere not at all."""
    return _cuda_graph if device.type == "cuda" else None


def _cuda_graph(step: Step) -> Step:
    """Capture a step as a CUDA graph, to which the step's memory belongs from now on."""
    # Capturing records the step without running it, so the first replay is the step that was asked for.
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay
