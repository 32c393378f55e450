"""Rounding whole networks at a price for bits: each piece directly, or as two factors of low rank.

One number sets everything: the price, in nats per bit. A piece takes the one of its two forms with the smaller
distortion plus price x bits; steps and dead zones follow from the price and the curvature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.complexity.buckets import Bucket, Side
from trainables.complexity.codes import (
    LARGEST_INTEGER,
    LARGEST_ROW_SCALE,
    SMALLEST_ROW_SCALE,
    row_scales,
)
from trainables.complexity.feedback import round_with_feedback, strict_block_part
from trainables.complexity.rate import estimated_bits, expected_magnitudes, geometric_bits
from trainables.complexity.triangular import coarse_first, factored, reordered
from trainables.numerics.roots import square_root

#: A step is this times sqrt(price / sharpness), the sharpness averaged over weights worth more than half the price.
STEP = 4.0
_WORTH = 0.5

#: The first pass, without feedback, takes this off magnitudes to see which will be zero.
_FIRST_DEAD_ZONE = 0.15
_NEVER = 1e9

#: Bits of a piece besides its integers: kind, scale and so on; of a row with a scale of its own; of a component.
_PIECE_BITS = 30.0
_ROW_SCALE_BITS = 3.0
_COMPONENT_BITS = 4.0

#: Components are rounded together in multiples of this, and are as high as blocks of the second factor.
_COMPONENT_BLOCK = 8

ZEROS, DIRECT, FACTORS = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Direct:
    """Pieces rounded entry by entry: weights = step x row scale x integer."""

    integers: Tensor
    """[L, T, R, C]"""
    exponents: Tensor
    """[L, T, R]: row scales are 2^(exponent / 2)."""
    steps: Tensor
    """[L, T]"""


@dataclass(frozen=True, slots=True)
class Factors:
    """Pieces as left diag(2^-exponents) right x step; exponents follow from the left factor."""

    left: Tensor
    """[L, T, R, K]"""
    right: Tensor
    """[L, T, K, C]"""
    steps: Tensor
    """[L, T]"""


@dataclass(frozen=True, slots=True)
class Rounded:
    """One bucket rounded at a price."""

    kinds: Tensor
    """[L, T]: ZEROS, DIRECT or FACTORS."""
    weights: Tensor
    """[L, T, R, C]: the reconstruction, still transformed, without scale corrections and means."""
    distortion: Tensor
    """[L, T] nats per example, estimated."""
    bits: Tensor
    """[L, T] estimated."""
    direct: Direct
    factors: Factors | None


def round_bucket(bucket: Bucket, prices: Tensor) -> Rounded:
    """Round a bucket at prices [L], nats per bit."""
    direct, weights, distortion, bits = _direct(bucket, prices)
    kinds = (direct.integers != 0).flatten(2).any(2).long() * DIRECT
    cost = distortion + prices[:, None] * bits
    factored_form = _factors(bucket, prices) if bucket.components is not None else None
    if factored_form is None:
        return Rounded(kinds, weights, distortion, bits, direct, None)
    factors, factor_weights, factor_distortion, factor_bits = factored_form
    better = factor_distortion + prices[:, None] * factor_bits < cost
    kinds = torch.where(better, FACTORS, kinds)
    weights = torch.where(better[..., None, None], factor_weights, weights)
    distortion = torch.where(better, factor_distortion, distortion)
    return Rounded(kinds, weights, distortion, torch.where(better, factor_bits, bits), direct, factors)


def left_exponents(left: Tensor) -> Tensor:
    """Return exponents [..., K]: 2^exponent is about the norm of each column of [..., R, K]; 0 for zero columns."""
    squares = left.double().square().sum(-2)
    # As in `trainables.complexity.codes`, whose exponents the decoder uses: a logarithm could round otherwise.
    return (torch.frexp(squares.clamp_min(1)).exponent - 1) // 2


def _direct(bucket: Bucket, prices: Tensor) -> tuple[Direct, Tensor, Tensor, Tensor]:
    ordered, sharpness = bucket.ordered, bucket.sharpness
    rows = ordered.shape[2]
    price = prices[:, None, None, None]
    exponents = _row_exponents(ordered, sharpness, price) if rows > 1 else torch.zeros_like(ordered[..., 0])
    scales = row_scales(exponents)[..., None]
    step, used = _step(ordered, sharpness, price, scales)
    steps = (step * scales).expand_as(ordered)
    thresholds = _thresholds(ordered, sharpness, price, steps, used)
    integers, errors = _round(ordered, bucket.rows, bucket.columns, steps, thresholds)
    distortion = (sharpness * errors.square()).sum((2, 3))
    # A row of zeros needs no scale, whatever its sharpness is.
    exponents = torch.where((integers != 0).any(3), exponents, 0.0)
    bits = estimated_bits(integers) + _PIECE_BITS + _ROW_SCALE_BITS * (exponents != 0).sum(2)
    back = bucket.rows.order.argsort(-1), bucket.columns.order.argsort(-1)
    weights = reordered(integers * steps, *back)
    direct = Direct(reordered(integers, *back), torch.gather(exponents, 2, back[0]), step[..., 0, 0])
    return direct, weights, distortion, bits


def _factors(bucket: Bucket, prices: Tensor) -> tuple[Factors, Tensor, Tensor, Tensor] | None:
    components = bucket.components
    assert components is not None
    lanes, members, rows, columns = bucket.weights.shape
    # A component of rank 1 is reckoned at one bit for each of its R + C entries.
    worth = components.singular_values.square() > prices[:, None, None] * (rows + columns)
    rank = -(-int(worth.sum(-1).max()) // _COMPONENT_BLOCK) * _COMPONENT_BLOCK
    if rank == 0:
        return None
    price = prices[:, None, None, None]
    # The first factor, with feedback along the row index only.
    side = bucket.rows
    as_they_are = torch.arange(rank, device=worth.device).expand(lanes, members, rank)
    wanted = reordered(components.left[..., :rank] * worth[..., None, :rank], side.order, as_they_are)
    sharpness = side.diagonal[..., None].expand_as(wanted)
    left_step, used = _step(wanted, sharpness, price, torch.ones_like(wanted[..., :1]))
    steps = left_step.expand_as(wanted)
    thresholds = _thresholds(wanted, sharpness, price, steps, used)
    left, _ = _round(wanted, side, None, steps, thresholds, _COMPONENT_BLOCK)
    left = reordered(left, side.order.argsort(-1), as_they_are)
    kept = (left != 0).any(2)
    unit = left * torch.exp2(-left_exponents(left).to(left.dtype))[..., None, :]
    # The second factor, fitted to the first one as rounded.
    gram = unit.mT @ bucket.rows.curvature @ unit
    mean = gram.diagonal(dim1=2, dim2=3).sum(-1, keepdim=True) / kept.sum(-1, keepdim=True).clamp_min(1)
    # Damped, so that nearly equal components can be solved for. A component that was rounded to zeros gets a 1, by
    # which it stays zero.
    gram = gram + torch.diag_embed(torch.where(kept, 1e-4 * mean, 1.0))
    fitted = torch.linalg.solve(gram, unit.mT @ components.felt)
    triangular = factored(gram, coarse_first(gram))
    feedback, diagonal = strict_block_part(triangular.inverse, triangular.diagonal, _COMPONENT_BLOCK)
    middle = Side(gram, triangular.order, diagonal, feedback, _COMPONENT_BLOCK)
    wanted = reordered(fitted, middle.order, bucket.columns.order)
    sharpness = middle.diagonal[..., :, None] * bucket.columns.diagonal[..., None, :]
    right_step, used = _step(wanted, sharpness, price, torch.ones_like(wanted[..., :1]))
    steps = right_step.expand_as(wanted)
    thresholds = _thresholds(wanted, sharpness, price, steps, used)
    right, _ = _round(wanted, middle, bucket.columns, steps, thresholds)
    right = reordered(right, middle.order.argsort(-1), bucket.columns.order.argsort(-1))
    weights = unit @ (right * right_step)
    error = weights - bucket.weights
    distortion = ((bucket.rows.curvature @ error) * (error @ bucket.columns.curvature)).sum((2, 3))
    ranks = kept.sum(-1)
    bits = estimated_bits(left.mT) + estimated_bits(right) + _PIECE_BITS + _COMPONENT_BITS * ranks
    # Without a component it would be a piece of zeros, which the direct form offers for less.
    bits = torch.where(ranks > 0, bits, torch.inf)
    return Factors(left, right, right_step[..., 0, 0]), weights, distortion, bits


def _row_exponents(ordered: Tensor, sharpness: Tensor, price: Tensor) -> Tensor:
    """Return exponents [L, T, R]: rows with less sharpness than others get larger steps, in half octaves."""
    active = (ordered.square() * sharpness > _WORTH * price).any(3)
    bluntness = -0.5 * torch.log2(sharpness.mean(3))
    mean = (bluntness * active).sum(2, keepdim=True) / active.sum(2, keepdim=True).clamp_min(1)
    return (2 * (bluntness - mean)).round().clamp(SMALLEST_ROW_SCALE, LARGEST_ROW_SCALE)


def _step(wanted: Tensor, sharpness: Tensor, price: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    """Return steps [L, T, 1, 1] from the geometric mean of the sharpness, and where there is anything to round."""
    chosen = wanted.square() * sharpness > _WORTH * price
    count = chosen.sum((2, 3), keepdim=True)
    logarithms = (sharpness.log() + 2 * scales.log()) * chosen
    mean = (logarithms.sum((2, 3), keepdim=True) / count.clamp_min(1)).exp()
    return torch.where(count > 0, STEP * square_root(price / mean), 1.0), count > 0


def _thresholds(wanted: Tensor, sharpness: Tensor, price: Tensor, steps: Tensor, used: Tensor) -> Tensor:
    """Return how far above an integer a magnitude must be before the next integer is worth its bits."""
    # For a magnitude x in steps, k + 1 instead of k changes the distortion by sharpness step^2 (1 - 2 (x - k)) and
    # costs price x bits per unit. It pays if x - k - 1/2 exceeds price x bits / (2 sharpness step^2).
    first = (wanted.abs() / steps - _FIRST_DEAD_ZONE + 0.5).floor().clamp_min(0)
    _, unit_bits = geometric_bits(expected_magnitudes(first))
    return torch.where(used, price * unit_bits / (2 * sharpness * steps.square()), _NEVER)


def _round(
    wanted: Tensor, rows: Side, columns: Side | None, steps: Tensor, thresholds: Tensor, width: int = 1
) -> tuple[Tensor, Tensor]:
    def merged(tensor: Tensor) -> Tensor:
        return tensor.flatten(0, 1)

    integers, errors = round_with_feedback(
        merged(wanted),
        merged(rows.feedback) if rows.feedback.shape[-2] > 1 else None,
        None if columns is None else merged(columns.feedback),
        merged(steps),
        merged(thresholds),
        rows.block,
        width if columns is None else columns.block,
    )
    # The errors are those without the clamp. They only help to choose; what counts is the loss at the weights.
    return integers.clamp(-LARGEST_INTEGER, LARGEST_INTEGER).view_as(wanted), errors.view_as(wanted)


def total_bits(rounded: Sequence[Rounded], lanes: int) -> list[float]:
    """Sum the bits of all buckets for each lane; zero where the loss depends on no piece."""
    if not rounded:
        return [0.0] * lanes
    total: list[float] = (
        torch.stack([one.bits.where(one.kinds > ZEROS, 0).sum(1) for one in rounded]).sum(0).tolist()
    )
    return total
