"""A network with a place for its gradient, and its affine layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.config import ModelConfig

Back = Callable[[Tensor], Tensor]
"""From the gradient of what a piece gave to that of what it took."""


@dataclass(frozen=True, slots=True)
class Network:
    """One network and where the gradient of its weights goes."""

    config: ModelConfig
    weights: Mapping[str, Tensor]
    """name -> tensor without lane axis."""
    gradient: Mapping[str, Tensor]
    """Likewise; it is written to, whatever it held."""


def dense(network: Network, name: str, x: Tensor) -> tuple[Tensor, Back]:
    """[rows, inputs] -> [rows, outputs]."""
    kernel, bias = network.weights[f"{name}/kernel"], network.weights[f"{name}/bias"]

    def back(gradient: Tensor) -> Tensor:
        torch.mm(x.mT, gradient, out=network.gradient[f"{name}/kernel"])
        torch.sum(gradient, 0, out=network.gradient[f"{name}/bias"])
        return gradient @ kernel.mT

    return torch.addmm(bias, x, kernel), back
