"""Parts of the page, as its template takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under their heads."""

    heads: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    numbers: frozenset[int] = frozenset()
    """Columns that are aligned to the right."""
    note: str = ""
    total: bool = False
    """Whether the last row sums the others."""
    flagged: frozenset[int] = frozenset()
    """Rows that are shown in red."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing with its caption, or why there is none."""

    caption: str = ""
    svg: Any = None
    """Markup; None if there is nothing to draw."""
    missing: str = ""
    """The reason why there is nothing to draw."""


NO_ROWS = (
    "No trial has reported yet, so there is nothing to draw. The first rows come after the first block of steps."
)
