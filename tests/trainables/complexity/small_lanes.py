"""Small classifiers with a lane axis, and their objective."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tests.trainables.complexity.small import memorised, table
from trainables.complexity.objective import ClassificationObjective


def logits(parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """[L, n, classes] of the network in `small`."""
    hidden = torch.relu(inputs @ parameters["first/kernel"] + parameters["first/bias"][:, None])
    computed = hidden @ parameters["second/kernel"] + parameters["second/bias"][:, None]
    return parameters["gain"][:, None, None] * computed


def objective(lanes: int = 1) -> ClassificationObjective:
    """The cross-entropy of the table it has learned, which is the same for all lanes."""
    inputs, targets = table()
    return ClassificationObjective(logits, inputs, targets.expand(lanes, -1))


def lanes(count: int) -> dict[str, Tensor]:
    """The network that has learned the table, then others near it."""
    generator = torch.Generator().manual_seed(7)
    stacked = {name: [tensor] for name, tensor in memorised().items()}
    for _ in range(count - 1):
        for tensors in stacked.values():
            noise = torch.randn(tensors[0].shape, generator=generator)
            tensors.append(tensors[0] + 0.05 * noise * tensors[0].abs().mean())
    return {name: torch.stack(tensors) for name, tensors in stacked.items()}
