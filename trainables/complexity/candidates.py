"""Candidates: networks rounded at a price, with corrected scales and means, as weights and as codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from trainables.complexity.buckets import Bucket, apply_transform, transforms_in_use
from trainables.complexity.codes import (
    LARGEST_SCALE,
    SCALES_PER_OCTAVE,
    Code,
    Direct,
    Factors,
    Integers,
    Rotation,
    Transform,
    Zeros,
    mean_bits,
    mean_from_bits,
    nearest_scale,
)
from trainables.complexity.pieces import Piece, put, take
from trainables.complexity.rounding import DIRECT, FACTORS, Rounded, round_bucket


@dataclass(frozen=True, slots=True)
class Corrections:
    """The few real numbers a candidate has besides its integers; there are too few to memorise anything."""

    gains: Mapping[Piece, Tensor]
    """[L] the factor on each piece's scale."""
    means: Mapping[Piece, Tensor]
    """[L] the value added to every weight of a piece."""

    def pick(self, lanes: Tensor) -> Corrections:
        """Return the corrections of these lanes only."""
        return Corrections(
            {piece: value[lanes] for piece, value in self.gains.items()},
            {piece: value[lanes] for piece, value in self.means.items()},
        )


@dataclass(frozen=True, slots=True)
class Turned:
    """One piece of one lane rounded in the bases of others."""

    rotations: tuple[Rotation, ...]
    bucket: Bucket
    """The bucket of this one lane and piece, rotated."""
    rounded: Rounded
    """That bucket rounded, still rotated."""

    @property
    def step(self) -> float:
        """The step before its scale is corrected."""
        factors = self.rounded.factors
        if int(self.rounded.kinds) == FACTORS and factors is not None:
            return float(factors.steps)
        return float(self.rounded.direct.steps)


@dataclass(frozen=True, slots=True)
class Candidates:
    """One candidate of each lane."""

    buckets: Sequence[Bucket]
    rounded: Sequence[Rounded]
    corrections: Corrections
    like: Mapping[str, Tensor]
    """[L, ...] tensors with the names, shapes and dtypes to produce."""
    turned: Mapping[tuple[int, Piece], Turned] = field(default_factory=dict)
    """By lane and piece: the pieces coded in another basis. `rounded` has their weights, rotated back."""

    def corrected(self, corrections: Corrections) -> Candidates:
        """Return candidates with the same integers and other scales and means."""
        return replace(self, corrections=corrections)

    def bases(self) -> dict[str, Tensor]:
        """Return float32 weights [L, ...] without corrections; zero where the loss depends on none of them."""
        into = {name: torch.zeros(tensor.shape, device=tensor.device) for name, tensor in self.like.items()}
        for bucket, rounded in zip(self.buckets, self.rounded, strict=True):
            for place, piece in enumerate(bucket.pieces):
                weights = rounded.weights[:, place, : piece.rows, : piece.columns]
                put(_transformed_back(weights, bucket, place), into[piece.name], piece)
        return into

    def parameters(self) -> dict[str, Tensor]:
        """Return the weights [L, ...] as they will decode, up to the rounding of float32."""
        into = self.bases()
        for bucket, rounded in zip(self.buckets, self.rounded, strict=True):
            snapped = snapped_gains(rounded, bucket, self.corrections)
            for place, piece in enumerate(bucket.pieces):
                mean = self.corrections.means.get(piece)
                part = take(into[piece.name], piece)
                part.mul_(snapped[:, place, None, None])
                if mean is not None:
                    part.add_(mean[:, None, None])
        return {name: into[name].to(tensor.dtype) for name, tensor in self.like.items()}

    def codes(self, lane: int, cut: Sequence[Piece]) -> dict[Piece, Code]:
        """Return the code of every piece of one lane's network."""
        codes: dict[Piece, Code] = dict.fromkeys(cut, Zeros())
        for bucket, rounded in zip(self.buckets, self.rounded, strict=True):
            for place, piece in enumerate(bucket.pieces):
                gain = float(self.corrections.gains[piece][lane])
                mean = float(self.corrections.means[piece][lane]) if piece in self.corrections.means else 0.0
                turned = self.turned.get((lane, piece))
                if turned is None:
                    codes[piece] = code_of(bucket, rounded, (lane, place), gain, mean)
                else:
                    codes[piece] = code_of(turned.bucket, turned.rounded, (0, 0), gain, mean, turned.rotations)
        return codes


