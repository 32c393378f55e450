"""Bounds on the size of a specification, checked before anything is listed, copied or multiplied out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sweep.errors import Path, Problem
from sweep.specification.problems import dotted
from trainables.errors import shown

LARGEST_FILE_BYTES = 256 * 2**10
"""Largest specification file: some hundred times a preset, read in about two seconds, refused within one."""

MOST_VALUES = 20_000
"""Largest number of values in a specification, in a file keys included, those behind aliases counted wherever they
are used: two longest axes. Each value is checked by itself and keeps its line in the file."""

DEEPEST = 12
"""Levels of nesting; a specification needs six: cases, name, place in the list, drift, step, setting."""

LONGEST_TEXT = 4_096
"""Characters of a text, the longest path that Linux takes."""

LONGEST_AXIS = 10_000
"""Largest number of values of an axis; a map of more cannot be drawn, and each value is checked by itself."""

MOST_CASES = 1_000
"""Largest number of mappings in all cases together: each has its own axes, checked and multiplied out by itself."""

LARGEST_NUMBER = 2**64 - 1
"""Largest whole number, in either direction; no setting takes more than 63 bits, and some take as many."""

LARGEST_SWEEP = 100_000
"""Largest number of trials in one specification. Planning this many takes some ten seconds, and more are hardly
meant."""

MOST_NETWORKS = 1_000
"""Largest number of different networks, each of one task: every one is built and tried before anything is run, and
needs a cohort of its own."""

MOST_LANES = LARGEST_SWEEP
"""Largest number of lanes: a sweep has no more trials."""

MOST_PROCESSES = 10_000
"""Largest number of cohorts at once, beyond what Ray has been shown to schedule."""


def oversized(values: Mapping[str, Any]) -> Problem | None:
    """Return what makes a specification too large to be looked at; None if it is not.

    Lengths are compared before elements are visited, so that the answer takes no longer for larger values.

    Args:
        values: a specification's values as they were written or passed: mappings, lists, arrays, ranges, numbers.
    """
    cases = values.get("cases")
    if isinstance(cases, Mapping):
        mappings = sum(len(each) if isinstance(each, (list, tuple)) else 1 for each in cases.values())
        if mappings > MOST_CASES:
            return Problem(("cases",), f"cases may have at most {MOST_CASES:,} mappings, got {mappings:,}")
    for visited, (path, value) in enumerate(_walk(values, ()), start=1):
        if visited > MOST_VALUES:
            return Problem((), f"a specification may have at most {MOST_VALUES:,} values, got more; use fewer")
        if len(path) > DEEPEST:
            return Problem(path[:1], f"{dotted(path[:1])} must be nested at most {DEEPEST} levels deep, got more")
        message = _too_large(value)
        if message is not None:
            return Problem(path, f"{dotted(path)} {message}")
    return None


def _walk(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Yield all inner values with their paths, an outer one before its inner ones."""
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        inner = value.items()
    elif isinstance(value, (list, tuple)):
        inner = enumerate(value)
    for key, element in inner:
        place = (*path, key if isinstance(key, int) else str(key))
        yield place, element
        yield from _walk(element, place)


def _too_large(value: Any) -> str | None:
    """Return what must hold of a value, and what it is instead; None if nothing is wrong with its size."""
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            return f"must have at most {LONGEST_TEXT:,} characters, got {len(value):,}"
        return None
    if isinstance(value, int):
        if abs(value) > LARGEST_NUMBER:
            return f"must lie within +-{LARGEST_NUMBER:,}, got {shown(value)}"
        return None
    length = _length(value)
    if length > LONGEST_AXIS:
        return f"may have at most {LONGEST_AXIS:,} values, got {length:,}; use fewer"
    return None


def _length(value: Any) -> int:
    """Return the number of elements of a list, an array or a range, however large; 0 for anything else."""
    if isinstance(value, range):
        return max(0, -((value.start - value.stop) // value.step))
    size = getattr(value, "size", None)
    if isinstance(size, int):  # an array of NumPy
        return size
    if hasattr(value, "numel"):  # a tensor
        return int(value.numel())
    return len(value) if isinstance(value, (list, tuple, Mapping)) else 0
