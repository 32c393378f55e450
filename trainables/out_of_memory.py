"""What to do when memory runs out: train fewer networks at once."""

from __future__ import annotations

import gc

import torch

from trainables.errors import OutOfMemory

_OF_THE_CPU = ("can't allocate memory", "not enough memory")
"""How torch's allocator for the CPU says it, in a plain RuntimeError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the host."""
    if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError):
        return any(words in str(error) for words in _OF_THE_CPU)
    return isinstance(error, (torch.OutOfMemoryError, MemoryError))


def fewer_lanes(lanes: int) -> int:
    """Half as many.

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
    """Let go of what nothing refers to any more; of an error's traceback only after its `except` clause."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
