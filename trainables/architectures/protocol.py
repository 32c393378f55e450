"""What a lane run needs of a network: functions of a dictionary of parameters with a leading lane axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]

WriteGradient = Callable[[Mapping[str, Tensor], Mapping[str, Tensor], Tensor, Tensor], None]
"""Writes the gradient of one network's mean cross-entropy, in nats per unit of weight: takes its weights (name ->
tensor, without lane axis), likewise where to write to, whatever that held, inputs [n, ...] and classes [n]."""


class Architecture(Protocol):
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
