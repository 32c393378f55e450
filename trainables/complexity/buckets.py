"""Pieces of similar shape in one batch, with everything about them that does not depend on the price of a bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from trainables.complexity.curvature import Curvature
from trainables.complexity.feedback import strict_block_part
from trainables.complexity.pieces import Piece, take
from trainables.complexity.transform import LARGEST_REST, SHORTEST, float_matrix
from trainables.complexity.triangular import coarse_first, damped, factored, reordered
from trainables.numerics.roots import square_root

#: Sides are padded to a multiple of this, so that there are few shapes, and blocks divide them.
_PADDING = 16

#: Entries along each side of a block of rounding with feedback, on a CPU and elsewhere.
_CPU_BLOCK = 8
_DEVICE_BLOCK = 16

#: The largest rank at which a matrix may be kept as two factors.
LARGEST_RANK = 40
_FEWEST_ROWS_FOR_FACTORS = 9

_LARGEST_WEIGHT = torch.finfo(torch.float32).max

#: The share of a piece's bits that a transform must promise to save.
TRANSFORM_GAIN = 0.06


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a bucket's matrices: their curvature along it, factored for feedback."""

    curvature: Tensor
    """[L, T, n, n], damped."""
    order: Tensor
    """[L, T, n], coarse entries first."""
    diagonal: Tensor
    """[L, T, n], of the block-diagonal factor, in that order."""
    feedback: Tensor
    """[L, T, n / block, n, block], see `strict_block_part`."""
    block: int

    def pick(self, lanes: Tensor) -> Side:
        """Return the side of these lanes [M] only."""
        return Side(
            self.curvature[lanes], self.order[lanes], self.diagonal[lanes], self.feedback[lanes], self.block
        )

    def member(self, lane: int, place: int) -> Side:
        """Return the side of one piece of one lane."""
        here = (slice(lane, lane + 1), slice(place, place + 1))
        return Side(self.curvature[here], self.order[here], self.diagonal[here], self.feedback[here], self.block)


@dataclass(frozen=True, slots=True)
class Components:
    """The singular value decomposition of the curvature-weighted matrix A^1/2 W B^1/2, up to `LARGEST_RANK`."""

    left: Tensor
    """[L, T, R, K]: A^-1/2 U s."""
    singular_values: Tensor
    """[L, T, K], in falling order."""
    felt: Tensor
    """[L, T, R, C]: A W, the weights as the row curvature weighs them."""

    def pick(self, lanes: Tensor) -> Components:
        """Return the components of these lanes [M] only."""
        return Components(self.left[lanes], self.singular_values[lanes], self.felt[lanes])

    def member(self, lane: int, place: int) -> Components:
        """Return the components of one piece of one lane."""
        here = (slice(lane, lane + 1), slice(place, place + 1))
        return Components(self.left[here], self.singular_values[here], self.felt[here])


@dataclass(frozen=True, slots=True)
class Bucket:
    """T pieces of L networks in one padded shape R <= C."""

    pieces: tuple[Piece, ...]
    weights: Tensor
    """[L, T, R, C]: minus the mean, zero where the loss does not depend on them, then transformed."""
    rows: Side
    columns: Side
    ordered: Tensor
    """[L, T, R, C]: the weights in the order of both sides."""
    sharpness: Tensor
    """[L, T, R, C]: nats per squared error of each ordered weight after feedback."""
    axes: Tensor
    """[L, T] on the host: 0 for no transform, 1 for each column along the row index, 2 for each row along the
    column index."""
    lengths: Tensor
    """[L, T] on the host: the number of entries that are transformed."""
    components: Components | None

    def pick(self, lanes: Tensor) -> Bucket:
        """Return the bucket of these lanes [M] only."""
        there = lanes.to(self.weights.device)
        return Bucket(
            pieces=self.pieces,
            weights=self.weights[there],
            rows=self.rows.pick(there),
            columns=self.columns.pick(there),
            ordered=self.ordered[there],
            sharpness=self.sharpness[there],
            axes=self.axes[lanes],
            lengths=self.lengths[lanes],
            components=self.components.pick(there) if self.components is not None else None,
        )

    def member(self, lane: int, place: int) -> Bucket:
        """Return one piece of one lane as a bucket of its own."""
        here = (slice(lane, lane + 1), slice(place, place + 1))
        return Bucket(
            pieces=(self.pieces[place],),
            weights=self.weights[here],
            rows=self.rows.member(lane, place),
            columns=self.columns.member(lane, place),
            ordered=self.ordered[here],
            sharpness=self.sharpness[here],
            axes=self.axes[here],
            lengths=self.lengths[here],
            components=self.components.member(lane, place) if self.components is not None else None,
        )


