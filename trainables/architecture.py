"""The interface between a lane run and a network: functions of a parameter dictionary with a leading lane axis."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from trainables.config import ModelConfig
from trainables.families import BUILT_IN_KINDS
from trainables.tasks import Task

Shapes = dict[str, tuple[int, ...]]

WriteGradient = Callable[[Mapping[str, Tensor], Mapping[str, Tensor], Tensor, Tensor], None]
"""Writes the gradient of one network's mean cross-entropy, in nats per unit of weight. Takes the weights (name ->
tensor, without lane axis), the tensors to write to (likewise; they are overwritten), inputs [n, ...] and classes
[n]."""


class Architecture(Hashable, Protocol):
    """A network for a task. Lanes are separate networks that share only the arithmetic.

    On a CPU the bits of a lane depend neither on the number of lanes (at least two) nor on its place among them.
    """

    shapes: Shapes
    """Name -> shape of each parameter, without lane axis."""
    layers: int
    """Roughly the number of sizeable operations in a forward pass: its cost besides the arithmetic."""

    def initialise(self, seed: int) -> dict[str, Tensor]:
        """Draw fresh float32 weights, without lane axis, that depend on the seed only."""
        ...

    def forward(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Compute logits [L, n, classes], differentiable in the parameters.

        Args:
            parameters: name -> [L, ...].
            inputs: [L, n, ...], or [n, ...] for the same examples in every lane.
        """
        ...

    def by_hand(self, batch_size: int, device: torch.device) -> WriteGradient | None:
        """Return a gradient by hand if lanes train faster one after the other, else None."""
        ...

    def kept_floats(self) -> float:
        """Return the floats per example that a forward pass keeps for the backward pass."""
        ...

    def products(self) -> float:
        """Return the multiplications of a forward pass, per example."""
        ...

    def values(self) -> float:
        """Return the values between matrices in a forward pass, per example: the work besides products."""
        ...


@lru_cache(maxsize=16)
def architecture_of(task: Task, model: ModelConfig) -> Architecture:
    """Return the network that a configuration describes for a task.

    Raises:
        ConfigError: task and model do not fit, or the kind of model is registered and cannot be trained in lanes.
    """
    # Imported here because both modules import this one.
    from trainables.built_in import BuiltIn

    if model.kind in BUILT_IN_KINDS:
        return BuiltIn(task, model)
    from trainables.own_module import registered_module

    return registered_module(task, model)


def initial_weights(architecture: Architecture, model: ModelConfig, seed: int) -> dict[str, Tensor]:
    """Draw a trial's initial weights: those with two or more axes are multiplied by `initial_scale`."""
    weights = architecture.initialise(seed)
    if model.initial_scale == 1:
        return weights
    return {name: weight * model.initial_scale if weight.ndim > 1 else weight for name, weight in weights.items()}
