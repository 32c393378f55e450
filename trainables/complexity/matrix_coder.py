"""Integer matrices by adaptive contexts: which rows and columns are zero, how large rows are, then blocks of rows.

An entry's class follows from its row's mean magnitude, which is sent first, times how large its column has turned
out to be so far. A block of rows is coded at once, by the counts and the columns of the blocks before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from trainables.complexity.codes import LARGEST_INTEGER, Integers
from trainables.complexity.contexts import (
    CLASSES,
    FRACTION_BITS,
    ONE,
    Magnitudes,
    Table,
    Wide,
    class_means,
    classes_of,
)
from trainables.complexity.entropy_coder import Coder

#: Symbols of the first block. A later block has 1 / `_SHARE` of what is coded already: fewer blocks are faster.
_FIRST_BLOCK = 128
_SHARE = 4

#: Column statistics cap magnitudes at this, which keeps sums within 64 bits.
_LARGEST_COUNTED = 1 << 15
_LARGEST_RATIO = 16 * ONE

#: How strongly a column is expected to be like the others: the weight of the prior in units and in mean rows.
_PRIOR_UNITS = 16
_PRIOR_ROWS = 16

#: About the bits that the mean of one more row costs.
_ROW_BITS = 2.5


class MatrixCoder:
    """Codes the matrices of one network, learning from each for the next."""

    def __init__(self, coder: Coder) -> None:
        self._coder = coder
        self._magnitudes = Magnitudes()
        self._levels = Table([1 + (64 >> min(abs(k - 16) // 4, 6)) for k in range(CLASSES)])
        self._alike = Table([32, 32])
        self._any_dead = Table([32, 32])

    def matrix(
        self,
        values: Wide | None,
        rows: int,
        columns: int,
    ) -> Wide:
        """Code a matrix.

        Args:
            values: [rows, columns]; None when decoding.
            rows: its rows.
            columns: its columns.

        Raises:
            BitstreamError: decoding gives an integer that is too large.
        """
        decoded = np.zeros((rows, columns), dtype=np.int64)
        live_rows = self._live(None if values is None else np.any(values != 0, axis=1), rows)
        if rows > 1:
            live_columns = self._live(None if values is None else np.any(values != 0, axis=0), columns)
        else:
            live_columns = np.arange(columns)
        if not (live_rows.size and live_columns.size):
            return decoded
        inside = None if values is None else values[np.ix_(live_rows, live_columns)]
        means = self._row_means(inside, live_rows.size)
        decoded[np.ix_(live_rows, live_columns)] = self._entries(inside, means, live_columns.size)
        return decoded

    def _live(self, live: npt.NDArray[np.bool_] | None, count: int) -> Wide:
        """Code which rows (or columns) are not all zero, and return their indices."""
        any_dead = None if live is None else np.array([int(not live.all())], dtype=np.int32)
        if not self._any_dead.code(self._coder, any_dead, 1)[0]:
            return np.arange(count)
        symbols = None if live is None else live.astype(np.int32)
        return np.flatnonzero(Table([16, 16]).code_in_blocks(self._coder, symbols, count))

    def _row_means(self, values: Wide | None, rows: int) -> Wide:
        """Code mean magnitudes [rows] in fixed point, rounded to half octaves; one for all where rows are alike."""
        levels, alike = None, None
        if values is not None:
            magnitudes = np.abs(values)
            alike = _one(_alike(magnitudes))
            sums = np.full(rows, magnitudes.sum() // rows) if alike[0] else magnitudes.sum(axis=1)
            whole, rest = np.divmod(sums, values.shape[1])
            means = (whole << FRACTION_BITS) + (rest << FRACTION_BITS) // values.shape[1]
            levels = classes_of(means).astype(np.int32)
        first = int(self._levels.code(self._coder, None if levels is None else levels[:1], 1)[0])
        if rows == 1 or self._alike.code(self._coder, alike, 1)[0]:
            return np.full(rows, class_means()[first], dtype=np.int64)
        near = Table([1 + (64 >> min(2 * abs(k - first), 8)) for k in range(CLASSES)])
        rest = near.code_in_blocks(self._coder, None if levels is None else levels[1:], rows - 1)
        return np.asarray(class_means()[np.concatenate([[first], rest])])

    def _entries(self, values: Wide | None, means: Wide, columns: int) -> Wide:
        self._magnitudes.new_matrix()
        if means.size == 1:
            return self._row(values, int(means[0]), columns)
        rows = means.size
        counted_means = np.minimum(means, _LARGEST_COUNTED * ONE)
        prior = _PRIOR_UNITS * ONE + _PRIOR_ROWS * int(counted_means.sum()) // rows
        column_sums = np.zeros(columns, dtype=np.int64)
        expected_sum = 0
        decoded = np.zeros((rows, columns), dtype=np.int64)
        for part in _blocks(rows, max(1, _FIRST_BLOCK // columns)):
            overall = (int(column_sums.sum()) // columns + prior) * ONE // (expected_sum + prior)
            ratios = (column_sums + (prior * overall >> FRACTION_BITS)) * ONE // (expected_sum + prior)
            classes = classes_of(means[part, None] * np.minimum(ratios, _LARGEST_RATIO) >> FRACTION_BITS)
            given = None if values is None else values[part].reshape(-1)
            block = self._magnitudes.code(self._coder, given, classes.reshape(-1), LARGEST_INTEGER)
            decoded[part] = block.reshape(-1, columns)
            column_sums += np.minimum(np.abs(decoded[part]), _LARGEST_COUNTED).sum(axis=0) << FRACTION_BITS
            expected_sum += int(counted_means[part].sum())
        return decoded

    def _row(self, values: Wide | None, mean: int, columns: int) -> Wide:
        decoded = np.zeros((1, columns), dtype=np.int64)
        expected = classes_of(np.full(columns, mean))
        for part in _blocks(columns, _FIRST_BLOCK // 2):
            given = None if values is None else values[0, part]
            decoded[0, part] = self._magnitudes.code(self._coder, given, expected[part], LARGEST_INTEGER)
        return decoded


def _blocks(count: int, first: int) -> Iterator[slice]:
    """Yield blocks of `first` rows, or of a quarter of the rows done already if that is more."""
    done = 0
    while done < count:
        size = min(max(first, done // _SHARE), count - done)
        yield slice(done, done + size)
        done += size


def _alike(magnitudes: Wide) -> int:
    """Return 1 if telling rows apart saves fewer bits than it costs, else 0."""
    means = magnitudes.mean(axis=1)
    apart = sum(_geometric_bits(mean) for mean in means.tolist())
    saved = magnitudes.shape[1] * (means.size * _geometric_bits(float(means.mean())) - apart)
    return int(saved < _ROW_BITS * means.size)


def _geometric_bits(mean: float) -> float:
    """Return the bits of an integer with a two-sided geometric distribution of this mean magnitude, above 0."""
    theta = (math.sqrt(1 + mean * mean) - 1) / mean
    return math.log2((1 + theta) / (1 - theta)) - mean * math.log2(theta)


def _one(value: int) -> Integers:
    return np.array([value], dtype=np.int32)