def assembled(
    members: tuple[Piece, ...],
    weights: Tensor,
    rows: Side,
    columns: Side,
    axes: Tensor,
    lengths: Tensor,
    *,
    factors: bool,
) -> Bucket:
    """Build a bucket from the fields that determine the others; `factors` says whether it gets components."""
    return Bucket(
        pieces=members,
        weights=weights,
        rows=rows,
        columns=columns,
        ordered=reordered(weights, rows.order, columns.order),
        sharpness=rows.diagonal[..., :, None] * columns.diagonal[..., None, :],
        axes=axes,
        lengths=lengths,
        components=_components(weights, rows.curvature, columns.curvature) if factors else None,
    )


def buckets(
    parameters: Mapping[str, Tensor],
    means: Mapping[Piece, Tensor],
    curvatures: Mapping[Piece, Curvature],
    typical_price: float,
    *,
    factors: bool = True,
    transform_gain: float = TRANSFORM_GAIN,
) -> list[Bucket]:
    """Prepare all pieces that the loss depends on, batched by padded shape.

    Args:
        parameters: name -> [L, ...].
        means: what is taken off every entry of a piece before rounding, [L].
        curvatures: of the pieces to be rounded.
        typical_price: nats per bit, by which transforms are judged.
        factors: whether matrices may be kept as factors.
        transform_gain: share of a piece's bits that a transform must promise to save.
    """
    by_shape: dict[tuple[int, int], list[Piece]] = {}
    for piece in curvatures:
        by_shape.setdefault((_padded(piece.rows), _padded(piece.columns)), []).append(piece)
    return [
        _bucket(
            shape,
            [_Prepared(parameters, piece, means, curvatures, typical_price, transform_gain) for piece in members],
            factors=factors and shape[0] >= _FEWEST_ROWS_FOR_FACTORS,
        )
        for shape, members in by_shape.items()
    ]


def _padded(side: int) -> int:
    return side if side == 1 else -(-side // _PADDING) * _PADDING


class _Prepared:
    """One piece: weights without mean, damped curvature, transformed where that promises to pay."""

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        piece: Piece,
        means: Mapping[Piece, Tensor],
        curvatures: Mapping[Piece, Curvature],
        typical_price: float,
        transform_gain: float,
    ) -> None:
        self.piece = piece
        curvature = curvatures[piece]
        # Some float64 weights do not fit in float32. Rounding such weights keeps no bound, and then the lossless
        # stream is used, so clamping them is harmless.
        weights = take(parameters[piece.name], piece).float().clamp(-_LARGEST_WEIGHT, _LARGEST_WEIGHT)
        if piece in means:
            weights = weights - means[piece][:, None, None]
        self.weights = weights * curvature.seen_rows[:, :, None] * curvature.seen_columns[:, None, :]
        # The trace moves from the rows to the columns, which leaves the product of the pair as it is.
        trace = curvature.rows.diagonal(dim1=1, dim2=2).sum(1).clamp_min(1e-30)[:, None, None]
        self.rows = damped(curvature.rows / trace, curvature.seen_rows)
        self.columns = damped(curvature.columns * trace, curvature.seen_columns)
        self.axes = torch.zeros(len(weights), dtype=torch.int64, device=weights.device)
        self.lengths = torch.zeros_like(self.axes)
        if piece.rows >= SHORTEST:
            self._transform(typical_price, transform_gain)

    def _transform(self, price: float, gain: float) -> None:
        """Transform each lane along the side and length that promise the most savings, if they reach the gain."""
        scale = self.rows.diagonal(dim1=1, dim2=2).mean(1) * self.columns.diagonal(dim1=1, dim2=2).mean(1) / price

        def bits(weights: Tensor) -> Tensor:
            return torch.log2(1 + weights.square() * scale[:, None, None]).sum((1, 2))

        # The gain is asked for against no transform; among transforms, the smallest estimate wins.
        best = bits(self.weights) * (1 - gain)
        for axis, size in ((1, self.piece.rows), (2, self.piece.columns)):
            for length in range(size, size - LARGEST_REST - 1, -1):
                transformed_bits = bits(apply_transform(self.weights, axis, length))
                better = transformed_bits < best
                best = torch.where(better, transformed_bits, best)
                self.axes = torch.where(better, axis, self.axes)
                self.lengths = torch.where(better, length, self.lengths)
        for axis, length in transforms_in_use(self.axes, self.lengths):
            lanes = ((self.axes == axis) & (self.lengths == length))[:, None, None]
            self.weights = torch.where(lanes, apply_transform(self.weights, axis, length), self.weights)
            if axis == 1:
                self.rows = torch.where(lanes, _both_sides(self.rows, length), self.rows)
            else:
                self.columns = torch.where(lanes, _both_sides(self.columns, length), self.columns)


