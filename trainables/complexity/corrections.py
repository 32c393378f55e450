"""Scales and means fitted after rounding, by a few small steps down the gradient of the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from trainables.complexity.candidates import Candidates, Corrections, snapped_means
from trainables.complexity.objective import Objective, differentiable, over_lanes
from trainables.complexity.pieces import Piece, matrix_shape
from trainables.numerics.roots import square_root

_RATE = 0.12
_LAST_RATE = 0.5
_MOMENTUM, _SQUARES = 0.8, 0.95

#: Average over this share of the steps, the last ones: each step sees few examples and is noisy.
_AVERAGED = 0.25

#: Means move in proportion to their size, or to this where they are smaller.
_SMALLEST_REACH = 0.1


def fitted(candidates: Candidates, objective: Objective, steps: int) -> Corrections:
    """Fit the gain of every piece and the mean of every vector that has one, by Adam in each lane.

    A loss without gradient leaves them as they are.
    """
    bases = candidates.bases()
    old = candidates.corrections
    shown = [piece for bucket in candidates.buckets for piece in bucket.pieces]
    moved = [piece for piece in shown if piece in old.means]
    if not shown:
        return old
    leaves = [torch.stack([old.gains[piece] for piece in shown], 1).log()]
    reach = [torch.ones_like(leaves[0])]
    if moved:
        leaves.append(torch.stack([old.means[piece] for piece in moved], 1))
        reach.append(torch.where(leaves[1] != 0, leaves[1].abs().clamp_min(_SMALLEST_REACH), 0.0))
    first = [torch.zeros_like(leaf) for leaf in leaves]
    second = [torch.zeros_like(leaf) for leaf in leaves]
    means_of_last = [torch.zeros_like(leaf) for leaf in leaves]
    layout = _layout(bases, shown)
    averaged = max(1, round(_AVERAGED * steps))
    for step in range(1, steps + 1):
        for leaf in leaves:
            leaf.requires_grad_()
        with torch.enable_grad():
            gains = dict(zip(shown, leaves[0].exp().unbind(1), strict=True))
            means = dict(zip(moved, leaves[1].unbind(1), strict=True)) if moved else {}
            weights = _corrected(bases, layout, gains, means, candidates.like)
            losses = differentiable(partial(objective.fitted, weights, step))
            if losses is None:
                return old
            parts = torch.autograd.grad(losses.sum(), leaves, materialize_grads=True)
        if step == 1:
            losses_before = losses.detach()
        rate = _RATE * (1 - (1 - _LAST_RATE) * (step - 1) / steps)
        for place, unchecked in enumerate(parts):
            # A lane whose loss is not finite stays where it is.
            part = torch.where(unchecked.isfinite(), unchecked, 0.0)
            first[place].lerp_(part, 1 - _MOMENTUM)
            second[place].lerp_(part.square(), 1 - _SQUARES)
            change = first[place] / (1 - _MOMENTUM**step)
            scale = square_root(second[place] / (1 - _SQUARES**step)) + 1e-8
            leaves[place] = leaves[place].detach() - rate * reach[place] * change / scale
            if step > steps - averaged:
                means_of_last[place] += leaves[place] / averaged
    gains = dict(zip(shown, means_of_last[0].exp().unbind(1), strict=True))
    means = (
        {piece: snapped_means(mean) for piece, mean in zip(moved, means_of_last[1].unbind(1), strict=True)}
        if moved
        else {}
    )
    # Adam's steps have a least length, so they can worsen values that are already right: keep those as they were.
    with torch.no_grad():
        losses_now = objective.fitted(_corrected(bases, layout, gains, means, candidates.like), 1)
    better = losses_now < losses_before
    return Corrections(
        {**old.gains, **{piece: torch.where(better, gain, old.gains[piece]) for piece, gain in gains.items()}},
        {**old.means, **{piece: torch.where(better, mean, old.means[piece]) for piece, mean in means.items()}},
    )


def _layout(bases: Mapping[str, Tensor], shown: Sequence[Piece]) -> dict[str, tuple[list[Piece], Tensor]]:
    """List each tensor's pieces, and number each matrix entry by its piece, or by one more where there is none."""
    layout = {}
    for name, base in bases.items():
        own = [piece for piece in shown if piece.name == name]
        shape = matrix_shape(tuple(base.shape[1:])) if len(own) > 1 else (0, 0)
        number = torch.full(shape, len(own), dtype=torch.int64, device=base.device)
        for index, piece in enumerate(own if len(own) > 1 else ()):
            number[piece.row : piece.row + piece.height, piece.column : piece.column + piece.width] = index
        layout[name] = own, number.flatten()
    return layout


def _corrected(
    bases: Mapping[str, Tensor],
    layout: Mapping[str, tuple[list[Piece], Tensor]],
    gains: Mapping[Piece, Tensor],
    means: Mapping[Piece, Tensor],
    like: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    corrected = {}
    for name, base in bases.items():
        weights = base
        own, number = layout[name]
        if len(own) == 1:
            (piece,) = own
            weights = base * over_lanes(gains[piece], base)
            if piece in means:
                weights = weights + over_lanes(means[piece], base)
        elif own:
            weights = base * _field([gains[piece] for piece in own], number, base, 1.0)
            if any(piece in means for piece in own):
                none = base.new_zeros(len(base))
                weights = weights + _field([means.get(piece, none) for piece in own], number, base, 0.0)
        corrected[name] = weights.to(like[name].dtype)
    return corrected


def _field(values: list[Tensor], number: Tensor, base: Tensor, elsewhere: float) -> Tensor:
    """Spread the values of a tensor's pieces over its entries, [L, ...]; `elsewhere` applies outside all pieces."""
    table = torch.stack([*values, torch.full_like(values[0], elsewhere)], 1)
    return table[:, number].reshape(base.shape)
