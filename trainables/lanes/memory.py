"""Memory of a lane run: how much it takes, to bound the number of lanes beforehand, and what is kept for reuse.

The estimates are upper bounds, up to a factor of 5 too large: `benchmarks/memory.py` compares them with what
processes take on a CPU. For a GPU they follow from the same counts.
"""

from __future__ import annotations

import ctypes
import math
import sys

import torch

from trainables.architectures import architecture_of
from trainables.complexity.objective import CHUNK_EXAMPLES
from trainables.config import TrialConfig
from trainables.lanes.evaluate import EVALUATED_LANES
from trainables.lanes.shape import effective_batch_size
from trainables.lanes.step_inputs import held_steps
from trainables.tasks import build_task
from trainables.tasks.split import training_size

PROCESS_BYTES = 300 * 2**20
"""Memory of a process before it trains anything: Python and its libraries."""

_FIRST_USE_BYTES = 96 * 2**20
"""Memory that libraries take for themselves on the host when they are first used."""
_FLOAT_BYTES = 4
_COPIES_OF_WEIGHTS = 9
"""Weights, two moments, gradient and its parts, temporaries of the step, copies for evaluating and for reports."""
_COPIES_WITH_PENALTY = 6
"""Stacked matrices, their products and gradients; Gram matrices and eigenvectors are no larger."""
_COPIES_WITH_NOISE = 2
"""The noise of a step, and the weights with it."""
_BACKWARD = 2.0
"""Memory at the height of a step, in units of what forward keeps for backward."""

# Names of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 1 << 30


def run_bytes(trial: TrialConfig, lanes: int, device: str = "cpu") -> int:
    """Estimate from above the bytes that a lane run of a trial's shape takes on its device.

    Args:
        trial: one of the shape.
        lanes: trials trained at once.
        device: `cpu`, where the process takes `PROCESS_BYTES` besides, or `cuda`.

    Raises:
        ConfigError: the trial cannot be trained.
    """
    task, batch_size = build_task(trial.task), effective_batch_size(trial)
    on_cpu = device == "cpu"
    architecture = architecture_of(task, trial.model)
    # A gradient that is written by hand is taken for one lane after the other, so what forward keeps for backward
    # is that of one lane.
    together = lanes if architecture.by_hand(batch_size, torch.device(device)) is None else 1
    weights = sum(math.prod(shape) for shape in architecture.shapes.values())
    copies = _COPIES_OF_WEIGHTS
    copies += _COPIES_WITH_PENALTY if trial.spectral_entropy_weight > 0 else 0
    copies += _COPIES_WITH_NOISE if trial.weight_noise > 0 else 0
    noise = together * weights * held_steps(together * weights) if trial.weight_noise > 0 else 0

    kept = architecture.kept_floats()
    training = _BACKWARD * kept * batch_size * together
    evaluating = kept * min(CHUNK_EXAMPLES, task.examples) * min(together, EVALUATED_LANES)
    # Complexity is measured on the CPU, one network at a time and on its whole training set.
    measuring = _BACKWARD * kept * training_size(task.examples, trial.data_fraction)
    # A GPU's graph keeps the memory of a step for itself.
    at_once = max(training, evaluating, measuring) if on_cpu else training + evaluating
    # Targets, outcomes, the split and its permutations; the inputs of each phase, tokens as large as two floats.
    tables = lanes * 14 * task.examples + 2 * len(trial.phases) * task.inputs.numel()
    floats = lanes * copies * weights + noise + at_once + tables
    return (_FIRST_USE_BYTES if on_cpu else 0) + round(_FLOAT_BYTES * floats)


def lanes_within(trial: TrialConfig, memory_bytes: float, device: str = "cpu") -> int:
    """Return the most lanes of a trial's shape that are sure to fit, 0 if not even one is.

    Raises:
        ConfigError: the trial cannot be trained.
    """
    # Doubling finds the order of magnitude in few estimates, and bisection the number itself.
    fits, too_many = 0, 1
    while run_bytes(trial, too_many, device) <= memory_bytes:
        fits, too_many = too_many, 2 * too_many
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        fits, too_many = (middle, too_many) if run_bytes(trial, middle, device) <= memory_bytes else (fits, middle)
    return fits


def keep_freed_memory() -> None:
    """Let the process keep up to a gigabyte of freed memory for its next allocations; glibc only, else nothing.

    By default a block of some megabytes goes back to the system as soon as it is free, and each page of the next
    one of that size costs a page fault: several hundred in every step.
    """
    # The process itself as a library: other C libraries than glibc, such as musl, have no mallopt.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
