"""A network in the codec's own numbers, as leaves that gradients reach straight through the rounding.

Every piece keeps the form that rounding at a price gave it: constant, or integers, transformed or not. What is
trained is the real number behind every integer, the binary logarithm of every scale, and every mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.complexity.buckets import apply_transform
from trainables.complexity.candidates import snapped_means
from trainables.complexity.codes import (
    LARGEST_INTEGER,
    LARGEST_SCALE,
    SCALES_PER_OCTAVE,
    Code,
    Direct,
    Transform,
    Zeros,
    row_scales,
)
from trainables.complexity.pieces import Piece, put
from trainables.complexity.rate import estimated_bits, expected_magnitudes, geometric_bits

#: About the bits of a piece besides its integers, and of a mean; used only to compare networks.
_PIECE_BITS = 14.0
_MEAN_BITS = 20.0


@dataclass(frozen=True, slots=True)
class _Matrix:
    """One integer matrix [rows, columns], and the place of its entries among all."""

    start: int
    rows: int
    columns: int

    def of(self, values: Tensor) -> Tensor:
        """Return its part [rows, columns] of all values [n], as a view."""
        return values[self.start : self.start + self.rows * self.columns].view(self.rows, self.columns)


@dataclass(frozen=True, slots=True)
class _Part:
    """One piece of the network that is not all zeros."""

    piece: Piece
    matrix: _Matrix | None
    """None for a constant piece."""
    scale: int
    """Its index among all scales; -1 without a scale."""
    mean: int
    """Its index among all means; -1 without a mean."""
    transform: Transform | None

    def weights(self, integers: Tensor, scales: Tensor, means: Tensor) -> Tensor:
        """Return weights [rows, columns], differentiable in all three arguments."""
        if self.matrix is None:
            return means[self.mean].expand(self.piece.rows, self.piece.columns)
        whole = self.matrix.of(integers)
        if self.transform is not None:
            whole = apply_transform(whole, self.transform.axis, self.transform.length, back=True)
        whole = whole * scales[self.scale].exp2()
        return whole if self.mean < 0 else whole + means[self.mean]


@dataclass(slots=True)
class Leaves:
    """The tensors that are trained."""

    integers: Tensor
    """[n] the real numbers that are rounded, in units of their step."""
    scales: Tensor
    """[s] binary logarithms of the scales."""
    means: Tensor
    """[m] the means."""

    def rounded(self) -> Leaves:
        """Round the leaves to values that can be sent."""
        scales = (self.scales * SCALES_PER_OCTAVE).round().clamp(-LARGEST_SCALE, LARGEST_SCALE) / SCALES_PER_OCTAVE
        integers = self.integers.round().clamp(-LARGEST_INTEGER, LARGEST_INTEGER)
        return Leaves(integers, scales, snapped_means(self.means))

    def copy(self) -> Leaves:
        """Copy the values to other memory."""
        return Leaves(*(leaf.clone() for leaf in self.all()))

    def all(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three tensors."""
        return self.integers, self.scales, self.means


class QuantisedNetwork:
    """The forms of all pieces of one network."""

    def __init__(self, codes: Mapping[Piece, Zeros | Direct], like: Mapping[str, Tensor]) -> None:
        """Take the forms from codes of a network like `like`, [...] without lane axis."""
        self._like = like
        self._codes = dict(codes)
        self._parts: list[_Part] = []
        values: list[Tensor] = []
        self._first_scales: list[float] = []
        self._first_means: list[float] = []
        for piece, code in codes.items():
            self._add(piece, code, values)
        self._first = torch.cat(values) if values else torch.zeros(0)

    def leaves(self) -> Leaves:
        """Make fresh leaves at the codes that this network was made of."""
        return Leaves(self._first.clone(), torch.tensor(self._first_scales), torch.tensor(self._first_means))

    def parameters(self, leaves: Leaves) -> dict[str, Tensor]:
        """Return weights [1, ...], differentiable in the leaves."""
        into = {name: torch.zeros(1, *tensor.shape) for name, tensor in self._like.items()}
        for part in self._parts:
            put(part.weights(*leaves.all())[None], into[part.piece.name], part.piece)
        return {name: into[name].to(tensor.dtype).to(tensor.device) for name, tensor in self._like.items()}

    def bits(self, rounded: Leaves) -> float:
        """Estimate the bits of the stream of rounded leaves."""
        total = _PIECE_BITS * len(self._first_scales) + _MEAN_BITS * len(self._first_means)
        for part in self._parts:
            if part.matrix is not None:
                total += float(estimated_bits(part.matrix.of(rounded.integers)))
        return total

    def bits_per_unit(self, integers: Tensor) -> Tensor:
        """Return [n]: the cost of one more unit of every magnitude, by its row and column as they are now."""
        # Of the next unit up: the model is geometric, so every further unit of an entry costs the same.
        costs = torch.zeros_like(integers)
        magnitudes = integers.abs()
        for part in self._parts:
            if part.matrix is not None:
                _, unit = geometric_bits(expected_magnitudes(part.matrix.of(magnitudes)))
                part.matrix.of(costs).copy_(unit)
        return costs

    def codes(self, rounded: Leaves) -> dict[Piece, Code]:
        """Return the codes of rounded leaves, with the forms of this network."""
        codes: dict[Piece, Code] = {piece: Zeros() for piece in self._codes}
        for part in self._parts:
            codes[part.piece] = self._code(part, rounded)
        return codes

    def _code(self, part: _Part, rounded: Leaves) -> Code:
        mean = float(rounded.means[part.mean]) if part.mean >= 0 else 0.0
        if part.matrix is None:
            return Zeros(mean)
        integers = part.matrix.of(rounded.integers).numpy().astype(np.int32)
        # Training has taken the last of its integers; then neither scale nor transform needs sending.
        if not integers.any():
            return Zeros(mean)
        scale = round(float(rounded.scales[part.scale]) * SCALES_PER_OCTAVE)
        return Direct(scale, np.ascontiguousarray(integers), transform=part.transform, mean=mean)

    def _add(self, piece: Piece, code: Zeros | Direct, values: list[Tensor]) -> None:
        mean = -1
        if code.mean:
            mean = len(self._first_means)
            self._first_means.append(code.mean)
        if isinstance(code, Zeros):
            if code.mean:
                self._parts.append(_Part(piece, None, -1, mean, None))
            return
        integers = torch.from_numpy(code.integers.astype(np.float32))
        if code.exponents.size:
            # Rows have no scales of their own here: training finds the size of each entry.
            integers = integers * row_scales(torch.from_numpy(code.exponents.astype(np.float32)))[:, None]
        matrix = _Matrix(sum(value.numel() for value in values), *integers.shape)
        values.append(integers.reshape(-1))
        self._parts.append(_Part(piece, matrix, len(self._first_scales), mean, code.transform))
        self._first_scales.append(code.scale / SCALES_PER_OCTAVE)
