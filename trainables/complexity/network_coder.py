"""The codes of all pieces of a network as one stream of symbols: kinds, scales, ranks, row scales, integers.

The stream has two forms. The extended one also says which axes are rotated into whose basis, and which matrices
are coded by columns instead of by rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trainables.complexity.codes import (
    LARGEST_ROW_SCALE,
    LARGEST_SCALE,
    MEAN_BITS,
    SMALLEST_ROW_SCALE,
    Code,
    Direct,
    Factors,
    Integers,
    Rotation,
    Transform,
    Zeros,
    is_exact,
    mean_bits,
    mean_from_bits,
)
from trainables.complexity.contexts import NumberTable, Table, Wide
from trainables.complexity.entropy_coder import Coder, Encoder
from trainables.complexity.matrix_coder import MatrixCoder
from trainables.complexity.pieces import Piece, Shapes, pieces
from trainables.complexity.rotation_sources import Sources
from trainables.complexity.transform import LARGEST_REST, SHORTEST
from trainables.errors import BitstreamError

_ZEROS, _DIRECT, _FACTORS = 0, 1, 2

#: The first scale is coded as the difference from this one, every later one as the difference from the one before.
_USUAL_SCALE = -512

#: The typical number of bits of a rank, and of a difference between scales.
_TYPICAL_RANK_BITS = 3
_TYPICAL_SCALE_BITS = 9


def code_network(
    coder: Coder, shapes: Shapes, codes: Mapping[Piece, Code] | None, *, extended: bool = False
) -> dict[Piece, Code]:
    """Code a network, or decode one where `codes` is None.

    Args:
        coder: an encoder or a decoder.
        shapes: every tensor's shape, known to both sides.
        codes: the code of every piece. A code for zeros only is coded as `Zeros`.
        extended: use the extended form; otherwise no code may have rotations.

    Returns:
        The codes as the decoder will find them.

    Raises:
        BitstreamError: the stream is damaged.
    """
    network = _NetworkCoder(coder, extended)
    decoded: dict[Piece, Code] = {}
    for number, piece in enumerate(pieces(shapes)):
        coder.begin(piece.name)
        decoded[piece] = network.code(piece, None if codes is None else codes[piece])
        if extended:
            network.sources.add(number, piece, decoded[piece])
    return decoded


class _NetworkCoder:
    """The tables that all pieces of a network share, and the coding of each piece."""

    def __init__(self, coder: Coder, extended: bool) -> None:
        self._coder = coder
        self._extended = extended
        self.sources = Sources()
        """The pieces whose bases may be used; none in the plain form."""
        self._matrices = MatrixCoder(coder)
        self._kinds = Table([32, 32, 32])
        self._scales = NumberTable(_TYPICAL_SCALE_BITS, 16)
        self._scale = _USUAL_SCALE
        self._ranks = NumberTable(_TYPICAL_RANK_BITS, 11)
        self._axes = Table([32, 16, 16])
        self._rests = Table([16] * (LARGEST_REST + 1))
        self._has_mean = Table([32, 32])
        self._has_row_scales = Table([32, 32])
        self._is_rotated = Table([32, 32])
        self._by_columns = Table([32, 32])
        self._row_scales = Table(
            [1 + (64 >> min(abs(k), 6)) for k in range(SMALLEST_ROW_SCALE, LARGEST_ROW_SCALE + 1)]
        )

    def code(self, piece: Piece, code: Code | None) -> Code:
        """Code one piece."""
        kind = int(self._kinds.code(self._coder, None if code is None else _one(_kind(code)), 1)[0])
        if kind == _ZEROS:
            return Zeros(self._mean(piece, None if code is None else getattr(code, "mean", 0.0)))
        given = None if code is None else code.scale - self._scale  # type: ignore[union-attr]
        self._scale += self._scales.code_signed(self._coder, given)
        if abs(self._scale) > LARGEST_SCALE:
            raise BitstreamError(
                f"the scale of {piece.name!r} must lie within +-{LARGEST_SCALE}, got {self._scale}; "
                "the stream is damaged"
            )
        transform = self._transform(piece, None if code is None else (getattr(code, "transform", None),))
        rotations = self._rotations(piece, transform, None if code is None else getattr(code, "rotations", ()))
        if kind == _DIRECT:
            coded: Code = self._direct(piece, transform, rotations, code)
        else:
            coded = self._factors(piece, transform, rotations, code)
        if code is None and not is_exact(coded):
            raise BitstreamError(
                f"the sums of {piece.name!r} must be exact, these are too large; the stream is damaged"
            )
        return coded

    def _direct(
        self, piece: Piece, transform: Transform | None, rotations: tuple[Rotation, ...], code: Code | None
    ) -> Direct:
        given = code if isinstance(code, Direct) else None
        mean = self._mean(piece, None if given is None else given.mean)
        integers = self._integers(piece, None if given is None else _wide(given.integers)).astype(np.int32)
        exponents = self._exponents(integers, None if given is None else given.exponents)
        return Direct(self._scale, integers, exponents, transform, mean, rotations)

    def _integers(self, piece: Piece, values: Wide | None) -> Wide:
        if not self._extended or piece.rows == 1:
            return self._matrices.matrix(values, piece.rows, piece.columns)
        by_columns = None if values is None else _one(int(_bits(values.T) < _bits(values)))
        if not self._by_columns.code(self._coder, by_columns, 1)[0]:
            return self._matrices.matrix(values, piece.rows, piece.columns)
        return self._matrices.matrix(None if values is None else values.T, piece.columns, piece.rows).T

    def _exponents(self, integers: Integers, exponents: Integers | None) -> Integers:
        """Code the row scales of the rows that are not all zero."""
        none = np.zeros(0, dtype=np.int32)
        if len(integers) == 1:
            return none
        has_any = None if exponents is None else _one(int(exponents.size > 0))
        if not self._has_row_scales.code(self._coder, has_any, 1)[0]:
            return none
        live = np.flatnonzero(integers.any(axis=1))
        given = None if exponents is None else (exponents[live] - SMALLEST_ROW_SCALE).astype(np.int32)
        row_scales = np.zeros(len(integers), dtype=np.int32)
        row_scales[live] = self._row_scales.code_in_blocks(self._coder, given, live.size) + SMALLEST_ROW_SCALE
        return row_scales

    def _factors(
        self, piece: Piece, transform: Transform | None, rotations: tuple[Rotation, ...], code: Code | None
    ) -> Factors:
        given = code if isinstance(code, Factors) else None
        known = None if given is None else np.array([len(given.left) - 1], dtype=np.int64)
        rank = int(self._ranks.code(self._coder, known, 1)[0]) + 1
        if rank > piece.rows:
            raise BitstreamError(
                f"{piece.name!r} with {piece.rows} rows cannot have factors of rank {rank}; the stream is damaged"
            )
        left = self._matrices.matrix(None if given is None else _wide(given.left), rank, piece.rows)
        right = self._matrices.matrix(None if given is None else _wide(given.right), rank, piece.columns)
        return Factors(self._scale, left.astype(np.int32), right.astype(np.int32), transform, rotations)

    def _mean(self, piece: Piece, mean: float | None) -> float:
        """Code the mean of a vector; a matrix has none."""
        if piece.rows > 1:
            return 0.0
        has_one = None if mean is None else _one(int(mean != 0))
        if not self._has_mean.code(self._coder, has_one, 1)[0]:
            return 0.0
        bits = None if mean is None else np.array([mean_bits(mean)], dtype=np.int64)
        decoded = mean_from_bits(int(self._coder.bits(bits, np.array([MEAN_BITS], dtype=np.int32))[0]))
        if not np.isfinite(decoded):
            raise BitstreamError(f"the mean of {piece.name!r} must be finite, got {decoded}; the stream is damaged")
        return decoded

    def _transform(self, piece: Piece, given: tuple[Transform | None] | None) -> Transform | None:
        if piece.rows < SHORTEST:
            return None
        transform = given[0] if given else None
        axis = None if given is None else _one(transform.axis if transform else 0)
        axis_found = int(self._axes.code(self._coder, axis, 1)[0])
        if axis_found == 0:
            return None
        side = piece.rows if axis_found == 1 else piece.columns
        rest = None if transform is None else _one(side - transform.length)
        return Transform(axis_found, side - int(self._rests.code(self._coder, rest, 1)[0]))

    def _rotations(
        self, piece: Piece, transform: Transform | None, given: tuple[Rotation, ...] | None
    ) -> tuple[Rotation, ...]:
        rotations = []
        for axis in (1, 2):
            choices = self.sources.of_axis(piece, axis) if transform is None or transform.axis != axis else []
            if not choices:
                continue
            places = None
            if given is not None:
                places = [choices.index(rotation) for rotation in given if rotation.axis == axis]
            is_rotated = None if places is None else _one(len(places))
            if self._is_rotated.code(self._coder, is_rotated, 1)[0]:
                rotations.append(choices[self._choice(len(choices), places[0] if places else None)])
        return tuple(rotations)

    def _choice(self, count: int, place: int | None) -> int:
        """Code one of `count` equally likely choices."""
        if count == 1:
            return 0
        alike = np.ones((1, count), dtype=np.int64)
        return int(
            self._coder.symbols(None if place is None else _one(place), alike, np.zeros(1, dtype=np.int64))[0]
        )


def _bits(values: Wide) -> float:
    """Estimate the bits of integers [rows, columns]."""
    encoder = Encoder()
    encoder.begin("")
    MatrixCoder(encoder).matrix(values, *values.shape)
    return encoder.bits_by_owner()[""]


def _kind(code: Code) -> int:
    if isinstance(code, Direct):
        return _DIRECT if code.integers.any() else _ZEROS
    return _FACTORS if isinstance(code, Factors) and len(code.left) else _ZEROS


def _wide(integers: Integers) -> Wide:
    return integers.astype(np.int64)


def _one(value: int) -> Integers:
    return np.array([value], dtype=np.int32)
