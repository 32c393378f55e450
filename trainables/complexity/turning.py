"""Candidates with pieces rotated into the bases of earlier pieces, and the plan of which axes go into which bases.

The basis of another piece is taken as rounded at the same price, since that is what the decoder has. So pieces are
turned one after the other, lane by lane. The bases that might pay are found once for a range of prices, by what
the size of the rotated weights promises; whether a basis pays is decided by distortion and bits at each price.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from trainables.complexity.bases import Bases
from trainables.complexity.buckets import Bucket, assembled, side
from trainables.complexity.candidates import Candidates, Turned, code_of
from trainables.complexity.codes import Code, Rotation, Zeros
from trainables.complexity.pieces import Piece
from trainables.complexity.rotation import ROTATION_BITS
from trainables.complexity.rotation_sources import Sources
from trainables.complexity.rounding import DIRECT, ZEROS, Rounded, round_bucket

Rotations = tuple[Rotation, ...]

#: The rotations of every turned piece of a network.
Plan = Mapping[Piece, Rotations]

#: The share of the bits that a rotation must promise to save, and the share of distortion and bits together that it
#: must really save.
_PROMISED_GAIN = 0.015
_GAIN = 0.01

#: A rotated curvature's diagonal is raised by this share of itself.
_RIDGE = 2e-5

#: The bits of naming one rotation.
_ROTATION_BITS = 6.0


def turned(at: Candidates, prices: Tensor, plans: Sequence[Plan], cut: Sequence[Piece]) -> Candidates:
    """Turn candidates at prices [L], nats per bit, as planned for each lane, where it pays."""
    turned_pieces = {}
    for lane, (price, plan) in enumerate(zip(prices.tolist(), plans, strict=True)):
        if plan:
            one = _Lane(at, lane, price, cut)
            one.turn(partial(one.as_planned, plan))
            turned_pieces.update({(lane, piece): turned for piece, turned in one.turned.items()})
    return replace(at, turned=turned_pieces)


def planned(at: Candidates, price: float, cut: Sequence[Piece]) -> Plan:
    """Find the rotations that pay for the only lane of candidates at a price."""
    one = _Lane(at, 0, price, cut)
    one.turn(one.promising)
    return {piece: turned.rotations for piece, turned in one.turned.items()}


class _Lane:
    """The pieces of one lane at one price, in order: each as it is rounded, or turned."""

    def __init__(self, at: Candidates, lane: int, price: float, cut: Sequence[Piece]) -> None:
        self._at = at
        self._lane = lane
        self._price = price
        self._cut = cut
        self._places = {
            piece: (number, place)
            for number, bucket in enumerate(at.buckets)
            for place, piece in enumerate(bucket.pieces)
        }
        self._codes: list[Code] = []
        self._sources = Sources()
        self._bases = Bases(self._codes)
        self._matrices: dict[tuple[int, int, int], Tensor] = {}
        self.turned: dict[Piece, Turned] = {}

    def turn(self, choices: Callable[[Piece], Iterator[Rotations]]) -> None:
        """Turn every piece by the first of its choices that pays."""
        for number, piece in enumerate(self._cut):
            code: Code = Zeros()
            if piece in self._places:
                winner = next(filter(self._pays(piece), (self._tried(piece, one) for one in choices(piece))), None)
                if winner is not None:
                    code = code_of(winner.bucket, winner.rounded, (0, 0), rotations=winner.rotations)
                    self.turned[piece] = winner
                    self._put(piece, winner)
                else:
                    code = code_of(*self._plain(piece))
            self._codes.append(code)
            self._sources.add(number, piece, code)

    def as_planned(self, plan: Plan, piece: Piece) -> Iterator[Rotations]:
        """Yield the planned rotations, without those whose source is all zeros at this price."""
        known = tuple(one for one in plan.get(piece, ()) if one in self._sources.of_axis(piece, one.axis))
        if known:
            yield known

    def promising(self, piece: Piece) -> Iterator[Rotations]:
        """Yield the basis of each axis that promises the fewest bits, if fewer than without rotation."""
        if self._kind(piece) == ZEROS:
            return
        member = self._member(piece)
        own = _promised_bits(member, self._price)
        best: dict[int, Rotation] = {}
        for axis in (1, 2):
            fewest = own * (1 - _PROMISED_GAIN)
            for rotation in self._sources.of_axis(piece, axis) if int(member.axes) != axis else ():
                bits = _promised_bits(member, self._price, axis, self._matrix(rotation, member))
                if bits < fewest:
                    fewest, best[axis] = bits, rotation
        if len(best) > 1:
            yield tuple(best.values())
        for rotation in best.values():
            yield (rotation,)

    def _tried(self, piece: Piece, rotations: Rotations) -> Turned:
        member = self._member(piece)
        weights, rows, columns = member.weights, member.rows, member.columns
        for rotation in rotations:
            matrix = self._matrix(rotation, member)
            if rotation.axis == 1:
                weights, rows = matrix.mT @ weights, side(_rotated(rows.curvature, matrix))
            else:
                weights, columns = weights @ matrix, side(_rotated(columns.curvature, matrix))
        factors = member.components is not None
        bucket = assembled(member.pieces, weights, rows, columns, member.axes, member.lengths, factors=factors)
        return Turned(rotations, bucket, round_bucket(bucket, self._prices(weights)))

    def _pays(self, piece: Piece) -> Callable[[Turned], bool]:
        _, rounded, where = self._plain(piece)
        plain = float(rounded.distortion[where]) + self._price * float(rounded.bits[where])

        def pays(one: Turned) -> bool:
            bits = float(one.rounded.bits) + _ROTATION_BITS * len(one.rotations)
            cost = float(one.rounded.distortion) + self._price * bits
            return int(one.rounded.kinds) != ZEROS and cost < plain * (1 - _GAIN)

        return pays

    def _put(self, piece: Piece, turned: Turned) -> None:
        """Put a turned piece in the place of the one that was rounded without rotation."""
        _, rounded, where = self._plain(piece)
        weights = turned.rounded.weights
        for rotation in turned.rotations:
            matrix = self._matrix(rotation, turned.bucket)
            weights = matrix @ weights if rotation.axis == 1 else weights @ matrix.mT
        rounded.weights[where] = weights[0, 0]
        rounded.kinds[where] = DIRECT
        rounded.direct.steps[where] = turned.step
        rounded.bits[where] = float(turned.rounded.bits) + _ROTATION_BITS * len(turned.rotations)

    def _plain(self, piece: Piece) -> tuple[Bucket, Rounded, tuple[int, int]]:
        number, place = self._places[piece]
        return self._at.buckets[number], self._at.rounded[number], (self._lane, place)

    def _kind(self, piece: Piece) -> int:
        if piece not in self._places:
            return ZEROS
        _, rounded, where = self._plain(piece)
        return int(rounded.kinds[where])

    def _member(self, piece: Piece) -> Bucket:
        bucket, _, (lane, place) = self._plain(piece)
        return bucket.member(lane, place)

    def _matrix(self, rotation: Rotation, bucket: Bucket) -> Tensor:
        """Return the basis [n, n] as a matrix; padding is left as it is."""
        size = bucket.weights.shape[1 + rotation.axis]
        key = (rotation.source, rotation.source_axis, size)
        if key not in self._matrices:
            basis = self._bases.of(rotation)
            matrix = torch.eye(size)
            matrix[: len(basis), : len(basis)] = torch.from_numpy(basis) / 2.0**ROTATION_BITS
            self._matrices[key] = matrix.to(bucket.weights.device)
        return self._matrices[key]

    def _prices(self, like: Tensor) -> Tensor:
        return torch.full((1,), self._price, dtype=torch.float32, device=like.device)


def _rotated(curvature: Tensor, matrix: Tensor) -> Tensor:
    """Rotate a damped curvature [1, 1, n, n] into a basis; keep it positive definite despite float32 rounding."""
    wide = matrix.double()
    rotated = wide.mT @ curvature.double() @ wide
    diagonal = rotated.diagonal(dim1=-2, dim2=-1)
    # Raise each entry in proportion to itself, since entries of padding are next to nothing.
    return (rotated + torch.diag_embed(_RIDGE * diagonal)).float()


def _promised_bits(member: Bucket, price: float, axis: int = 0, matrix: Tensor | None = None) -> float:
    """Estimate the bits of a piece at a price, with one axis rotated by `matrix` if that is given."""
    weights = member.weights[0, 0]
    rows = member.rows.curvature[0, 0]
    columns = member.columns.curvature[0, 0]
    row_sharpness, column_sharpness = rows.diagonal(), columns.diagonal()
    if matrix is not None and axis == 1:
        weights, row_sharpness = matrix.mT @ weights, (matrix * (rows @ matrix)).sum(0)
    elif matrix is not None:
        weights, column_sharpness = weights @ matrix, (matrix * (columns @ matrix)).sum(0)
    worth = weights.square() * (row_sharpness[:, None] * column_sharpness / price)
    return float(torch.log2(1 + worth).sum())
