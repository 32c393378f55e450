"""Operations of lane-batched networks with hand-written gradients, because those are faster.

On a CPU each operation gives a lane the same bits whatever the number of lanes and its place among them. Two
habits ensure that. Elementwise kernels get whole vectors only, since they compute the last few elements of a
tensor by other instructions than the rest; and sums run over one lane's numbers in one order.

Letters in shapes: L lanes, n examples, T positions, C width, h heads, d width of a head, E entries of a table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from trainables.numerics.leftovers import VECTOR_ELEMENTS

CHUNK_ELEMENTS = 32_768
"""Elements that pass through several elementwise kernels while they are in the cache. This is torch's grain size,
so that no kernel splits a chunk over threads, and a multiple of `VECTOR_ELEMENTS`."""

LAYER_NORM_EPSILON = 1e-6
_GELU_SCALE = 2 * math.sqrt(2 / math.pi)


def with_slope(outputs: Tensor, slope: Tensor) -> Tensor:
    """Return a scalar, zero, whose slope in the outputs is the given one, of their shape.

    `torch.autograd.grad` takes slopes as well, but imports sympy for them: half a second in every process.
    """
    return _WithSlope.apply(outputs, slope)  # type: ignore[no-any-return,no-untyped-call]


class _WithSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, outputs: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return outputs.new_zeros(())

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, None]:
        return ctx.saved_tensors[0], None


def look_up(table: Tensor, entries: Tensor) -> Tensor:
    """Look up rows [L, ..., C] of each lane's table [L, E, C] at entries [L, ...], or [...] shared by all lanes."""
    lanes, rows, width = table.shape
    return functional.embedding(entries + _first_rows(lanes, rows, entries), table.reshape(lanes * rows, width))


def _first_rows(lanes: int, rows: int, entries: Tensor) -> Tensor:
    """Return where each lane's rows begin among those of all lanes, [L, 1, 1]."""
    return torch.arange(0, lanes * rows, rows, device=entries.device)[:, None, None]


