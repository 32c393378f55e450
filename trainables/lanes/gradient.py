"""The gradient of the training loss: each lane's mean cross-entropy over its own batch."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.architectures import Architecture
from trainables.architectures.operations import with_slope
from trainables.lanes.layout import Layout


def loss_gradient(
    architecture: Architecture, layout: Layout, weights: Tensor, inputs: Tensor, targets: Tensor
) -> Tensor:
    """Compute the gradient [L, P] of each lane's mean cross-entropy, in nats per unit of weight.

    Args:
        architecture: which network.
        layout: of the weights.
        weights: [L, P].
        inputs: [L, B, ...].
        targets: classes [L, B].
    """
    write = architecture.by_hand(inputs.shape[1], weights.device)
    if len(weights) == 1 and write is not None:
        gradient = torch.empty_like(weights)
        # Nothing is differentiated here, and to say so saves a tenth of a millisecond a step.
        with torch.inference_mode():
            places = layout.parameters(weights[0]), layout.parameters(gradient[0])
            write(*places, inputs[0], targets[0])
        return gradient
    leaves = layout.leaves(weights)
    logits = architecture.forward(leaves, inputs)
    # The slope of the cross-entropy in the logits has a closed form, softmax less one at the target. So
    # differentiation starts from the logits, and the loss is never built.
    slope = logits.detach().softmax(-1)
    minus_one = slope.new_full((), -1.0).expand(*targets.shape, 1)
    slope.scatter_add_(2, targets[..., None], minus_one).div_(targets.shape[1])
    # The output of a lane depends on its own weights only, so one call gives the gradients of all lanes.
    parts = torch.autograd.grad(with_slope(logits, slope), list(leaves.values()), allow_unused=True)
    return layout.rows(dict(zip(leaves, parts, strict=True)))
