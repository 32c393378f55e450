"""The second part of a transformer layer: output projection, normalisation, feed-forward, normalisation.

This is where two thirds of a step are spent. `plain_layer_tail` defines what is computed. On a CPU and for networks
that are large enough, `layer_tail` computes it lane by lane with gradients by hand, so that the output of one
operation is still in the cache for the next. Letters in shapes: L lanes, C width, F hidden width; rows are
(example, queried position).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from trainables.architectures.operations import (
    CHUNK_ELEMENTS,
    LAYER_NORM_EPSILON,
    chunks,
    dense,
    gelu,
    gelu_into,
    layer_norm,
)

PARAMETERS = (
    "self_attn/out_proj/kernel",
    "self_attn/out_proj/bias",
    "ln1/scale",
    "ln1/bias",
    "ffn/layer1/kernel",
    "ffn/layer1/bias",
    "ffn/layer2/kernel",
    "ffn/layer2/bias",
    "ln2/scale",
    "ln2/bias",
)
"""The parameters of the functions below, in this order, after the name of the layer."""

_GELU_ELEMENTS = 65_536
"""Elements that pass through the kernels of GELU together, so that they stay in the cache."""

Back = Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, Tensor]]


def layer_tail(residual: Tensor, mixed: Tensor, *parameters: Tensor) -> Tensor:
    """Compute the layer's output [L, rows, C].

    Args:
        residual: the layer's input, [L, rows, C].
        mixed: the attention's output, [L, rows, C].
        parameters: see `PARAMETERS`, each with a lane axis.
    """
    if mixed.device.type == "cpu" and mixed.shape[1] * parameters[4].shape[2] >= CHUNK_ELEMENTS:
        return _LayerTail.apply(residual, mixed, *parameters)  # type: ignore[no-any-return,no-untyped-call]
    return plain_layer_tail(residual, mixed, *parameters)


def plain_layer_tail(residual: Tensor, mixed: Tensor, *parameters: Tensor) -> Tensor:
    """Compute `layer_tail` for all lanes at once, with gradients by torch."""
    kernel, bias, scale1, shift1, kernel1, bias1, kernel2, bias2, scale2, shift2 = parameters
    x = layer_norm(residual + dense(mixed, kernel, bias), scale1, shift1)
    return layer_norm(x + dense(gelu(dense(x, kernel1, bias1)), kernel2, bias2), scale2, shift2)


class _LayerTail(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, residual: Tensor, mixed: Tensor, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(mixed, *parameters)
        ctx.backs = []
        result = torch.empty_like(mixed)
        for lane, (entered, mix, *some) in enumerate(zip(residual, mixed, *parameters, strict=True)):
            result[lane], back = tail_of_one(entered, mix, some, differentiable=any(ctx.needs_input_grad))
            if any(ctx.needs_input_grad):
                ctx.backs.append(back)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        mixed, *parameters = ctx.saved_tensors
        of_residual, of_mixed = torch.empty_like(mixed), torch.empty_like(mixed)
        of_parameters = [torch.empty_like(parameter) for parameter in parameters]
        for lane, back in enumerate(ctx.backs):
            of_residual[lane], of_mixed[lane] = back(gradient[lane], [of[lane] for of in of_parameters])
        return of_residual, of_mixed, *of_parameters


def tail_of_one(
    residual: Tensor, mixed: Tensor, parameters: Sequence[Tensor], *, differentiable: bool = True
) -> tuple[Tensor, Back]:
    """Compute one network's layer tail and the way back.

    Args:
        residual: the layer's input, [rows, C].
        mixed: the attention's output, [rows, C].
        parameters: see `PARAMETERS`, without lane axis.
        differentiable: whether the way back is wanted; it costs a little.

    Returns:
        The layer's output [rows, C], and a function for the way back, to be called at most once. It takes the
        output's gradient and the tensors to which the parameters' gradients are written, and returns the gradients
        of `residual` and `mixed`.
    """
    kernel, bias, scale1, shift1, kernel1, bias1, kernel2, bias2, scale2, shift2 = parameters
    sum1 = torch.addmm(bias, mixed, kernel).add_(residual)
    x, *moments1 = torch.native_layer_norm(sum1, sum1.shape[1:], scale1, shift1, LAYER_NORM_EPSILON)
    slope = torch.mm(x, kernel1)  # replaced by the slope of GELU there, in chunks
    hidden = torch.empty_like(slope)
    step = max(1, _GELU_ELEMENTS // slope.shape[1])
    space = slope.new_empty(2, step, slope.shape[1])
    for at, out in zip(chunks(slope, step), chunks(hidden, step), strict=True):
        gelu_into(at.add_(bias1), out, at if differentiable else None, *space[:, : len(at)])
    sum2 = torch.addmm(bias2, hidden, kernel2).add_(x)
    result, *moments2 = torch.native_layer_norm(sum2, sum2.shape[1:], scale2, shift2, LAYER_NORM_EPSILON)

    def back(gradient: Tensor, to: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        of_sum2 = _norm_back(gradient, sum2, moments2, scale2, shift2, to[8:])
        torch.mm(hidden.mT, of_sum2, out=to[6])
        torch.sum(of_sum2, 0, out=to[7])
        of_hidden = torch.mm(of_sum2, kernel2.mT, out=hidden).mul_(slope)
        torch.mm(x.mT, of_hidden, out=to[4])
        torch.sum(of_hidden, 0, out=to[5])
        of_x = of_sum2.addmm_(of_hidden, kernel1.mT)
        of_sum1 = _norm_back(of_x, sum1, moments1, scale1, shift1, to[2:4])
        torch.mm(mixed.mT, of_sum1, out=to[0])
        torch.sum(of_sum1, 0, out=to[1])
        return of_sum1, torch.mm(of_sum1, kernel.mT)

    return result, back


def _norm_back(
    gradient: Tensor, x: Tensor, moments: list[Tensor], scale: Tensor, shift: Tensor, to: Sequence[Tensor]
) -> Tensor:
    """Return the gradient of a normalisation's input; write those of its scale and shift to `to`."""
    of_x, of_scale, of_shift = torch.ops.aten.native_layer_norm_backward(
        gradient.contiguous(), x, x.shape[1:], *moments, scale, shift, [True, True, True]
    )
    to[0].copy_(of_scale)
    to[1].copy_(of_shift)
    return of_x  # type: ignore[no-any-return]
