"""How the loss feels every piece of a network: a Kronecker pair of curvatures, one along each side.

The curvature is the Fisher information at a copy of the network under noise, so strong that its loss has risen by
about what rounding will cost: at the minimum itself a network that has memorised feels nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.complexity.objective import Objective, differentiable, over_lanes
from trainables.complexity.pieces import Piece, take
from trainables.numerics.roots import square_root
from trainables.random import generator

#: The loss increase, in nats, at which curvature is taken, whatever epsilon is asked for.
CURVATURE_INCREASE = 0.7

#: A network that has learnt little cannot lose that much: beyond what it knows, gradients say nothing. The
#: increase is then this share of what it loses with all its weights at zero.
REACHABLE_SHARE = 0.5

#: Weights that no gradient reaches are left out if the network without them loses no more than this, in nats.
UNSEEN_INCREASE = 1e-3

#: How strong noise is: between these shares of each tensor's standard deviation, halved so often.
_WEAKEST, _STRONGEST = 1e-3, 4.0
_NOISE_ROUNDS = 8
_SOME_EXAMPLES = 1024

#: What removal is tried on, and by how much it may raise the curvature of a piece.
_REMOVAL_EXAMPLES = 256
_LARGEST_RAISE = 1e4

#: Below this a piece is not felt at all.
_SMALLEST_TRACE = 1e-20

_SEED = 0


@dataclass(frozen=True, slots=True)
class Curvature:
    """What the loss feels of one piece: about rows x columns / trace, in nats per squared weight (twice over)."""

    rows: Tensor
    """[L, R, R] summed over columns."""
    columns: Tensor
    """[L, C, C] summed over rows, over the trace of `rows`."""
    seen_rows: Tensor
    """[L, R] bool: where there is any gradient at all."""
    seen_columns: Tensor
    """[L, C]"""


def increases(
    objective: Objective, parameters: Mapping[str, Tensor], base: Tensor, examples: int | None = None
) -> Tensor:
    """[L] mean loss of these parameters above base [L], in nats; infinite where not finite."""
    with torch.no_grad():
        mean = objective.losses(parameters, examples).double().mean(1)
    return torch.where(mean.isfinite(), mean - base, torch.inf)


def curvatures(
    objective: Objective, parameters: Mapping[str, Tensor], base: Tensor, cut: Sequence[Piece], times: int
) -> dict[Piece, Curvature]:
    """The curvature of all pieces that the loss sees in some lane.

    Args:
        objective: the loss.
        parameters: [L, ...].
        base: [L] mean losses.
        cut: the pieces.
        times: so many times the objective's usual number of looks.

    Where the loss has no usable gradient, every piece is taken to be felt in proportion to its own size.
    """
    deviations = {
        name: tensor.float().reshape(len(tensor), -1).std(1, correction=0) for name, tensor in parameters.items()
    }
    strength = _noise_strength(objective, parameters, deviations)
    scales = {name: strength * deviation for name, deviation in deviations.items()}
    found = _fisher(objective, parameters, scales, cut, times * objective.looks) if bool(strength.any()) else None
    sizes = _by_size(parameters, cut)
    if found is None:
        return _seen_anywhere(sizes)
    found = _no_less_than_removal(objective, parameters, found)
    without = {name: torch.zeros_like(tensor) for name, tensor in parameters.items()}
    for piece, one in found.items():
        seen = one.seen_rows[:, :, None] & one.seen_columns[:, None, :]
        take(without[piece.name], piece).copy_(take(parameters[piece.name], piece) * seen)
    # Lane by lane: what is known of one network does not depend on another.
    complete = increases(objective, without, base) <= UNSEEN_INCREASE
    usable = (strength > 0) & torch.stack([one.rows.flatten(1).isfinite().all(1) for one in found.values()]).all(0)
    chosen = {}
    for piece, one in found.items():
        known = _of_lanes(complete, one, _everything_seen(one, sizes[piece]))
        chosen[piece] = _of_lanes(usable, known, sizes[piece])
    return _seen_anywhere(chosen)


def _of_lanes(first: Tensor, one: Curvature, other: Curvature) -> Curvature:
    """The one in lanes where `first` [L] says so, the other elsewhere."""

    def chosen(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(over_lanes(first, a), a, b)

    return Curvature(
        chosen(one.rows, other.rows),
        chosen(one.columns, other.columns),
        chosen(one.seen_rows, other.seen_rows),
        chosen(one.seen_columns, other.seen_columns),
    )


def _seen_anywhere(found: Mapping[Piece, Curvature]) -> dict[Piece, Curvature]:
    return {piece: one for piece, one in found.items() if bool(one.seen_rows.any())}


def _no_less_than_removal(
    objective: Objective, parameters: Mapping[str, Tensor], found: Mapping[Piece, Curvature]
) -> dict[Piece, Curvature]:
    """The curvature, raised where removing a piece costs the loss more than the curvature says.

    Some pieces are hardly felt under noise that has drowned their effect already, and yet cannot be missed: the
    keys of an attention, say. What removal costs is asked of the loss itself, on a part of the examples. The root
    of the ratio is a middle way: the loss saturates, and large pieces need no help.
    """
    with torch.no_grad():
        base = objective.losses(parameters, _REMOVAL_EXAMPLES).double().mean(1)
    raised = {}
    for piece, one in found.items():
        whole = parameters[piece.name]
        weights = take(whole, piece).float()
        if piece.rows == 1:
            weights = weights - weights.mean((1, 2), keepdim=True)
        without = whole.clone()
        take(without, piece).sub_(weights.to(whole.dtype))
        cost = increases(objective, {**parameters, piece.name: without}, base, _REMOVAL_EXAMPLES)
        expected = 0.5 * ((one.rows @ weights) * (weights @ one.columns)).sum((1, 2)).double()
        factor = square_root((cost / expected.clamp_min(_SMALLEST_TRACE)).clamp(1.0, _LARGEST_RAISE)).float()
        raised[piece] = Curvature(one.rows * factor[:, None, None], one.columns, one.seen_rows, one.seen_columns)
    return raised


def _noise_strength(
    objective: Objective, parameters: Mapping[str, Tensor], deviations: Mapping[str, Tensor]
) -> Tensor:
    """[L] the noise, in standard deviations of each tensor, that raises the loss as wanted; 0 where nothing can."""
    noise = _noise(parameters, "strength")
    with torch.no_grad():
        base = objective.losses(parameters, _SOME_EXAMPLES).double().mean(1)
    nothing = {name: torch.zeros_like(tensor) for name, tensor in parameters.items()}
    reachable = increases(objective, nothing, base, _SOME_EXAMPLES)
    wanted = (REACHABLE_SHARE * reachable).clamp(max=CURVATURE_INCREASE)
    low = torch.full_like(base, math.log(_WEAKEST))
    high = torch.full_like(base, math.log(_STRONGEST))
    for _ in range(_NOISE_ROUNDS):
        middle = (low + high) / 2
        strength = middle.exp().float()
        scales = {name: strength * deviation for name, deviation in deviations.items()}
        fits = increases(objective, _noisy(parameters, noise, scales), base, _SOME_EXAMPLES) <= wanted
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    return torch.where(wanted > 0, low.exp(), 0.0).float()


def _noise(parameters: Mapping[str, Tensor], *purpose: int | str) -> dict[str, Tensor]:
    """Noise [...] for every tensor, the same for all lanes, uniform over a width of 1."""
    drawn = generator(_SEED, "noise", *purpose)
    return {
        name: (torch.rand(parameters[name].shape[1:], generator=drawn) - 0.5).to(parameters[name].device)
        for name in sorted(parameters)
    }


def _noisy(
    parameters: Mapping[str, Tensor], noise: Mapping[str, Tensor], scales: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Parameters [L, ...] plus noise [...] times each tensor's scale [L]."""
    return {
        name: (tensor + over_lanes(scales[name], tensor) * noise[name]).to(tensor.dtype)
        for name, tensor in parameters.items()
    }


