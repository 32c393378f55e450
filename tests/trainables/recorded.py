"""What a CUDA graph does, on a CPU: a step's operations recorded with the memory they read and write, and repeated.

As with a graph, Python does not run again, and results are written to where they were when they were recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []
        self.before: list[tuple[Tensor, Tensor]] = []
        self._own: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [tensor for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)]
        for place, argument in enumerate(function._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                value = args[place] if place < len(args) else kwargs.get(argument.name)
                for tensor in tree_leaves(value):
                    if isinstance(tensor, Tensor) and _memory(tensor) not in self._own:
                        self.before.append((tensor, tensor.clone()))
        result = function(*args, **kwargs)
        outputs = [tensor for tensor in tree_leaves(result) if isinstance(tensor, Tensor)]
        self._own |= {_memory(tensor) for tensor in outputs} - {_memory(tensor) for tensor in given}
        self.operations.append((function, args, kwargs, outputs))
        return result


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def capture_by_recording(step: Callable[[], None]) -> Callable[[], None]:
    """A replay of a step, which has had no effect when this returns."""
    recorder = _Recorder()
    with recorder:
        step()
    for tensor, before in reversed(recorder.before):
        tensor.copy_(before)

    @torch.no_grad()
    def replay() -> None:
        for function, args, kwargs, outputs in recorder.operations:
            again = [tensor for tensor in tree_leaves(function(*args, **kwargs)) if isinstance(tensor, Tensor)]
            for tensor, result in zip(outputs, again, strict=True):
                if tensor.data_ptr() != result.data_ptr():
                    tensor.copy_(result)

    return replay
