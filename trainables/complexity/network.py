"""A network as the codec sees it: named floating-point tensors in one fixed order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from trainables.errors import MeasurementError
from trainables.schedule import wrong_epsilons

Network = Mapping[str, Tensor] | nn.Module

#: The dtypes that can be measured; the decoder restores the same dtype.
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def tensors(network: Network) -> dict[str, Tensor]:
    """Return the tensors of a network by name, in its own order, detached.

    A module gives its parameters, tied ones once; buffers are not part of its complexity.

    Raises:
        MeasurementError: nothing to measure, a value that is no tensor in memory, or one whose dtype is not a
            floating-point one.
    """
    named = dict(network.named_parameters()) if isinstance(network, nn.Module) else dict(network)
    if not named:
        raise MeasurementError("a network must have at least one tensor, got none; pass its named parameters")
    for name, tensor in named.items():
        if not isinstance(tensor, Tensor) or isinstance(tensor, UninitializedParameter):
            raise MeasurementError(
                f"every value must be a tensor with values, got {type(tensor).__name__} for {name!r}; "
                "convert arrays, and run a lazy module once"
            )
        if tensor.layout != torch.strided or tensor.device.type == "meta":
            raise MeasurementError(
                f"every tensor must be dense and in memory, got {tensor.layout} on {tensor.device} for {name!r}"
            )
        if tensor.dtype not in DTYPES:
            raise MeasurementError(
                f"every tensor must be float16, bfloat16, float32 or float64, got {tensor.dtype} for {name!r}; "
                "leave it out or convert it"
            )
    return {name: tensor.detach() for name, tensor in named.items()}


def check_measurable(parameters: Mapping[str, Tensor]) -> None:
    """Raise MeasurementError where a tensor has no elements, or a weight is not finite."""
    for name, tensor in parameters.items():
        if tensor.numel() == 0:
            raise MeasurementError(
                f"every tensor must have elements, got shape {tuple(tensor.shape)} for {name!r}; leave it out"
            )
        if not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            raise MeasurementError(
                f"all weights must be finite, got {count} NaN or infinite of {tensor.numel()} in {name!r}; "
                "a diverged network has no complexity"
            )


def check_epsilons(epsilons: Sequence[float]) -> None:
    """Raise MeasurementError unless these are distortion bounds that can be measured, in a list."""
    if isinstance(epsilons, float | int) or not len(epsilons):
        raise MeasurementError(f"epsilons must be a list of bounds in nats, such as [1.0], got {epsilons!r}")
    if (wrong := wrong_epsilons(epsilons)) is not None:
        raise MeasurementError(wrong)


def signature(parameters: Mapping[str, Tensor]) -> bytes:
    """Return names, shapes and dtypes as text, to which a bitstream is bound."""
    return repr(
        [(name, tuple(parameters[name].shape), str(parameters[name].dtype)) for name in sorted(parameters)]
    ).encode()
