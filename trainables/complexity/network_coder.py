"""The codes of all tensors of a network as one stream of symbols: kinds, steps, ranks, exponents, matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from trainables.complexity.codes import Code, Direct, Factors, Integers, Zeros, is_exact
from trainables.complexity.contexts import NumberTable, Table, Wide
from trainables.complexity.entropy_coder import Coder
from trainables.complexity.matrix_coder import MatrixCoder
from trainables.complexity.network import matrix_shape
from trainables.errors import BitstreamError

#: Steps are 2^(step / 16): beyond these no float is left.
LARGEST_STEP = 16 * 256
LARGEST_RANK = 2**16 - 1
LARGEST_EXPONENT = 64

_ZEROS = 0
_DIRECT = 1
_FACTORS = 2

#: The first step is coded as the difference from this one, every later one as that from the step before.
_USUAL_STEP = -64

#: Exponents are those of falling singular values: they fall by 0, 1 or 2, and anything else is an escape.
_FALLS = 3


def code_network(
    coder: Coder, shapes: Mapping[str, tuple[int, ...]], codes: Mapping[str, Code] | None
) -> dict[str, Code]:
    """Code a network, or decode one where `codes` is None.

    Args:
        coder: an encoder or a decoder.
        shapes: every tensor's shape, known to both sides.
        codes: the code of every tensor. One that stands for nothing but zeros is coded as `Zeros`.

    Returns:
        What the decoder will find.

    Raises:
        BitstreamError: the stream is damaged.
    """
    network = _NetworkCoder(coder)
    return {
        name: network.code(name, shapes[name], None if codes is None else codes[name]) for name in sorted(shapes)
    }


class _NetworkCoder:
    """The tables that all tensors of a network share."""

    def __init__(self, coder: Coder) -> None:
        self._coder = coder
        self._matrices = MatrixCoder(coder)
        self._kinds = Table([32, 32, 32])
        self._steps = NumberTable(5, 14)
        self._step = _USUAL_STEP
        self._ranks = NumberTable(3, 16)
        self._falls = Table([96, 16, 4, 4])
        self._exponents = NumberTable(3, 8)

    def code(self, name: str, shape: tuple[int, ...], code: Code | None) -> Code:
        """One tensor."""
        kind = int(self._kinds.code(self._coder, None if code is None else _one(_kind(code)), 1)[0])
        if kind == _ZEROS:
            return Zeros()
        given = None if code is None else code.step - self._step  # type: ignore[union-attr]
        self._step += self._steps.code_signed(self._coder, given)
        if abs(self._step) > LARGEST_STEP:
            raise BitstreamError(f"the step of {name!r} must lie within +-{LARGEST_STEP}, got {self._step}")
        matrix = matrix_shape(shape)
        if kind == _DIRECT:
            return self._direct(shape, matrix, code)
        return self._factors(name, shape, matrix, code)

    def _direct(self, shape: tuple[int, ...], matrix: tuple[int, int] | None, code: Code | None) -> Direct:
        integers = code.integers.astype(np.int64) if isinstance(code, Direct) else None
        if matrix is None or min(matrix) == 1:
            size = math.prod(shape)
            return Direct(self._step, self._matrices.vector(integers, size).astype(np.int32))
        rows, columns = matrix
        given = None if integers is None else integers.reshape(matrix)
        # What is said of every row costs least where rows are few: the shorter side is rows.
        if rows > columns:
            coded = self._matrices.matrix(None if given is None else given.T, columns, rows).T
        else:
            coded = self._matrices.matrix(given, rows, columns)
        return Direct(self._step, coded.reshape(-1).astype(np.int32))

    def _factors(
        self, name: str, shape: tuple[int, ...], matrix: tuple[int, int] | None, code: Code | None
    ) -> Factors:
        given = code if isinstance(code, Factors) else None
        known = None if given is None else np.array([given.exponents.size - 1], dtype=np.int64)
        rank = int(self._ranks.code(self._coder, known, 1)[0]) + 1
        if matrix is None or rank > min(matrix):
            raise BitstreamError(f"{name!r} of shape {shape} cannot have factors of rank {rank}")
        exponents = self._exponent_list(None if given is None else given.exponents.astype(np.int64), rank, name)
        norms = np.int64(1) << np.clip(exponents, 0, 30)
        left = self._matrices.matrix(None if given is None else given.left.astype(np.int64), rank, matrix[0], norms)
        right = self._matrices.matrix(
            None if given is None else given.right.astype(np.int64), rank, matrix[1], norms
        )
        factors = Factors(self._step, left.astype(np.int32), right.astype(np.int32), exponents.astype(np.int32))
        if code is None and not is_exact(factors):
            raise BitstreamError("factors must have an exact product, these are too large; the stream is damaged")
        return factors

    def _exponent_list(self, exponents: Wide | None, rank: int, name: str) -> Wide:
        first = self._exponents.code_signed(self._coder, None if exponents is None else int(exponents[0]))
        falls = None if exponents is None else exponents[:-1] - exponents[1:]
        symbols = None
        if falls is not None:
            symbols = np.where((falls < 0) | (falls >= _FALLS), _FALLS, falls).astype(np.int32)
        coded = self._falls.code(self._coder, symbols, rank - 1).astype(np.int64)
        for index in np.flatnonzero(coded == _FALLS):
            coded[index] = self._exponents.code_signed(self._coder, None if falls is None else int(falls[index]))
        found = first - np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(coded)])
        if int(np.abs(found).max()) > LARGEST_EXPONENT:
            raise BitstreamError(
                f"exponents of {name!r} must lie within +-{LARGEST_EXPONENT}; the stream is damaged"
            )
        return found


def _kind(code: Code) -> int:
    if isinstance(code, Direct):
        return _DIRECT if code.integers.any() else _ZEROS
    return _FACTORS if isinstance(code, Factors) else _ZEROS


def _one(value: int) -> Integers:
    return np.array([value], dtype=np.int32)
