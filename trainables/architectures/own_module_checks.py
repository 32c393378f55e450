"""Requirements on a user-supplied module to be trained in lanes, checked before any compute is spent.

Lanes are batched by `torch.func.vmap`, are evaluated in parts of the table, and must be the same networks whatever
other lanes there are. So a module has to be a function of its parameters and of one example at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.dropout import _DropoutNd

from trainables.errors import ConfigError, refuse

_RELATIVE, _ABSOLUTE = 1e-3, 1e-4
"""How far two passes that must agree may differ: kernels for a single example add up in another order."""


def check_built_module(
    name: str, module: nn.Module, build: Callable[[int], nn.Module], inputs: Tensor, classes: int
) -> None:
    """Check a module by itself.

    Args:
        name: shown in messages.
        module: the module built for seed 0.
        build: builds the module for a seed.
        inputs: [n, ...] a few of the task's inputs, n >= 1.
        classes: the number of the task's classes.

    Raises:
        ConfigError: a requirement does not hold; the message says which, what was found, and what to change.
    """
    _check_parts(name, module)
    before = _state(module)
    logits = _called(name, module, inputs)
    changed = [key for key, tensor in _state(module).items() if not torch.equal(tensor, before[key])]
    if changed:
        raise ConfigError(
            f"{name} must not change its own state in forward, but it writes to {_listed(changed)}; keep no "
            "running values, or replace the layer that does"
        )
    wanted = (len(inputs), classes)
    if tuple(logits.shape) != wanted:
        raise ConfigError(
            f"{name} must map inputs {list(inputs.shape)} to logits {list(wanted)}, one for each class, got "
            f"{list(logits.shape)}; change its last layer"
        )
    _check_finite(name, logits)
    again = _called(name, module, inputs)
    if not _close(logits, again):
        raise ConfigError(
            f"{name} must give the same logits when called twice, but does not: it draws random numbers in "
            "forward; remove that (weight_noise is noise that lanes can have)"
        )
    _check_modes(name, module, inputs, logits)
    alone = torch.cat([_called(name, module, one[None]) for one in inputs])
    if not _close(logits, alone):
        raise ConfigError(
            f"{name} must treat each example by itself, but its logits depend on the other examples of the batch; "
            "normalise over channels (GroupNorm, LayerNorm) instead of over the batch"
        )
    _check_seeds(name, module, build)


def check_in_lanes(
    name: str,
    forward: Callable[[Mapping[str, Tensor], Tensor], Tensor],
    modules: Sequence[nn.Module],
    networks: Sequence[Mapping[str, Tensor]],
    inputs: Tensor,
) -> None:
    """Check that networks trained side by side are the same as alone, and that gradients flow.

    Args:
        name: shown in messages.
        forward: the function of an `Architecture`.
        modules: the modules built for several seeds.
        networks: the trained tensors of each module, name -> tensor.
        inputs: [n, ...]

    Raises:
        ConfigError: a requirement does not hold; the message says which, what was found, and what to change.
    """
    lanes = {key: torch.stack([one[key].detach() for one in networks]).requires_grad_() for key in networks[0]}
    try:
        logits = forward(lanes, inputs.expand(len(networks), *inputs.shape))
        torch.autograd.grad(logits.sum(), list(lanes.values()), allow_unused=True)
    except Exception as error:
        must = (
            "must be batchable by torch.func.vmap: no writing into tensors in place, no .item() and no choice "
            "between branches by values of a tensor in forward"
        )
        raise refuse(name, must, error) from error
    for module, lane in zip(modules, logits, strict=True):
        if not _close(lane, _called(name, module, inputs)):
            raise ConfigError(
                f"{name} must give the same logits in a lane as alone, but does not: it keeps a tensor that is "
                "neither a parameter nor a buffer; register it, as a buffer if it is the same for all seeds"
            )


def _check_parts(name: str, module: nn.Module) -> None:
    trained = {key: weight for key, weight in module.named_parameters() if weight.requires_grad}
    if not trained:
        raise ConfigError(f"{name} must have parameters to train, got none with requires_grad")
    wrong = [key for key, weight in trained.items() if weight.dtype != torch.float32]
    if wrong:
        raise ConfigError(
            f"{name} must have float32 parameters, got {trained[wrong[0]].dtype} in {_listed(wrong)}; convert "
            "it with .float()"
        )
    empty = [key for key, weight in trained.items() if not weight.numel()]
    if empty:
        raise ConfigError(
            f"{name} must have parameters with elements, got shape {list(trained[empty[0]].shape)} in "
            f"{_listed(empty)}; leave it out, or freeze it with requires_grad_(False)"
        )
    elsewhere = [key for key, weight in module.named_parameters() if weight.device.type != "cpu"]
    if elsewhere:
        raise ConfigError(
            f"{name} must be built on the CPU, got {_listed(elsewhere)} elsewhere; `device` moves lanes"
        )
    unfinished = [key for key, weight in trained.items() if not bool(weight.isfinite().all())]
    if unfinished:
        raise ConfigError(f"{name} must begin with finite weights, got others in {_listed(unfinished)}")
    statistics = [
        key
        for key, part in module.named_modules()
        if isinstance(part, _BatchNorm) or (isinstance(part, _NormBase) and part.track_running_stats)
    ]
    if statistics:
        kind = type(module.get_submodule(statistics[0])).__name__
        raise ConfigError(
            f"{name} must not keep statistics of batches, got {kind} in {_listed(statistics)}: lanes are evaluated "
            "in parts, and a network must not depend on them; use GroupNorm or LayerNorm instead"
        )
    dropout = [key for key, part in module.named_modules() if isinstance(part, _DropoutNd) and part.p > 0]
    if dropout:
        raise ConfigError(
            f"{name} must not draw random numbers in forward, got dropout in {_listed(dropout)}; set its p to 0 "
            "(weight_noise is noise that lanes can have)"
        )


def _check_seeds(name: str, module: nn.Module, build: Callable[[int], nn.Module]) -> None:
    again, other = build(0), build(1)
    same, differing = dict(again.named_parameters()), dict(other.named_parameters())
    for key, weight in module.named_parameters():
        if key not in same or not torch.equal(same[key], weight):
            raise ConfigError(
                f"{name} must have the same initial weights each time it is built for a seed, but {key} differs; "
                "draw them with torch's own random numbers, which are seeded for it"
            )
    if [(k, w.shape) for k, w in differing.items()] != [(k, w.shape) for k, w in module.named_parameters()]:
        raise ConfigError(f"{name} must have parameters of the same names and shapes whatever the seed")
    fixed = fixed_tensors(module)
    others = fixed_tensors(other)
    varying = [key for key, tensor in fixed.items() if key not in others or not torch.equal(others[key], tensor)]
    if varying:
        raise ConfigError(
            f"{name} must have the same buffers and frozen parameters whatever the seed, but {_listed(varying)} "
            "differ; draw them with a torch.Generator of a fixed seed"
        )


def fixed_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return buffers and frozen parameters, which are the same for all lanes and seeds."""
    frozen = {key: weight.detach() for key, weight in module.named_parameters() if not weight.requires_grad}
    return {**frozen, **dict(module.named_buffers())}


