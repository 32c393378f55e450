"""Symbols to bytes and back at the length that their probabilities promise: asymmetric numeral systems.

Probabilities are given as integer frequencies. They reach the coder as float32 values that are exact, and so are
their sums, so the fixed-point intervals it makes of them are the same on every machine.

Both sides call the same methods in the same order: an `Encoder` takes values and returns them, a `Decoder` takes
None in their place and returns what the stream says. Numeral systems return symbols in the reverse order, so the
encoder keeps all of them until the end.
"""

from __future__ import annotations

from typing import Protocol

import constriction
import numpy as np
import numpy.typing as npt

from trainables.complexity.codes import Integers
from trainables.errors import BitstreamError

Frequencies = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int64]

#: The frequencies of one alphabet sum to less than this: float32 holds all integers up to here.
LARGEST_TOTAL = 2**24

#: Integers of equal probability are coded in parts of at most this many bits.
_PIECE = 16

_CATEGORICAL = constriction.stream.model.Categorical(perfect=False)
_UNIFORM = constriction.stream.model.Uniform()


class Coder(Protocol):
    """The methods that encoder and decoder have in common."""

    def symbols(self, values: Integers | None, frequencies: Frequencies, rows: Indices) -> Integers:
        """Code symbols by the frequencies of their alphabets.

        Args:
            values: [n], each from 0 to below the size of the alphabet; None when decoding.
            frequencies: [tables, size of the alphabet], each at least 1, a table's sum below `LARGEST_TOTAL`.
            rows: [n], the table that each symbol is coded by.
        """
        ...

    def bits(self, values: npt.NDArray[np.int64] | None, widths: Integers) -> npt.NDArray[np.int64]:
        """Code integers of equal probability, value i from 0 to below 2^widths[i]; None when decoding."""
        ...

    def begin(self, name: str) -> None:
        """Name the owner of all symbols from here to the next call."""
        ...


class Encoder:
    """Collects symbols; `finish` returns the bytes."""

    def __init__(self) -> None:
        self._collected: list[tuple[Integers, npt.NDArray[np.float32] | None, Indices | Integers]] = []
        self._owners: list[tuple[str, int]] = []

    def symbols(self, values: Integers | None, frequencies: Frequencies, rows: Indices) -> Integers:
        """Collect symbols, see `Coder`."""
        assert values is not None, "an encoder needs the values"
        if values.size:
            self._collected.append((values, frequencies.astype(np.float32), rows))
        return values

    def bits(self, values: npt.NDArray[np.int64] | None, widths: Integers) -> npt.NDArray[np.int64]:
        """Collect integers of equal probability, see `Coder`."""
        assert values is not None, "an encoder needs the values"
        for shift, chosen, sizes in _pieces(widths):
            pieces = (values[chosen] >> shift) & (sizes - 1)
            self._collected.append((pieces.astype(np.int32), None, sizes))
        return values

    def begin(self, name: str) -> None:
        """Name the owner of the following symbols, see `Coder`."""
        self._owners.append((name, len(self._collected)))

    def bits_by_owner(self) -> dict[str, float]:
        """Return the ideal code length, in bits, of the symbols that belong to each name."""
        bits_of: dict[str, float] = {}
        ends = [first for _, first in self._owners[1:]] + [len(self._collected)]
        for (name, first), end in zip(self._owners, ends, strict=True):
            bits = sum(_code_length(*one) for one in self._collected[first:end])
            bits_of[name] = bits_of.get(name, 0.0) + bits
        return bits_of

    def finish(self) -> bytes:
        """Return the stream, without header or padding."""
        coder = constriction.stream.stack.AnsCoder()
        for values, frequencies, rows in reversed(self._collected):
            if frequencies is None:
                coder.encode_reverse(values, _UNIFORM, rows)
            else:
                coder.encode_reverse(values, _CATEGORICAL, frequencies[rows])
        return bytes(coder.get_compressed().astype("<u4").tobytes()).rstrip(b"\0")


class Decoder:
    """Reads what an encoder has written; from other bytes it decodes other symbols of the same alphabets.

    Raises:
        BitstreamError: bytes that no encoder writes, such as a zero at the end.
    """

    def __init__(self, data: bytes) -> None:
        if data.endswith(b"\0"):
            raise BitstreamError("coded integers must not end with a zero byte; the stream is damaged")
        words = np.frombuffer(data + bytes(-len(data) % 4), dtype="<u4").astype(np.uint32)
        self._coder = constriction.stream.stack.AnsCoder(words)

    def symbols(self, values: Integers | None, frequencies: Frequencies, rows: Indices) -> Integers:
        """Decode symbols, see `Coder`."""
        assert values is None, "a decoder finds the values"
        if not rows.size:
            return np.zeros(0, dtype=np.int32)
        chosen = frequencies.astype(np.float32)[rows]
        return np.asarray(self._coder.decode(_CATEGORICAL, chosen), dtype=np.int32)

    def bits(self, values: npt.NDArray[np.int64] | None, widths: Integers) -> npt.NDArray[np.int64]:
        """Decode integers of equal probability, see `Coder`."""
        assert values is None, "a decoder finds the values"
        decoded = np.zeros(len(widths), dtype=np.int64)
        for shift, chosen, sizes in _pieces(widths):
            decoded[chosen] |= self._coder.decode(_UNIFORM, sizes).astype(np.int64) << shift
        return decoded

    def begin(self, name: str) -> None:
        """Do nothing: a decoder keeps no account of owners, see `Coder`."""

    def finish(self) -> None:
        """Raise BitstreamError unless the stream ends here."""
        if not self._coder.is_empty():
            raise BitstreamError("coded integers must end with the last tensor; the stream is damaged")


def _code_length(values: Integers, frequencies: npt.NDArray[np.float32] | None, rows: Indices | Integers) -> float:
    """Return the bits of one collected part."""
    if frequencies is None:
        return float(np.log2(rows).sum())
    chosen = frequencies[rows, values] / frequencies.sum(axis=1)[rows]
    return float(-np.log2(chosen).sum())


def _pieces(widths: Integers) -> list[tuple[int, npt.NDArray[np.int64], Integers]]:
    """List for each part of the bits: its shift, the indices of values that have bits there, and alphabet sizes."""
    parts = []
    for shift in range(0, int(widths.max(initial=0)), _PIECE):
        chosen = np.flatnonzero(widths > shift)
        parts.append((shift, chosen, (1 << np.minimum(widths[chosen] - shift, _PIECE)).astype(np.int32)))
    return parts