def dense(x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Apply an affine layer: [L, rows, inputs], [L, inputs, outputs], [L, outputs] -> [L, rows, outputs]."""
    return _Dense.apply(x, kernel, bias)  # type: ignore[no-any-return,no-untyped-call]


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, kernel)
        return torch.baddbmm(bias[:, None], x, kernel)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, kernel = ctx.saved_tensors
        ones = gradient.new_ones(1, 1, gradient.shape[1]).expand(gradient.shape[0], -1, -1)
        return (
            torch.bmm(gradient, kernel.mT) if ctx.needs_input_grad[0] else None,
            torch.bmm(x.mT, gradient),
            torch.bmm(ones, gradient)[:, 0],
        )


def chunks(x: Tensor, size: int) -> list[Tensor]:
    """Split x along the first axis into parts of `size`; the last one may be smaller."""
    return [x[first : first + size] for first in range(0, len(x), size)]


def gelu(x: Tensor) -> Tensor:
    """Apply GELU, tanh form, to [L, rows, C]: x sigmoid(z) with z = 2 sqrt(2 / pi) (x + 0.044715 x^3)."""
    elements = x[0].numel()
    missing = -elements % VECTOR_ELEMENTS
    if not missing:
        return _Gelu.apply(x)  # type: ignore[no-any-return,no-untyped-call]
    padded = functional.pad(x.flatten(1), (0, missing))
    return _Gelu.apply(padded)[:, :elements].reshape(x.shape)  # type: ignore[no-any-return,no-untyped-call]


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        result = torch.empty_like(x)
        slope = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        chunk = CHUNK_ELEMENTS if x.device.type == "cpu" else x.numel()
        results = chunks(result.view(-1), chunk)
        slopes: Sequence[Tensor | None] = [None] * len(results) if slope is None else chunks(slope.view(-1), chunk)
        space = x.new_empty(2, min(chunk, x.numel()))
        for at, out, slope_out in zip(chunks(x.view(-1), chunk), results, slopes, strict=True):
            gelu_into(at, out, slope_out, *space[:, : len(at)])
        if slope is not None:
            ctx.save_for_backward(slope)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        return slope * gradient  # type: ignore[no-any-return]


def gelu_into(x: Tensor, result: Tensor, slope: Tensor | None, z: Tensor, sigmoid: Tensor) -> None:
    """Write GELU and, if `slope` is given, its derivative; `z` and `sigmoid` are buffers, `slope` may be x.

    The derivative is sigmoid(z) + sigmoid'(z) x z'(x), where x z'(x) = 3 z - 4 sqrt(2 / pi) x.
    """
    torch.addcmul(x.new_full((), _GELU_SCALE), x, x, value=0.044715 * _GELU_SCALE, out=z).mul_(x)
    torch.sigmoid(z, out=sigmoid)
    torch.mul(x, sigmoid, out=result)
    if slope is not None:
        z.sub_(x, alpha=2 / 3 * _GELU_SCALE)
        torch.ops.aten.sigmoid_backward.grad_input(z, sigmoid, grad_input=z)
        torch.add(sigmoid, z, alpha=3, out=slope)


def layer_norm(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Normalise the rows of [L, rows, C]; scale and bias [L, C]."""
    normal = functional.layer_norm(x, x.shape[-1:], eps=LAYER_NORM_EPSILON)
    return torch.addcmul(bias[:, None], normal, scale[:, None])


def attend_entries(scores: Tensor, values: Tensor, entries: Tensor) -> Tensor:
    """Apply attention where a table's entry determines everything about a position: its score and its value.

    Args:
        scores: [L, E, h], of each entry; softmax is over the positions of an example.
        values: [L, E, C], of each entry; head i owns the i-th C / h columns.
        entries: rows of the table, [L, T, n].

    Returns:
        [L, n, C].
    """
    return _AttendEntries.apply(scores, values, entries)  # type: ignore[no-any-return,no-untyped-call]


class _AttendEntries(torch.autograd.Function):
    """Both directions are bags of short rows: the table's rows of an example, the gradients of a table's row."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, values: Tensor, entries: Tensor) -> Tensor:
        (lanes, positions, examples), (size, heads) = entries.shape, scores.shape[1:]
        weights = look_up(scores, entries).softmax(1)  # [L, T, n, h]
        rows = (entries + _first_rows(lanes, size, entries)).transpose(1, 2)  # [L, n, T]
        rows = rows[:, :, None] * heads + torch.arange(heads, device=rows.device)[:, None]  # [L, n, h, T]
        table = values.reshape(lanes * size * heads, -1)  # [L E h, d]
        bags = weights.permute(0, 2, 3, 1).reshape(-1, positions)
        with torch.set_grad_enabled(ctx.needs_input_grad[0]):  # torch computes the weights' gradient
            mixed = functional.embedding_bag(
                rows.reshape(-1, positions), table, per_sample_weights=bags.requires_grad_(), mode="sum"
            )
        ctx.save_for_backward(weights, entries)
        ctx.bags, ctx.mixed, ctx.size = bags, mixed, size
        return mixed.detach().view(lanes, examples, -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        weights, entries = ctx.saved_tensors
        lanes, positions, examples, heads = weights.shape
        uses = positions * examples
        parts = gradient.reshape(lanes * examples * heads, -1)
        with torch.enable_grad():
            (of_weights,) = torch.autograd.grad(with_slope(ctx.mixed, parts), ctx.bags)
        of_weights = of_weights.view(lanes, examples, heads, positions).permute(0, 3, 1, 2)
        weighted = weights * of_weights
        of_scores = weighted - weights * weighted.sum(1, keepdim=True)

        # Group the uses of each entry, [L, T n], and find where each group begins, [L, E].
        used, order = entries.flatten(1).sort(stable=True)
        begin = torch.searchsorted(used, torch.arange(ctx.size, device=used.device).repeat(lanes, 1))
        lane = torch.arange(lanes, device=order.device)[:, None]
        of_scores = functional.embedding_bag(
            (lane * uses + order).view(-1),
            of_scores.reshape(lanes * uses, heads),
            (lane * uses + begin).view(-1),
            mode="sum",
        )
        head = torch.arange(heads, device=order.device)[:, None]
        row = (lane * examples + order % examples)[:, None] * heads + head  # [L, h, T n]
        used_weights = weights.flatten(1, 2).gather(1, order[..., None].expand(-1, -1, heads)).mT
        of_values = functional.embedding_bag(
            row.view(-1),
            parts,
            ((lane[..., None] * heads + head) * uses + begin[:, None]).view(-1),
            per_sample_weights=used_weights.reshape(-1),
            mode="sum",
        )
        of_values = of_values.view(lanes, heads, ctx.size, -1).transpose(1, 2).reshape(lanes, ctx.size, -1)
        return of_scores.view(lanes, ctx.size, heads), of_values, None