def _fisher(
    objective: Objective,
    parameters: Mapping[str, Tensor],
    scales: Mapping[str, Tensor],
    cut: Sequence[Piece],
    looks: int,
) -> dict[Piece, Curvature] | None:
    """The mean of squared gradients over looks, each at a copy under noise of its own."""

    def gradients(look: int | None) -> dict[str, Tensor] | None:
        """At a look, or of all losses together."""
        purpose = "everything" if look is None else look
        copy = _noisy(parameters, _noise(parameters, purpose), scales)
        leaves = {name: tensor.requires_grad_() for name, tensor in copy.items()}
        with torch.enable_grad():
            losses = differentiable(
                lambda: objective.losses(leaves) if look is None else objective.look(leaves, look)
            )
            if losses is None:
                return None
            parts = torch.autograd.grad(losses.sum(), list(leaves.values()), allow_unused=True)
        return {
            name: torch.zeros_like(leaf, dtype=torch.float32) if part is None else part.float()
            for (name, leaf), part in zip(leaves.items(), parts, strict=True)
        }

    everything = gradients(None)
    if everything is None:
        return None
    rows, columns = {}, {}
    for piece in cut:
        lanes, height, width = take(everything[piece.name], piece).shape
        rows[piece] = everything[piece.name].new_zeros(lanes, height, height)
        columns[piece] = everything[piece.name].new_zeros(lanes, width, width)
    for number in range(looks):
        found = gradients(number)
        assert found is not None, "the loss had a gradient a moment ago"
        for piece in cut:
            gradient = take(found[piece.name], piece)
            rows[piece].baddbmm_(gradient, gradient.mT, alpha=1 / looks)
            columns[piece].baddbmm_(gradient.mT, gradient, alpha=1 / looks)
    summed = {}
    for piece in cut:
        felt = take(everything[piece.name], piece) != 0
        trace = rows[piece].diagonal(dim1=1, dim2=2).sum(1)
        alive = (trace > _SMALLEST_TRACE)[:, None]
        summed[piece] = Curvature(
            rows[piece],
            columns[piece] / trace.clamp_min(_SMALLEST_TRACE)[:, None, None],
            felt.any(2) & alive,
            felt.any(1) & alive,
        )
    return summed


def _by_size(parameters: Mapping[str, Tensor], cut: Sequence[Piece]) -> dict[Piece, Curvature]:
    """The curvature to start from where nothing is known: every piece is felt in proportion to its size."""
    found = {}
    for piece in cut:
        weights = take(parameters[piece.name], piece).float()
        lanes, rows, columns = weights.shape
        square = weights.square().mean((1, 2)).clamp_min(1e-30)[:, None, None]
        found[piece] = Curvature(
            torch.eye(rows, device=weights.device).expand(lanes, rows, rows) * columns / square,
            torch.eye(columns, device=weights.device).expand(lanes, columns, columns) / columns,
            (weights != 0).any(2),
            (weights != 0).any(1),
        )
    return found


def _everything_seen(one: Curvature, size: Curvature) -> Curvature:
    """No row or column left out, and no piece felt less than a trace of what its size says."""
    share = 1e-4
    return Curvature(
        one.rows + share * size.rows,
        (one.columns + share * size.columns) / (1 + share),
        torch.ones_like(one.seen_rows),
        torch.ones_like(one.seen_columns),
    )
