"""A transformer layer from its mixed values on: output projection, normalisation, feed-forward, normalisation.

Two thirds of a step are spent here. `plain_layer_tail` says what is computed. On a CPU and for networks of some
size, `layer_tail` computes it lane by lane, with gradients by hand, so that what one operation writes the next one
finds in the cache. Letters in shapes: L lanes, C width, F hidden width; rows are (example, queried position).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trainables.operations import CHUNK_ELEMENTS, LAYER_NORM_EPSILON, chunks, dense, gelu, gelu_into, layer_norm

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
"""What the functions below take, in this order, after the name of the layer."""


def layer_tail(residual: Tensor, mixed: Tensor, *parameters: Tensor) -> Tensor:
    """The layer's output [L, rows, C].

    Args:
        residual: what entered the layer, [L, rows, C].
        mixed: what attention made of it, [L, rows, C].
        parameters: see `PARAMETERS`, each with a lane axis.
    """
    if mixed.device.type == "cpu" and mixed.shape[1] * parameters[4].shape[2] >= CHUNK_ELEMENTS:
        return _LayerTail.apply(residual, mixed, *parameters)  # type: ignore[no-any-return,no-untyped-call]
    return plain_layer_tail(residual, mixed, *parameters)


def plain_layer_tail(residual: Tensor, mixed: Tensor, *parameters: Tensor) -> Tensor:
    """`layer_tail` with all lanes at once and gradients left to torch."""
    kernel, bias, scale1, shift1, kernel1, bias1, kernel2, bias2, scale2, shift2 = parameters
    x = layer_norm(residual + dense(mixed, kernel, bias), scale1, shift1)
    return layer_norm(x + dense(gelu(dense(x, kernel1, bias1)), kernel2, bias2), scale2, shift2)


class _LayerTail(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, residual: Tensor, mixed: Tensor, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(mixed, *parameters)
        ctx.lanes = []
        rows, features = mixed.shape[1], parameters[4].shape[2]
        before = mixed.new_empty(rows, features)
        step = max(1, CHUNK_ELEMENTS // features)
        space = [mixed.new_empty(step, features) for _ in range(2)]
        result = torch.empty_like(mixed)
        for lane, (entered, mix, *some) in enumerate(zip(residual, mixed, *parameters, strict=True)):
            kernel, bias, scale1, shift1, kernel1, bias1, kernel2, bias2, scale2, shift2 = some
            sum1 = torch.addmm(bias, mix, kernel).add_(entered)
            x, *moments1 = torch.native_layer_norm(sum1, sum1.shape[1:], scale1, shift1, LAYER_NORM_EPSILON)
            torch.mm(x, kernel1, out=before)
            hidden, slope = torch.empty_like(before), torch.empty_like(before)
            for at, out, slope_out in zip(*(chunks(part, step) for part in (before, hidden, slope)), strict=True):
                gelu_into(at.add_(bias1), out, slope_out, *(part[: len(at)] for part in space))
            sum2 = torch.addmm(bias2, hidden, kernel2).add_(x)
            last, *moments2 = torch.native_layer_norm(sum2, sum2.shape[1:], scale2, shift2, LAYER_NORM_EPSILON)
            result[lane] = last
            if any(ctx.needs_input_grad):
                ctx.lanes.append((sum1, moments1, x, hidden, slope, sum2, moments2))
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        mixed, *parameters = ctx.saved_tensors
        of_residual, of_mixed = torch.empty_like(mixed), torch.empty_like(mixed)
        of_parameters = [torch.empty_like(parameter) for parameter in parameters]
        rows, features = mixed.shape[1], parameters[4].shape[2]
        before, ones = mixed.new_empty(rows, features), mixed.new_ones(rows)
        for lane, (sum1, moments1, x, hidden, slope, sum2, moments2) in enumerate(ctx.lanes):
            kernel, _, scale1, shift1, kernel1, _, kernel2, _, scale2, shift2 = (one[lane] for one in parameters)
            to = [of[lane] for of in of_parameters]
            of_sum2 = _norm_backward(gradient[lane], sum2, moments2, scale2, shift2, to[8:])
            torch.mm(hidden.mT, of_sum2, out=to[6])
            torch.mv(of_sum2.mT, ones, out=to[7])
            torch.mm(of_sum2, kernel2.mT, out=before)
            before.mul_(slope)
            torch.mm(x.mT, before, out=to[4])
            torch.mv(before.mT, ones, out=to[5])
            of_x = of_sum2.addmm_(before, kernel1.mT)
            of_sum1 = _norm_backward(of_x, sum1, moments1, scale1, shift1, to[2:4])
            torch.mm(mixed[lane].mT, of_sum1, out=to[0])
            torch.mv(of_sum1.mT, ones, out=to[1])
            torch.mm(of_sum1, kernel.mT, out=of_mixed[lane])
            of_residual[lane] = of_sum1
        return of_residual, of_mixed, *of_parameters


def _norm_backward(
    gradient: Tensor, x: Tensor, moments: list[Tensor], scale: Tensor, shift: Tensor, out: list[Tensor]
) -> Tensor:
    """Gradient of a normalisation's input; those of its scale and shift are written to `out`."""
    of_x, of_scale, of_shift = torch.ops.aten.native_layer_norm_backward(
        gradient.contiguous(), x, x.shape[1:], *moments, scale, shift, [True, True, True]
    )
    out[0].copy_(of_scale)
    out[1].copy_(of_shift)
    return of_x  # type: ignore[no-any-return]
