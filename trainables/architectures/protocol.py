"""The interface between a lane run and a network: functions of a parameter dictionary with a leading lane axis."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Protocol

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]

WriteGradient = Callable[[Mapping[str, Tensor], Mapping[str, Tensor], Tensor, Tensor], None]
"""Writes the gradient of one network's mean cross-entropy, in nats per unit of weight. Takes the weights (name ->
tensor, without lane axis), the tensors to write to (of the same shapes; they are overwritten), inputs [n, ...] and
classes [n]."""


class Architecture(Hashable, Protocol):
    """A network for a task. Lanes are separate networks that share only the arithmetic.

    On a CPU the bits of a lane should depend neither on the number of lanes (at least two) nor on its place among
    them. `trainables.lanes.company` finds out whether that is so; user-supplied networks for which it is not are
    trained one by one.
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
