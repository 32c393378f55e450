"""The gradient of one network's mean cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from trainables.architectures.by_hand.mlp import mlp
from trainables.architectures.by_hand.network import Network, dense
from trainables.architectures.by_hand.transformer import transformer


def write_gradient(network: Network, inputs: Tensor, targets: Tensor, fixed: Sequence[int | None]) -> None:
    """Write the gradient of the mean cross-entropy, in nats per unit of weight.

    Args:
        network: the weights, and the tensors to write to.
        inputs: tokens [n, T].
        targets: classes [n].
        fixed: for each position the token that all examples have there, None where they differ.
    """
    body = transformer if network.config.kind == "transformer" else mlp
    x, body_back = body(network, inputs, tuple(fixed))
    logits, output_back = dense(network, "output_layer", x)
    # The gradient of the cross-entropy in closed form: softmax minus 1 at the target.
    slope = logits.softmax(1)
    slope.scatter_add_(1, targets[:, None], slope.new_full((), -1.0).expand(len(targets), 1)).div_(len(targets))
    body_back(output_back(slope))
