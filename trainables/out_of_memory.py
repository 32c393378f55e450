"""What to do when memory runs out: train fewer networks at once."""

from __future__ import annotations

import gc

import torch

from trainables.errors import OutOfMemory

_OF_THE_CPU = ("can't allocate memory", "not enough memory")
"""The messages of torch's CPU allocator, which raises a plain RuntimeError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Check whether an error means that memory ran out, on a GPU or on the host."""
    if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError):
        return any(words in str(error) for words in _OF_THE_CPU)
    return isinstance(error, (torch.OutOfMemoryError, MemoryError))


def fewer_lanes(lanes: int) -> int:
    """Halve the number of lanes.

    Raises:
        OutOfMemory: a single lane was too many.
    """
    if lanes <= 1:
        raise OutOfMemory(
            "memory ran out with a single lane; choose a smaller network, batch or task, or a machine with more "
            "memory (fewer cohorts at once leave more for each)"
        )
    return lanes // 2


def give_memory_back() -> None:
    """Release unreferenced memory; call this after the `except` clause, since a traceback keeps references."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
