"""What a network is measured against: every form of the arguments as one function from tensors to losses [n]."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from trainables.complexity.network import Network
from trainables.errors import MeasurementError

Loss = Callable[[Mapping[str, Tensor]], Tensor]

#: Two evaluations of one network may differ by this share of 1 + loss; more is another loss each time.
DETERMINISM = 1e-6

#: Examples that a module is run on at once, so that memory does not grow with the training set.
CHUNK_EXAMPLES = 2048


def training_loss(network: Network, loss: Loss | None, inputs: Tensor | None, targets: Tensor | None) -> Loss:
    """The loss that the arguments of `measure` mean.

    Args:
        network: the network to measure.
        loss: from tensors to losses [n], or to one scalar; then neither inputs nor targets are given.
        inputs: [n, ...], what the module is called with; then network is a module, and there is no loss.
        targets: [n] classes, or [n, ...] where the module answers with [n, classes, ...].

    Returns:
        From tensors to losses [n] in nats; a scalar loss comes out as one example.

    Raises:
        MeasurementError: arguments that do not belong together, or a module that does not answer the inputs
            with logits the targets fit.
    """
    if loss is not None:
        if inputs is not None or targets is not None:
            raise MeasurementError(
                "give either a loss or inputs and targets, got both; leave out inputs= and targets="
            )
        if not callable(loss):
            raise MeasurementError(
                f"loss must be a function from tensors to losses, got {type(loss).__name__}; "
                "name the distortion bounds, epsilons=[1.0]"
            )
        return _checked(loss)
    if inputs is None or targets is None:
        got = "neither" if inputs is targets else "inputs only" if targets is None else "targets only"
        raise MeasurementError(f"give a loss, or both inputs= and targets=, got {got}")
    if not isinstance(network, nn.Module):
        raise MeasurementError(
            f"inputs and targets are for a torch.nn.Module, got {type(network).__name__}; "
            "for tensors by name, give a loss"
        )
    return _cross_entropy(network, inputs, targets)


def base_loss(loss: Loss, parameters: Mapping[str, Tensor]) -> float:
    """Mean loss of the network itself, nats per example, checked to be one.

    Raises:
        MeasurementError: it is not finite, or not the same twice.
    """
    values = []
    for _ in range(2):
        with torch.no_grad():
            values.append(float(loss(parameters).double().mean()))
    if not math.isfinite(values[0]):
        raise MeasurementError(
            f"the network's own loss must be finite, got {values[0]}; a diverged network has none"
        )
    if not abs(values[0] - values[1]) <= DETERMINISM * (1 + abs(values[0])):
        raise MeasurementError(
            f"loss must be deterministic, got {values[0]} and then {values[1]} for the same weights; "
            "switch dropout and sampling off, and use the whole training set"
        )
    return values[0]


def _checked(loss: Loss) -> Loss:
    def losses(parameters: Mapping[str, Tensor]) -> Tensor:
        found = loss(parameters)
        if not isinstance(found, Tensor) or found.ndim > 1 or found.numel() == 0:
            got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise MeasurementError(
                f"loss must return a tensor, one value per training example, shape [n], or a scalar, got {got}; "
                "use reduction='none'"
            )
        return found.reshape(-1)

    return losses


def _cross_entropy(module: nn.Module, inputs: Tensor, targets: Tensor) -> Loss:
    """Every prediction counts as an example: a module with logits [n, classes, T] has n T of them."""
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor):
        raise MeasurementError(
            f"inputs and targets must be tensors, got {type(inputs).__name__} and {type(targets).__name__}; "
            "convert them with torch.as_tensor"
        )
    if inputs.ndim == 0 or targets.ndim == 0 or len(inputs) != len(targets) or len(inputs) == 0:
        raise MeasurementError(
            f"inputs and targets must have the same number of examples, at least one, got shapes "
            f"{tuple(inputs.shape)} and {tuple(targets.shape)}"
        )
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        raise MeasurementError(f"targets must be the numbers of classes, got {targets.dtype}; use targets.long()")
    _check_answer(module, inputs, targets)
    classes = targets.long()

    def losses(parameters: Mapping[str, Tensor]) -> Tensor:
        found = []
        with _evaluating(module):
            for first in range(0, len(inputs), CHUNK_EXAMPLES):
                part = slice(first, first + CHUNK_EXAMPLES)
                logits = torch.func.functional_call(module, dict(parameters), (inputs[part],))
                # Half-precision losses would hide what a small epsilon asks for.
                logits = logits if logits.dtype == torch.float64 else logits.float()
                found.append(functional.cross_entropy(logits, classes[part], reduction="none").reshape(-1))
        return torch.cat(found)

    return losses


def _check_answer(module: nn.Module, inputs: Tensor, targets: Tensor) -> None:
    """Run the module once on a few examples, so that what does not fit is said before anything is searched."""
    few = inputs[:CHUNK_EXAMPLES]
    with torch.no_grad(), _evaluating(module):
        try:
            logits = module(few)
        except Exception as error:
            raise MeasurementError(
                f"the module must run on inputs of shape {tuple(few.shape)} and {few.dtype}, got "
                f"{type(error).__name__}: {' '.join(str(error).split())}"
            ) from error
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        got = str(logits.dtype) if isinstance(logits, Tensor) else type(logits).__name__
        raise MeasurementError(
            f"the module must return logits as a floating-point tensor, got {got}; give a loss instead"
        )
    expected = (len(few), *targets.shape[1:])
    if logits.ndim < 2 or (logits.shape[0], *logits.shape[2:]) != expected:
        raise MeasurementError(
            f"logits must have shape [n, classes] and targets [n] (or [n, classes, ...] and [n, ...]), got "
            f"{tuple(logits.shape)} and {(len(few), *targets.shape[1:])}"
        )
    lowest, highest = int(targets.min()), int(targets.max())
    if lowest < 0 or highest >= logits.shape[1]:
        raise MeasurementError(
            f"targets must lie from 0 to {logits.shape[1] - 1}, since the module knows {logits.shape[1]} classes, "
            f"got {lowest} to {highest}; leave out examples without a class"
        )


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Dropout off and running statistics used as they are; every part is left in the mode it was in."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
