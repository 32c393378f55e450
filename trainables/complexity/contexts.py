"""The expected size of an integer: classes of expected magnitude, and a table of counts for each class.

All of it is integer arithmetic, so encoder and decoder expect the same on any machine. Magnitudes are in fixed
point, `ONE` for 1. Class k represents the mean magnitude 2^(k/2 - 8).
"""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import numpy.typing as npt

from trainables.complexity.codes import Integers
from trainables.complexity.entropy_coder import Coder, Frequencies
from trainables.errors import BitstreamError

Wide = npt.NDArray[np.int64]

FRACTION_BITS = 12
ONE = 1 << FRACTION_BITS

#: The mean magnitude of class k is 2^(k/2 - 8); the last one is beyond the largest integer.
CLASSES = 80
_LOWEST_OCTAVE = 8

#: Classes from here on share the last two tables: their integers are shifted right until the mean magnitude is
#: between 2 and 4, and the low bits are coded separately.
_FIRST_SHIFTED = 20

#: Magnitudes up to here have a symbol of their own, larger ones an escape.
LARGEST_LETTER = 12
_LETTERS = 2 * LARGEST_LETTER + 3

#: How much one observation adds to its count, and the weight of the counts expected beforehand.
_INCREMENT = 32
_PRIOR_TOTAL = 24 * _INCREMENT
_SMALLEST_COUNT = 2

#: How many symbols are coded at once; this bounds memory.
_LARGEST_BLOCK = 1 << 14

#: Counts are halved when their sum exceeds the first; a new matrix keeps magnitude counts up to the second.
_LARGEST_COUNTS = 1 << 18
_KEPT_COUNTS = 100 * _INCREMENT

#: The weights of the two signs sum to this; `_LARGEST_COUNTS` times it stays below the coder's largest total.
_SIGNS = 32
_SIGN_PRIOR = 8


@cache
def class_means() -> Wide:
    """Return mean magnitudes [CLASSES] in fixed point, as integer square roots of powers of two."""
    exponents = [k + 2 * (FRACTION_BITS - _LOWEST_OCTAVE) for k in range(CLASSES)]
    return np.array([math.isqrt(1 << exponent) for exponent in exponents], dtype=np.int64)


@cache
def _boundaries() -> Wide:
    """Return the boundaries [CLASSES - 1] between classes: the geometric means of neighbouring class means."""
    means = [int(mean) for mean in class_means()]
    return np.array([math.isqrt(a * b) + 1 for a, b in itertools.pairwise(means)], dtype=np.int64)


def classes_of(magnitudes: Wide) -> Wide:
    """Return the classes of mean magnitudes in fixed point."""
    return np.searchsorted(_boundaries(), magnitudes, side="right")


@cache
def _expected_counts() -> Wide:
    """Return counts [tables, LARGEST_LETTER + 2] expected beforehand: two-sided geometric of each class's mean."""
    rows = []
    for mean in class_means()[:_FIRST_SHIFTED].tolist():
        # theta = (sqrt(1 + m^2) - 1) / m, in sixteen bits.
        theta = ((math.isqrt((ONE << FRACTION_BITS) + mean * mean) - ONE) << 16) // mean
        share = ((1 << 16) - theta) * (1 << 16) // ((1 << 16) + theta)
        counts = []
        remaining = 1 << 16
        for letter in range(LARGEST_LETTER + 1):
            counts.append((share if letter == 0 else 2 * share) * _PRIOR_TOTAL >> 16)
            remaining -= share if letter == 0 else 2 * share
            share = share * theta >> 16
        counts.append(max(remaining, 0) * _PRIOR_TOTAL >> 16)
        rows.append(counts)
    return np.array(rows, dtype=np.int64) + _SMALLEST_COUNT


class Table:
    """Adaptive counts of one alphabet."""

    def __init__(self, counts: list[int], increment: int = _INCREMENT) -> None:
        self._counts = np.array(counts, dtype=np.int64)
        self._increment = increment

    def code(self, coder: Coder, values: Integers | None, count: int) -> Integers:
        """Code `count` values by the counts so far, then count them."""
        coded = coder.symbols(values, self._counts[None, :], np.zeros(count, dtype=np.int64))
        self._counts += self._increment * np.bincount(coded, minlength=self._counts.size)
        while int(self._counts.sum()) > _LARGEST_COUNTS:
            self._counts = (self._counts + 1) // 2
        return coded

    def code_in_blocks(self, coder: Coder, values: Integers | None, count: int) -> Wide:
        """Code `count` values, each block by the counts of the blocks before it; blocks grow."""
        parts = [np.zeros(0, dtype=np.int64)]
        done, block = 0, 8
        while done < count:
            block = min(block, count - done)
            part = None if values is None else values[done : done + block]
            parts.append(self.code(coder, part, block).astype(np.int64))
            done += block
            block = max(8, done)
        return np.concatenate(parts)


