"""A network with a place for its gradient, and its affine layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.config import ModelConfig

Back = Callable[[Tensor], Tensor]
"""A function from the gradient of a part's output to the gradient of its input."""


@dataclass(frozen=True, slots=True)
class Network:
    """One network, and the tensors to which the gradient of its weights is written."""

    config: ModelConfig
    weights: Mapping[str, Tensor]
    """name -> tensor without lane axis."""
    gradient: Mapping[str, Tensor]
    """name -> tensor without lane axis; it is overwritten."""


def dense(network: Network, name: str, x: Tensor) -> tuple[Tensor, Back]:
    """Apply an affine layer: [rows, inputs] -> [rows, outputs]."""
    kernel, bias = network.weights[f"{name}/kernel"], network.weights[f"{name}/bias"]

    def back(gradient: Tensor) -> Tensor:
        torch.mm(x.mT, gradient, out=network.gradient[f"{name}/kernel"])
        torch.sum(gradient, 0, out=network.gradient[f"{name}/bias"])
        return gradient @ kernel.mT

    return torch.addmm(bias, x, kernel), back
