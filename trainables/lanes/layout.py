"""The layout of a dictionary of parameters in one flat tensor [L, P], a row for the weights of each lane."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class Layout:
    """Maps between parameters by name and rows of P weights.

    The optimiser, checkpoints and norms need only the row.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self.sizes = [math.prod(shape) for shape in self.shapes.values()]
        self.weights = sum(self.sizes)

    def parameters(self, rows: Tensor) -> dict[str, Tensor]:
        """View rows [L, P] as parameters, name -> [L, ...]; those of a single row [P] have no lane axis."""
        lanes = rows.shape[:-1]
        # Views throughout: an update of the row is an update of the parameters, and nothing is copied in a step.
        parts = rows.split_with_sizes(self.sizes, -1)
        return {
            name: part.view((*lanes, *shape))
            for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)
        }

    def leaves(self, rows: Tensor) -> dict[str, Tensor]:
        """View rows like `parameters`, as leaves of automatic differentiation that share the rows' memory."""
        return {name: part.detach().requires_grad_() for name, part in self.parameters(rows).items()}

    def rows(self, parameters: Mapping[str, Tensor | None]) -> Tensor:
        """Copy parameters, name -> [L, ...], into a new tensor [L, P]; zeros where one is missing or None."""
        # The loss may not depend on a parameter at all; then automatic differentiation gives None for it.
        some = next(part for part in parameters.values() if part is not None)
        flat = []
        for name, size in zip(self.shapes, self.sizes, strict=True):
            part = parameters.get(name)
            flat.append(some.new_zeros(len(some), size) if part is None else part.reshape(len(some), size))
        return torch.cat(flat, 1)
