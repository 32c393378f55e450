"""How sensitive the loss is to every piece of a network: a Kronecker pair of curvatures, one along each side.

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

#: The loss increase, in nats, at which curvature is taken, whatever epsilon is.
CURVATURE_INCREASE = 0.7

#: A network that has learnt little cannot lose that much: where it knows nothing, gradients say nothing. The
#: increase is then this share of what the network loses with all weights at zero.
REACHABLE_SHARE = 0.5

#: Weights that no gradient reaches are left out if the network without them loses no more than this, in nats.
UNSEEN_INCREASE = 1e-3

#: The noise lies between these shares of each tensor's standard deviation, found by this many bisections.
_WEAKEST, _STRONGEST = 1e-3, 4.0
_NOISE_ROUNDS = 8
_SOME_EXAMPLES = 1024

#: The examples on which removal is tried, and the largest factor on the curvature of a piece.
_REMOVAL_EXAMPLES = 256
_LARGEST_RAISE = 1e4

#: A piece whose trace is at most this counts as not seen by the loss.
_SMALLEST_TRACE = 1e-20

_SEED = 0


@dataclass(frozen=True, slots=True)
class Curvature:
    """The curvature of the loss in one piece: about rows x columns / trace, nats per squared weight, times two."""

    rows: Tensor
    """[L, R, R] summed over columns."""
    columns: Tensor
    """[L, C, C] summed over rows, divided by the trace of `rows`."""
    seen_rows: Tensor
    """[L, R] bool: where there is any gradient at all."""
    seen_columns: Tensor
    """[L, C]"""


def increases(
    objective: Objective, parameters: Mapping[str, Tensor], base: Tensor, examples: int | None = None
) -> Tensor:
    """Return [L]: mean loss of these parameters minus base [L], in nats; infinite where it is not finite."""
    with torch.no_grad():
        # In float64: the increase is a small difference of two means over thousands of examples.
        mean = objective.losses(parameters, examples).double().mean(1)
    return torch.where(mean.isfinite(), mean - base, torch.inf)


def curvatures(
    objective: Objective, parameters: Mapping[str, Tensor], base: Tensor, cut: Sequence[Piece], times: int
) -> dict[Piece, Curvature]:
    """Estimate the curvature of all pieces that the loss depends on in some lane.

    Args:
        objective: the loss.
        parameters: [L, ...].
        base: [L] mean losses.
        cut: the pieces.
        times: the factor on the objective's usual number of looks.

    Where the loss has no usable gradient, every piece's curvature is taken from its own size.
    """
    deviations = {
        name: tensor.float().reshape(len(tensor), -1).std(1, correction=0) for name, tensor in parameters.items()
    }
    strength = _noise_strength(objective, parameters, deviations)
    scales = {name: strength * deviation for name, deviation in deviations.items()}
    known_curvatures = (
        _fisher(objective, parameters, scales, cut, times * objective.looks) if bool(strength.any()) else None
    )
    sizes = _by_size(parameters, cut)
    if known_curvatures is None:
        return _seen_anywhere(sizes)
    known_curvatures = _no_less_than_removal(objective, parameters, known_curvatures)
    without = {name: torch.zeros_like(tensor) for name, tensor in parameters.items()}
    for piece, one in known_curvatures.items():
        seen = one.seen_rows[:, :, None] & one.seen_columns[:, None, :]
        take(without[piece.name], piece).copy_(take(parameters[piece.name], piece) * seen)
    # Decide lane by lane: what is known of one network must not depend on another.
    complete = increases(objective, without, base) <= UNSEEN_INCREASE
    usable = (strength > 0) & torch.stack(
        [one.rows.flatten(1).isfinite().all(1) for one in known_curvatures.values()]
    ).all(0)
    chosen = {}
    for piece, one in known_curvatures.items():
        known = _of_lanes(complete, one, _everything_seen(one, sizes[piece]))
        chosen[piece] = _of_lanes(usable, known, sizes[piece])
    return _seen_anywhere(chosen)


def _of_lanes(first: Tensor, one: Curvature, other: Curvature) -> Curvature:
    """Choose `one` in lanes where `first` [L] is true, `other` elsewhere."""

    def chosen(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(over_lanes(first, a), a, b)

    return Curvature(
        chosen(one.rows, other.rows),
        chosen(one.columns, other.columns),
        chosen(one.seen_rows, other.seen_rows),
        chosen(one.seen_columns, other.seen_columns),
    )


def _seen_anywhere(known_curvatures: Mapping[Piece, Curvature]) -> dict[Piece, Curvature]:
    return {piece: one for piece, one in known_curvatures.items() if bool(one.seen_rows.any())}


def _no_less_than_removal(
    objective: Objective, parameters: Mapping[str, Tensor], known_curvatures: Mapping[Piece, Curvature]
) -> dict[Piece, Curvature]:
    """Raise the curvature where removing a piece costs the loss more than the curvature says.

    Noise can drown the effect of some pieces that cannot be missed, such as the keys of an attention, so that their
    curvature seems small. So the cost of removal is taken from the loss itself, on a part of the examples. The
    square root of the ratio is a compromise: the loss saturates, and large pieces need no help.
    """
    with torch.no_grad():
        base = objective.losses(parameters, _REMOVAL_EXAMPLES).double().mean(1)
    raised = {}
    for piece, one in known_curvatures.items():
        whole = parameters[piece.name]
        weights = take(whole, piece).float()
        # The mean of a vector is sent apart, so removal of the piece leaves it.
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
    """Find the noise [L], in standard deviations of each tensor, that raises the loss as wanted; 0 if none can."""
    # One draw of noise for all strengths, so that the loss depends on the strength alone.
    noise = _noise(parameters, "strength")
    with torch.no_grad():
        base = objective.losses(parameters, _SOME_EXAMPLES).double().mean(1)
    nothing = {name: torch.zeros_like(tensor) for name, tensor in parameters.items()}
    reachable = increases(objective, nothing, base, _SOME_EXAMPLES)
    wanted = (REACHABLE_SHARE * reachable).clamp(max=CURVATURE_INCREASE)
    # Bisect in logarithms, since strengths range over four orders of magnitude.
    low = torch.full_like(base, math.log(_WEAKEST))
    high = torch.full_like(base, math.log(_STRONGEST))
    for _ in range(_NOISE_ROUNDS):
        middle = (low + high) / 2
        strength = middle.exp().float()
        scales = {name: strength * deviation for name, deviation in deviations.items()}
        fits = increases(objective, _noisy(parameters, noise, scales), base, _SOME_EXAMPLES) <= wanted
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    # The lower end of the bracket has kept the loss below what is wanted (or is the weakest noise of all); the
    # upper one has not.
    return torch.where(wanted > 0, low.exp(), 0.0).float()


def _noise(parameters: Mapping[str, Tensor], *purpose: int | str) -> dict[str, Tensor]:
    """Draw noise [...] for every tensor, the same for all lanes, uniform over a width of 1."""
    # Drawn on the CPU and in the order of names: the device and the order of tensors must not matter.
    drawn = generator(_SEED, "noise", *purpose)
    return {
        name: (torch.rand(parameters[name].shape[1:], generator=drawn) - 0.5).to(parameters[name].device)
        for name in sorted(parameters)
    }


def _noisy(
    parameters: Mapping[str, Tensor], noise: Mapping[str, Tensor], scales: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Add noise [...], times each tensor's scale [L], to parameters [L, ...]."""
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
    """Average squared gradients over looks, each at a copy of the parameters under noise of its own."""

    def gradients(look: int | None) -> dict[str, Tensor] | None:
        """Return gradients of one look, or of all losses together if `look` is None."""
        purpose = "everything" if look is None else look
        copy = _noisy(parameters, _noise(parameters, purpose), scales)
        leaves = {name: tensor.requires_grad_() for name, tensor in copy.items()}
        with torch.enable_grad():
            losses = differentiable(
                lambda: objective.losses(leaves) if look is None else objective.look(leaves, look)
            )
            if losses is None:
                return None
            # Lanes do not affect each other, so the gradient of their sum holds the gradient of each.
            parts = torch.autograd.grad(losses.sum(), list(leaves.values()), allow_unused=True)
        return {
            name: torch.zeros_like(leaf, dtype=torch.float32) if part is None else part.float()
            for (name, leaf), part in zip(leaves.items(), parts, strict=True)
        }

    # A look may see a part of the examples only. Which weights the loss depends on at all is asked of all of them.
    everything = gradients(None)
    if everything is None:
        return None
    rows, columns = {}, {}
    for piece in cut:
        lanes, height, width = take(everything[piece.name], piece).shape
        rows[piece] = everything[piece.name].new_zeros(lanes, height, height)
        columns[piece] = everything[piece.name].new_zeros(lanes, width, width)
    for number in range(looks):
        gradient_of = gradients(number)
        assert gradient_of is not None, "the loss had a gradient a moment ago"
        for piece in cut:
            gradient = take(gradient_of[piece.name], piece)
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
    """Take the curvature from each piece's size, where nothing else is known."""
    sizes = {}
    # One over the mean square, so that every piece is rounded in proportion to its size.
    for piece in cut:
        weights = take(parameters[piece.name], piece).float()
        lanes, rows, columns = weights.shape
        square = weights.square().mean((1, 2)).clamp_min(1e-30)[:, None, None]
        sizes[piece] = Curvature(
            torch.eye(rows, device=weights.device).expand(lanes, rows, rows) * columns / square,
            torch.eye(columns, device=weights.device).expand(lanes, columns, columns) / columns,
            (weights != 0).any(2),
            (weights != 0).any(1),
        )
    return sizes


def _everything_seen(one: Curvature, size: Curvature) -> Curvature:
    """Include every row and column, with at least a trace of the curvature that its size suggests."""
    share = 1e-4
    return Curvature(
        one.rows + share * size.rows,
        # Both have trace 1, and so must their sum.
        (one.columns + share * size.columns) / (1 + share),
        torch.ones_like(one.seen_rows),
        torch.ones_like(one.seen_columns),
    )