def _check_modes(name: str, module: nn.Module, inputs: Tensor, logits: Tensor) -> None:
    """Check that evaluation mode changes nothing: lanes are trained and evaluated in the mode of training."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        evaluated = _called(name, module, inputs)
    finally:
        for part, training in modes.items():
            part.training = training
    if logits.shape != evaluated.shape or not _close(logits, evaluated):
        raise ConfigError(
            f"{name} must compute the same in training and in evaluation mode, but does not; leave out what "
            "depends on self.training"
        )


def _check_finite(name: str, logits: Tensor) -> None:
    guesses = torch.zeros(len(logits), dtype=torch.int64)
    loss = float(functional.cross_entropy(logits.float(), guesses))
    if not (bool(logits.isfinite().all()) and loss == loss and abs(loss) != float("inf")):
        raise ConfigError(
            f"{name} must have a finite loss on the task's inputs before training, got logits from "
            f"{float(logits.min()):g} to {float(logits.max()):g}; scale its inputs or its initial weights"
        )


def _called(name: str, module: nn.Module, inputs: Tensor) -> Tensor:
    try:
        with torch.no_grad():
            logits = module(inputs)
    except Exception as error:
        kind = "tokens" if not inputs.is_floating_point() else "features"
        raise refuse(name, f"must take inputs {list(inputs.shape)} of {kind}, the task's", error) from error
    if not isinstance(logits, Tensor):
        raise ConfigError(f"{name} must give a tensor of logits, got {type(logits).__name__}")
    return logits


def _state(module: nn.Module) -> dict[str, Tensor]:
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {key: tensor.detach().clone() for key, tensor in tensors.items()}


def _close(one: Tensor, other: Tensor) -> bool:
    one, other = one.detach(), other.detach()
    scale = max(1.0, float(one.abs().max()))
    return bool(torch.allclose(one, other, rtol=_RELATIVE, atol=_ABSOLUTE * scale, equal_nan=True))


def _listed(names: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(repr(name) if name else "the module itself" for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
