"""What every description of a value is made of, and how the simplest values become bytes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class NoContent(Exception):
    """A value that cannot be compared by content; its text says what it is."""


@dataclass(frozen=True, slots=True)
class Node:
    """One value: what can be said of it alone, and the values it holds."""

    text: str
    """Its kind, and everything about it that is not a value of its own."""
    parts: Sequence[tuple[str, Any]] = ()
    """(how a person would name it, value) of what it holds."""
    ordered: bool = True
    """Whether the order of the parts counts."""


def atom(value: object) -> bytes | None:
    """Return a value that holds no other as bytes, different for different values and types; None for others.

    Every not-a-number is the same; 0.0 and -0.0 differ, and so do 1, 1.0 and True.
    """
    kind = type(value)
    if kind in _ATOMS:
        return f"{kind.__name__}:{value!r}".encode()
    if kind is str:
        return b"str:" + str(value).encode("utf-8", "surrogatepass")
    if kind is bytes or kind is bytearray:
        return f"{kind.__name__}:".encode() + bytes(value)  # type: ignore[call-overload,no-any-return]
    if isinstance(value, float) and kind is float:
        return b"float:" + _float(value)
    if isinstance(value, complex) and kind is complex:
        return b"complex:" + _float(value.real) + _float(value.imag)
    return None


_ATOMS = frozenset({int, bool, type(None), type(...), type(NotImplemented), range})


def _float(value: float) -> bytes:
    return struct.pack(">d", value) if value == value else b"nan"
