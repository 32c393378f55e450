"""The loss that a network is measured against: each form of the arguments of `measure` becomes an objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainables.arrays import class_numbers, real_numbers
from trainables.complexity.network import Network
from trainables.complexity.objective import ClassificationObjective, FunctionObjective, Objective
from trainables.complexity.of_network import ByName, NotByName, evaluating, run_with, unwrapped
from trainables.errors import MeasurementError, raised

Loss = Callable[[Any], Tensor]
"""A function of the network, or of its tensors by name, that returns a loss for each training example, or one."""

#: The number of examples on which a module is checked before the search begins.
_CHECKED_EXAMPLES = 256

#: Two evaluations of one network may differ by this share of 1 + loss; more means that the loss is not
#: deterministic.
DETERMINISM = 1e-6


def training_objective(network: Network, loss: Loss | None, inputs: object, targets: object) -> Objective:
    """Return the objective that the arguments of `measure` mean.

    Args:
        network: the network to measure.
        loss: from the network, or from its tensors by name, to losses [n] or to one scalar; then neither inputs nor
            targets are given.
        inputs: [n, ...], what the module is called with; then network is a module, and there is no loss.
        targets: [n] classes, or [n, ...] where the module answers with [n, classes, ...].

    Returns:
        An objective with one lane; a scalar loss comes out as one example.

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
        return FunctionObjective(_checked(_by_name(network, loss)))
    if inputs is None or targets is None:
        got = "neither" if inputs is targets else "inputs only" if targets is None else "targets only"
        raise MeasurementError(f"give a loss, or both inputs= and targets=, got {got}")
    if not isinstance(network, nn.Module):
        raise MeasurementError(
            f"inputs and targets are for a torch.nn.Module, got {type(network).__name__}; "
            "for tensors by name, give a loss"
        )
    return _cross_entropy(network, inputs, targets)


def base_losses(objective: Objective, parameters: Mapping[str, Tensor]) -> Tensor:
    """Return mean losses [L] of the networks [L, ...] themselves, nats per example, after checking them.

    Raises:
        MeasurementError: a loss is not finite, or differs between two evaluations.
    """
    with torch.no_grad():
        losses = objective.losses(parameters).double()
        again = objective.losses(parameters, _CHECKED_EXAMPLES).double()
    base, first, second = losses.mean(1), losses[:, : again.shape[1]].mean(1), again.mean(1)
    if not bool(base.isfinite().all()):
        raise MeasurementError(
            f"the network's own loss must be finite, got {_some(base[~base.isfinite()])}; "
            "a diverged network has no complexity"
        )
    same = (first - second).abs() <= DETERMINISM * (1 + first.abs())
    if not bool(same.all()):
        raise MeasurementError(
            f"loss must be deterministic, got {_some(first[~same])} and then {_some(second[~same])} for the same "
            "weights; switch dropout and sampling off, and use the whole training set"
        )
    return base


def _some(values: Tensor) -> float:
    return float(values[0])


def _by_name(network: Network, loss: Loss) -> Loss:
    """Return a loss of tensors by name; whether the given one is of these or of the network, one call tells."""
    if not isinstance(network, nn.Module):
        return loss
    named = ByName({name: tensor.detach() for name, tensor in network.named_parameters()})

    def of_network(parameters: Mapping[str, Tensor]) -> Tensor:
        losses: Tensor = run_with(network, parameters, loss)
        return losses

    try:
        with torch.no_grad():
            try:
                loss(named)
                return loss
            except NotByName:
                of_network(named)
                return of_network
    except MeasurementError:
        raise
    except Exception as error:
        raise MeasurementError(
            "loss must be a function of the network, lambda net: cross_entropy(net(x), y, reduction='none'), or of "
            f"its tensors by name, got {raised(error)}"
        ) from error


def _checked(loss: Loss) -> Loss:
    def losses(parameters: Mapping[str, Tensor]) -> Tensor:
        values = loss(parameters)
        if not isinstance(values, Tensor) or values.ndim > 1 or values.numel() == 0:
            got = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
            raise MeasurementError(
                f"loss must return a tensor, one value per training example, shape [n], or a scalar, got {got}; "
                "use reduction='none'"
            )
        return values.reshape(-1)

    return losses


def _cross_entropy(module: nn.Module, given_inputs: object, given_targets: object) -> Objective:
    inputs = real_numbers(given_inputs, "inputs", MeasurementError)
    if inputs.is_floating_point() and not isinstance(given_inputs, Tensor):
        inputs = inputs.to(_floats_of(module))  # numpy and Python have float64 where torch has float32
    targets, words = class_numbers(given_targets, "targets", MeasurementError)
    if words:
        raise MeasurementError(
            f"targets must be numbers of classes, as the module numbers them, got words such as {words[0]!r}; "
            "replace each by its number"
        )
    if inputs.ndim == 0 or targets.ndim == 0 or len(inputs) != len(targets) or len(inputs) == 0:
        raise MeasurementError(
            f"inputs and targets must have the same number of examples, at least one, got shapes "
            f"{tuple(inputs.shape)} and {tuple(targets.shape)}"
        )
    _check_answer(module, inputs, targets)

    def logits(parameters: Mapping[str, Tensor], some: Tensor) -> Tensor:
        network = {name: tensor[0] for name, tensor in parameters.items()}
        answer: Tensor = run_with(module, network, lambda inner: inner(some))
        return answer[None]

    return ClassificationObjective(logits, inputs, targets[None])


def _floats_of(module: nn.Module) -> torch.dtype:
    """Return the type of the module's first floating parameter."""
    return next((one.dtype for one in module.parameters() if one.is_floating_point()), torch.get_default_dtype())


def _check_answer(module: nn.Module, inputs: Tensor, targets: Tensor) -> None:
    """Run the module once on a few examples, so that mismatches are reported before the search begins."""
    few = inputs[:_CHECKED_EXAMPLES]
    inner, _ = unwrapped(module)
    with torch.no_grad(), evaluating(inner):
        try:
            logits = inner(few)
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