class NumberTable:
    """Adaptive code of integers from 0 to 2^31: the number of bits by a table, then the bits."""

    def __init__(self, typical_bits: int, largest_bits: int = 31) -> None:
        self._lengths = Table([max(_INCREMENT >> abs(k - typical_bits), 1) for k in range(largest_bits + 1)])

    def code(self, coder: Coder, values: Wide | None, count: int) -> Wide:
        """Code `count` integers."""
        lengths = None if values is None else (np.frexp((values + 1).astype(np.float64))[1] - 1).astype(np.int32)
        lengths = self._lengths.code(coder, lengths, count)
        floors = np.int64(1) << lengths.astype(np.int64)
        low = coder.bits(None if values is None else values + 1 - floors, lengths)
        return floors + low - 1

    def code_signed(self, coder: Coder, value: int | None) -> int:
        """Code one integer of either sign."""
        folded = None if value is None else np.array([-2 * value - 1 if value < 0 else 2 * value], dtype=np.int64)
        coded = int(self.code(coder, folded, 1)[0])
        return -(coded + 1) // 2 if coded & 1 else coded // 2


class Magnitudes:
    """The count tables of all classes; codes integers by their classes."""

    def __init__(self) -> None:
        self._counts = _expected_counts().copy()
        self._escapes = NumberTable(1)
        self._negative, self._positive = 0, 0

    def new_matrix(self) -> None:
        """Forget the signs of the last matrix, and shrink the counts to the rough shape of the tables."""
        sums = self._counts.sum(axis=1, keepdims=True)
        self._counts = np.where(sums > _KEPT_COUNTS, self._counts * _KEPT_COUNTS // sums + 1, self._counts)
        self._negative, self._positive = 0, 0

    def code(self, coder: Coder, values: Wide | None, classes: Wide, largest: int) -> Wide:
        """Code integers [n] by the classes [n] of their expected magnitudes.

        Raises:
            BitstreamError: decoding gives a magnitude above `largest`.
        """
        coded = np.zeros(classes.size, dtype=np.int64)
        for start in range(0, classes.size, _LARGEST_BLOCK):
            part = slice(start, start + _LARGEST_BLOCK)
            coded[part] = self._code_block(coder, None if values is None else values[part], classes[part])
        if values is None and int(np.abs(coded).max(initial=0)) > largest:
            raise BitstreamError(f"integers must be at most {largest} in magnitude, got a larger one")
        return coded

    def _code_block(self, coder: Coder, values: Wide | None, classes: Wide) -> Wide:
        shifted = classes >= _FIRST_SHIFTED
        shifts = np.where(shifted, (classes - _FIRST_SHIFTED) // 2 + 1, 0)
        rows = np.where(shifted, _FIRST_SHIFTED - 2 + classes % 2, classes)
        halves: Wide = (np.int64(1) << shifts) // 2
        given: Wide | None = None if values is None else (values + halves) >> shifts
        high = self._code_high(coder, given, rows)
        low = None if values is None else values + halves - (high << shifts)
        return np.asarray((high << shifts) + coder.bits(low, shifts.astype(np.int32)) - halves)

    def _code_high(self, coder: Coder, values: Wide | None, rows: Wide) -> Wide:
        symbols = None
        if values is not None:
            escapes = np.where(values < 0, _LETTERS - 2, _LETTERS - 1)
            symbols = np.where(np.abs(values) > LARGEST_LETTER, escapes, values + LARGEST_LETTER).astype(np.int32)
        symbols = coder.symbols(symbols, self._frequencies(), rows)
        escaped = np.flatnonzero(symbols >= _LETTERS - 2)
        coded = symbols.astype(np.int64) - LARGEST_LETTER
        if escaped.size:
            beyond = None if values is None else np.abs(values[escaped]) - LARGEST_LETTER - 1
            beyond = self._escapes.code(coder, beyond, escaped.size) + LARGEST_LETTER + 1
            coded[escaped] = np.where(symbols[escaped] == _LETTERS - 2, -beyond, beyond)
        self._count(rows, np.minimum(np.abs(coded), LARGEST_LETTER + 1))
        self._negative += int((coded < 0).sum())
        self._positive += int((coded > 0).sum())
        return coded

    def _frequencies(self) -> Frequencies:
        """Return frequencies [tables, letters]: letters from -LARGEST_LETTER up, then the two escapes.

        Signs are weighted as often as this matrix has shown them so far.
        """
        signs = self._negative + self._positive
        positive = 1 + (_SIGNS - 2) * (self._positive + _SIGN_PRIOR) // (signs + 2 * _SIGN_PRIOR)
        negative = _SIGNS - positive
        counts = self._counts
        own = counts[:, 1 : LARGEST_LETTER + 1]
        escape = counts[:, LARGEST_LETTER + 1 :]
        letters = [negative * own[:, ::-1], _SIGNS * counts[:, :1], positive * own]
        return np.concatenate([*letters, negative * escape, positive * escape], axis=1)

    def _count(self, rows: Wide, letters: Wide) -> None:
        tables, size = self._counts.shape
        seen = np.bincount(rows * size + letters, minlength=tables * size).reshape(tables, size)
        self._counts += _INCREMENT * seen
        while bool((full := self._counts.sum(axis=1) > _LARGEST_COUNTS).any()):
            self._counts[full] = (self._counts[full] + 1) // 2
