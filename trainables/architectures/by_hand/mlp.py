"""The MLP, written out by hand."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainables.architectures.by_hand.network import Back, Network, dense


def mlp(network: Network, inputs: Tensor, fixed: tuple[int | None, ...]) -> tuple[Tensor, Callable[[Tensor], None]]:
    """Return the last hidden layer [n, F], and the way back from its gradient.

    Args:
        network: the weights, and the tensors for their gradient.
        inputs: tokens [n, T], or features [n, E] where nothing is `fixed`.
        fixed: see `write_gradient`.
    """
    x, first_back = _of_tokens(network, inputs, fixed) if fixed else _of_features(network, inputs)
    # In place: the way back needs only to know where the sums were positive, which the outputs tell.
    layers, backs = [x.clamp_min_(0)], list[Back]()
    for layer in range(1, network.config.depth):
        x, layer_back = dense(network, f"mlp_layers_{layer}", x)
        layers.append(x.clamp_min_(0))
        backs.append(layer_back)

    def back(gradient: Tensor) -> None:
        while backs:
            gradient = backs.pop()(_relu_back(gradient, layers.pop()))
        first_back(_relu_back(gradient, layers.pop()))

    return x, back


def _of_features(network: Network, inputs: Tensor) -> tuple[Tensor, Callable[[Tensor], None]]:
    """Return the first layer's sums [n, F] over features [n, E]; the gradient of features is not needed."""
    kernel, bias = network.weights["mlp_layers_0/kernel"], network.weights["mlp_layers_0/bias"]

    def back(gradient: Tensor) -> None:
        torch.mm(inputs.mT, gradient, out=network.gradient["mlp_layers_0/kernel"])
        torch.sum(gradient, 0, out=network.gradient["mlp_layers_0/bias"])

    return torch.addmm(bias, inputs, kernel), back


def _of_tokens(
    network: Network, inputs: Tensor, fixed: tuple[int | None, ...]
) -> tuple[Tensor, Callable[[Tensor], None]]:
    """Return the first layer's sums [n, F] over tokens [n, T], by a table of (position, token).

    A fixed position has one row.
    """
    tokens = network.weights["embedding/embedding"]
    kernels = network.weights["mlp_layers_0/kernel"].view(inputs.shape[1], tokens.shape[1], -1)
    places = list(zip(fixed, kernels, inputs.mT, strict=True))
    shift = network.weights["mlp_layers_0/bias"].clone()
    # A fixed position adds the same to every example, so it goes into the bias.
    for token, kernel, _ in places:
        if token is not None:
            shift += tokens[token] @ kernel
    x = shift.repeat(len(inputs), 1)
    for token, kernel, used in places:
        if token is None:
            x += (tokens @ kernel).index_select(0, used)

    def back(gradient: Tensor) -> None:
        of_shift = torch.sum(gradient, 0, out=network.gradient["mlp_layers_0/bias"])
        of_kernels = network.gradient["mlp_layers_0/kernel"].view_as(kernels)
        of_tokens = network.gradient["embedding/embedding"].zero_()
        for (token, kernel, used), of_kernel in zip(places, of_kernels, strict=True):
            if token is None:
                of_table = gradient.new_zeros(len(tokens), gradient.shape[1]).index_add_(0, used, gradient)
                torch.mm(tokens.mT, of_table, out=of_kernel)
                of_tokens.addmm_(of_table, kernel.mT)
            else:
                torch.outer(tokens[token], of_shift, out=of_kernel)
                of_tokens[token] += kernel @ of_shift

    return x, back


def _relu_back(gradient: Tensor, x: Tensor) -> Tensor:
    """Keep the gradient, in place, where ReLU returned a positive x; set it to zero elsewhere."""
    # One pass over the memory, without a mask; this is the operation that automatic differentiation uses.
    torch.ops.aten.threshold_backward.grad_input(gradient, x, 0, grad_input=gradient)
    return gradient
