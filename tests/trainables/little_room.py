"""Memory that runs out where real code would run out of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

MORE_THAN_THERE_IS = 2**60


def on_a_gpu(*_: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def of_torch(*_: Any) -> None:
    torch.empty(MORE_THAN_THERE_IS, dtype=torch.uint8)


def of_python(*_: Any) -> None:
    bytearray(MORE_THAN_THERE_IS)


class Room:
    """A function that needs room for each lane it is called with, and has little after a number of calls.

    Args:
        real: the function.
        argument: which of its arguments has the lanes: a tensor or a list of them, or tensors by name.
        most: lanes there is room for.
        fail: what happens if there are more.
        calls: calls for which there is room.
    """

    def __init__(
        self, real: Callable[..., Any], argument: int, most: int, fail: Callable[[], None], calls: int
    ) -> None:
        self.real, self.argument, self.most, self.fail, self.calls = real, argument, most, fail, calls

    def __call__(self, *arguments: Any, **more: Any) -> Any:
        given = arguments[self.argument]
        if self.calls <= 0 and len(next(iter(given.values())) if isinstance(given, dict) else given) > self.most:
            self.fail()
        self.calls -= 1
        return self.real(*arguments, **more)
