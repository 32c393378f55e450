"""How sharply the loss feels each tensor: the mean diagonal of its Fisher information.

One bin size for a whole network is only fair in units of what the loss feels: in a network grokked under
weight decay the tolerable step differs by a factor of a thousand from tensor to tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

#: What a curvature costs, in evaluations of the loss: one forward and one backward pass.
EVALUATIONS = 2


@dataclass(frozen=True, slots=True)
class Curvature:
    """What the loss feels of one tensor."""

    mean: float
    """Mean over the entries seen of E[(d loss / d weight)^2], in nats per squared weight; 0 if none is seen."""
    seen: Tensor
    """Boolean, broadcastable to the tensor: False in rows, columns (entries of a vector) without gradient."""


def curvatures(
    loss: Callable[[Mapping[str, Tensor]], Tensor], parameters: Mapping[str, Tensor], seed: int
) -> dict[str, Curvature] | None:
    """Curvature of every tensor at these parameters, or None where the loss has no usable gradient.

    With independent random signs r, the gradient of sum(r_i loss_i) / sqrt(n) squares, in expectation, to the
    mean over examples of the squared gradient of each: one backward pass stands for n.
    """
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in parameters.items()}
    generator = torch.Generator().manual_seed(seed)
    with torch.enable_grad():
        try:
            losses = loss(leaves)
        except RuntimeError:
            # It works on tensors without gradient, so it leaves torch somewhere and nothing flows back.
            return None
        if not losses.requires_grad:
            return None
        signs = (torch.randint(0, 2, losses.shape, generator=generator) * 2 - 1).to(losses)
        scalar = (losses * signs).sum() / losses.numel() ** 0.5
        gradients = torch.autograd.grad(scalar, list(leaves.values()), allow_unused=True)
    found = {
        name: _summary(torch.zeros_like(leaf) if gradient is None else gradient.double().square())
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
    }
    return found if all(math.isfinite(curvature.mean) for curvature in found.values()) else None


def _summary(square: Tensor) -> Curvature:
    felt = square > 0
    if square.ndim >= 2:
        flat = felt.reshape(felt.shape[0], -1)
        felt = (flat.any(1)[:, None] & flat.any(0)[None, :]).reshape(square.shape)
    count = int(felt.sum())
    return Curvature(float(square.sum()) / count if count else 0.0, felt)
