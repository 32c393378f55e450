"""A module with other weights: how it is run, and what of it is run where it is only a wrapper."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from trainables.errors import MeasurementError


class NotByName(Exception):
    """Raised where a loss uses its argument as a network, and not as tensors by name."""


class ByName(dict[str, Tensor]):
    """Tensors by name; raises `NotByName` when it is called, or asked for what only a module has.

    So a loss of named tensors and a loss of a network are told apart by what they do, not by guessing.
    """

    def __call__(self, *_: object, **__: object) -> NoReturn:
        """Raise: named tensors cannot be called."""
        raise NotByName

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor; raise `NotByName` for what is no name, such as the number of a part."""
        if not isinstance(name, str):
            raise NotByName(name)
        return super().__getitem__(name)

    def __getattr__(self, name: str) -> NoReturn:
        """Raise: named tensors have no such attribute."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotByName(name)


def unwrapped(module: nn.Module) -> tuple[nn.Module, str]:
    """Return the module that a wrapper runs, and the prefix of its parameters' names within the wrapper.

    `DataParallel`, `DistributedDataParallel` and modules from `torch.compile` are wrappers.

    Raises:
        MeasurementError: a scripted or traced module, which cannot be run with other weights.
    """
    prefix = ""
    while True:
        if isinstance(module, torch.jit.ScriptModule):
            raise MeasurementError(
                f"a network must be a module whose weights can be replaced, got {type(module).__name__} of "
                "torch.jit; pass the module it was scripted or traced from"
            )
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            module, prefix = module.module, f"{prefix}module."
        elif isinstance(inner := getattr(module, "_orig_mod", None), nn.Module):
            module, prefix = inner, f"{prefix}_orig_mod."
        else:
            return module, prefix


class _Run(nn.Module):
    """Runs a function of a module, so that torch can replace the module's weights meanwhile."""

    def __init__(self, module: nn.Module, function: Callable[[nn.Module], Any]) -> None:
        super().__init__()
        self.inside = module
        self._function = function

    def forward(self) -> Any:
        """Return what the function returns."""
        return self._function(self.inside)


def run_with(module: nn.Module, parameters: Mapping[str, Tensor], function: Callable[[nn.Module], Any]) -> Any:
    """Run a function of a module in evaluation mode, with these parameters and its own buffers.

    Args:
        module: the network, or a wrapper of it; left as it was.
        parameters: name -> tensor, names as in the module given.
        function: called with the network inside all wrappers.
    """
    inner, prefix = unwrapped(module)
    named = {f"inside.{name.removeprefix(prefix)}": tensor for name, tensor in parameters.items()}
    with evaluating(inner):
        return torch.func.functional_call(_Run(inner, function), named, ())


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Switch dropout off and use running statistics as they are; restore every part's mode afterwards."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def complete_state(module: nn.Module, decoded: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return a state dictionary for `load_state_dict`: decoded parameters, also under the names that share them.

    Buffers and further state, which no stream holds, are the module's own.

    Args:
        module: the module that the parameters were decoded for.
        decoded: name -> tensor, for every parameter, tied ones once.
    """
    first_name: dict[int, str] = {id(tensor): name for name, tensor in module.named_parameters()}
    every_name = dict(module.named_parameters(remove_duplicate=False))
    state: dict[str, Any] = {}
    for key, value in module.state_dict().items():
        if key in every_name:
            state[key] = decoded[first_name[id(every_name[key])]]
        else:
            state[key] = value.clone() if isinstance(value, Tensor) else value
    return {**state, **{name: tensor for name, tensor in decoded.items() if name not in state}}