def transforms_in_use(axes: Tensor, lengths: Tensor) -> list[tuple[int, int]]:
    """List the pairs (axis, length) that occur in [L] axes and lengths, except axis 0 (no transform)."""
    return sorted({(axis, length) for axis, length in zip(axes.tolist(), lengths.tolist(), strict=True) if axis})


def apply_transform(weights: Tensor, axis: int, length: int, *, back: bool = False) -> Tensor:
    """Transform matrices [..., R, C] along the row index (axis 1) or the column index (axis 2), or undo it."""
    matrix = float_matrix(length, weights.shape[-2 if axis == 1 else -1]).to(weights.device)
    if axis == 1:
        return (matrix.mT if back else matrix) @ weights
    return weights @ (matrix if back else matrix.mT)


def _both_sides(curvature: Tensor, length: int) -> Tensor:
    return apply_transform(apply_transform(curvature, 1, length), 2, length)


def _bucket(shape: tuple[int, int], prepared: Sequence[_Prepared], *, factors: bool) -> Bucket:
    rows, columns = shape
    return assembled(
        tuple(one.piece for one in prepared),
        torch.stack([_padded_weights(one.weights, rows, columns) for one in prepared], 1),
        side(torch.stack([_padded_curvature(one.rows, rows) for one in prepared], 1)),
        side(torch.stack([_padded_curvature(one.columns, columns) for one in prepared], 1)),
        torch.stack([one.axes for one in prepared], 1).cpu(),
        torch.stack([one.lengths for one in prepared], 1).cpu(),
        factors=factors,
    )


def _padded_weights(weights: Tensor, rows: int, columns: int) -> Tensor:
    return functional.pad(weights, (0, columns - weights.shape[2], 0, rows - weights.shape[1]))


def _padded_curvature(curvature: Tensor, size: int) -> Tensor:
    """Pad [..., n, n] with entries of almost no curvature, which come first in order and affect nothing else."""
    missing = size - curvature.shape[-1]
    own = (torch.arange(size, device=curvature.device) >= curvature.shape[-1]).to(curvature.dtype)
    return functional.pad(curvature, (0, missing, 0, missing)) + torch.diag(own * 1e-9)


def side(curvature: Tensor) -> Side:
    """Factor a damped curvature [L, T, n, n] into a side."""
    size = curvature.shape[-1]
    block = min(_CPU_BLOCK if curvature.device.type == "cpu" else _DEVICE_BLOCK, size)
    triangular = factored(curvature, coarse_first(curvature))
    feedback, diagonal = strict_block_part(triangular.inverse, triangular.diagonal, block)
    return Side(curvature, triangular.order, diagonal, feedback, block)


def _components(weights: Tensor, row_curvature: Tensor, column_curvature: Tensor) -> Components:
    # In float64, because the eigenvalues below are squared singular values, which halves the digits.
    left_root = torch.linalg.cholesky(row_curvature.double())
    right_root = torch.linalg.cholesky(column_curvature.double())
    weighted = left_root.mT @ weights.double() @ right_root
    squares, vectors = torch.linalg.eigh(weighted @ weighted.mT)
    singular_values = square_root(squares.clamp_min(0).flip(-1)[..., :LARGEST_RANK])
    kept = vectors.flip(-1)[..., :LARGEST_RANK] * singular_values[..., None, :]
    left = torch.linalg.solve_triangular(left_root.mT, kept, upper=True)
    return Components(left.float(), singular_values.float(), row_curvature @ weights)
