"""The gradient of the training loss: each lane's mean cross-entropy over its own batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainables import by_hand
from trainables.config import ModelConfig
from trainables.layout import Layout
from trainables.models import forward
from trainables.operations import CHUNK_ELEMENTS


def trains_one_by_one(config: ModelConfig, batch_size: int, device: torch.device) -> bool:
    """Whether lanes are trained one after the other: on a CPU, where one network by itself keeps the core busy.

    What one operation writes the next one then finds in the cache, and a lone lane needs no company.
    """
    return device.type == "cpu" and batch_size * config.hidden >= CHUNK_ELEMENTS


def loss_gradient(
    config: ModelConfig,
    layout: Layout,
    weights: Tensor,
    inputs: Tensor,
    targets: Tensor,
    fixed: Sequence[int | None],
) -> Tensor:
    """Gradient [L, P] of each lane's mean cross-entropy, in nats per unit of weight.

    Args:
        config: which network.
        layout: of the weights.
        weights: [L, P].
        inputs: tokens [L, B, T].
        targets: classes [L, B].
        fixed: for each position the token that all examples have there, None where they differ.
    """
    if len(weights) == 1 and trains_one_by_one(config, inputs.shape[1], weights.device):
        gradient = torch.empty_like(weights)
        with torch.inference_mode():  # nothing to differentiate: a tenth of a millisecond less
            network = by_hand.Network(config, layout.parameters(weights[0]), layout.parameters(gradient[0]))
            by_hand.write_gradient(network, inputs[0], targets[0], fixed)
        return gradient
    leaves = layout.leaves(weights)
    logits = forward(config, leaves, inputs, fixed[-1])
    # The gradient of the cross-entropy in closed form: softmax less one at the target.
    slope = logits.detach().softmax(-1)
    minus_one = slope.new_full((), -1.0).expand(*targets.shape, 1)
    slope.scatter_add_(2, targets[..., None], minus_one).div_(targets.shape[1])
    parts = torch.autograd.grad(logits, list(leaves.values()), slope, allow_unused=True)
    return layout.rows(dict(zip(leaves, parts, strict=True)))
