"""What a lane run needs of a network: functions of a dictionary of parameters with a leading lane axis."""

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
"""Writes the gradient of one network's mean cross-entropy, in nats per unit of weight: takes its weights (name ->
tensor, without lane axis), likewise where to write to, whatever that held, inputs [n, ...] and classes [n]."""


class Architecture(Hashable, Protocol):
    """A network for a task. Lanes are networks of their own that share only the arithmetic.

    On a CPU the bits of a lane depend neither on how many others there are (at least two in all) nor on its place.
    """

    shapes: Shapes
    """Name -> shape of each parameter, without lane axis."""
    layers: int
    """Calls of operations of some size in a pass forward, roughly: its cost beside its arithmetic."""

    def initialise(self, seed: int) -> dict[str, Tensor]:
        """Fresh float32 weights, without lane axis, that depend on the seed only."""
        ...

    def forward(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Logits [L, n, classes], differentiable in the parameters.

        Args:
            parameters: name -> [L, ...].
            inputs: [L, n, ...], or [n, ...] for the same examples in every lane.
        """
        ...

    def by_hand(self, batch_size: int, device: torch.device) -> WriteGradient | None:
        """A gradient by hand where lanes are better trained one after the other, else None."""
        ...

    def kept_floats(self) -> float:
        """Floats for each example that a pass forward keeps for the one backward."""
        ...

    def products(self) -> float:
        """Multiplications of a pass forward, an example."""
        ...

    def values(self) -> float:
        """Values between matrices of a pass forward, an example: what is done apart from products."""
        ...


@lru_cache(maxsize=16)
def architecture_of(task: Task, model: ModelConfig) -> Architecture:
    """The network that a configuration means for a task.

    Raises:
        ConfigError: the two do not fit, or the kind of model is registered and cannot be trained in lanes.
    """
    # Imported here, for both are architectures.
    from trainables.built_in import BuiltIn

    if model.kind in BUILT_IN_KINDS:
        return BuiltIn(task, model)
    from trainables.own_module import registered_module

    return registered_module(task, model)


def initial_weights(architecture: Architecture, model: ModelConfig, seed: int) -> dict[str, Tensor]:
    """Fresh weights as a trial begins with: those with two axes and more are `initial_scale` times as large."""
    weights = architecture.initialise(seed)
    if model.initial_scale == 1:
        return weights
    return {name: weight * model.initial_scale if weight.ndim > 1 else weight for name, weight in weights.items()}