def code_of(
    bucket: Bucket,
    rounded: Rounded,
    where: tuple[int, int],
    gain: float = 1.0,
    mean: float = 0.0,
    rotations: tuple[Rotation, ...] = (),
) -> Code:
    """Return the code of one piece; `where` is its lane and place in the bucket."""
    piece = bucket.pieces[where[1]]
    axis, length = int(bucket.axes[where]), int(bucket.lengths[where])
    transform = Transform(axis, length) if axis else None
    kind = int(rounded.kinds[where])
    if kind == DIRECT:
        direct = rounded.direct
        integers = _integers(direct.integers[where][: piece.rows, : piece.columns])
        exponents = _integers(direct.exponents[where][: piece.rows])
        return Direct(
            nearest_scale(float(direct.steps[where]) * gain),
            integers,
            exponents if exponents.any() else exponents[:0],
            transform,
            mean,
            rotations,
        )
    if kind == FACTORS:
        factors = rounded.factors
        assert factors is not None, "a piece kept as factors has some"
        left = _integers(factors.left[where][: piece.rows]).T
        right = _integers(factors.right[where][:, : piece.columns])
        kept = left.any(axis=1) & right.any(axis=1)
        scale = nearest_scale(float(factors.steps[where]) * gain)
        return Factors(scale, left[kept], right[kept], transform, rotations)
    return Zeros(mean)


def candidates(
    buckets: Sequence[Bucket], prices: Tensor, corrections: Corrections, like: Mapping[str, Tensor]
) -> Candidates:
    """Round all buckets at prices [L], nats per bit."""
    return Candidates(buckets, [round_bucket(bucket, prices) for bucket in buckets], corrections, like)


def first_corrections(parameters: Mapping[str, Tensor], cut: Sequence[Piece]) -> Corrections:
    """Start with gains of 1, and with the mean of each vector where sending it pays."""
    means, gains = {}, {}
    for piece in cut:
        weights = take(parameters[piece.name], piece).float()
        gains[piece] = torch.ones(len(weights), device=weights.device)
        if piece.rows > 1:
            continue
        mean, deviation = weights.mean((1, 2)), weights.std((1, 2), correction=0)
        # If weights are normal, each costs half a binary logarithm of its second moment, and the mean is taken out
        # of that.
        saved = 0.5 * piece.columns * torch.log2(1 + (mean / deviation.clamp_min(1e-30)).square())
        means[piece] = torch.where(saved > _MEAN_COST, snapped_means(mean), 0.0)
    return Corrections(gains, means)


#: The bits that a mean must save.
_MEAN_COST = 24.0


def snapped_means(means: Tensor) -> Tensor:
    """Round means [L] to values that can be sent."""
    return torch.tensor([mean_from_bits(mean_bits(mean)) for mean in means.tolist()]).to(means)


def snapped_gains(rounded: Rounded, bucket: Bucket, corrections: Corrections) -> Tensor:
    """Return the gains [L, T] that make corrected scales ones that can be sent."""
    steps = rounded.direct.steps
    if rounded.factors is not None:
        steps = torch.where(rounded.kinds == FACTORS, rounded.factors.steps, steps)
    gains = torch.stack([corrections.gains[piece] for piece in bucket.pieces], 1)
    scales = (SCALES_PER_OCTAVE * torch.log2(steps.double() * gains)).round().clamp(-LARGEST_SCALE, LARGEST_SCALE)
    return (torch.exp2(scales / SCALES_PER_OCTAVE) / steps).to(steps.dtype)


def _transformed_back(weights: Tensor, bucket: Bucket, place: int) -> Tensor:
    restored = weights
    axes, lengths = bucket.axes[:, place], bucket.lengths[:, place]
    for axis, length in transforms_in_use(axes, lengths):
        lanes = ((axes == axis) & (lengths == length)).to(weights.device)[:, None, None]
        restored = torch.where(lanes, apply_transform(weights, axis, length, back=True), restored)
    return restored


def _integers(tensor: Tensor) -> Integers:
    return np.ascontiguousarray(tensor.cpu().numpy().astype(np.int32))
