"""The same words for endings, settings and numbers in the terminal, in the pictures and in the report."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

#: Endings in the order in which they are listed, and the words used for them.
ENDINGS: dict[str, str] = {
    "grokked": "grokked",
    "budget": "budget ended",
    "stopped": "stopped by the rule",
    "diverged": "diverged",
    "failed": "failed",
    "unfinished": "running or interrupted",
    "planned": "planned",
}

#: C0 and C1 controls but tab and line feed, line separators, marks that change the direction of writing, and bytes
#: of file names that are not UTF-8.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

#: Names that are not simply the column's name with blanks.
_NAMES: dict[str, str] = {"task_family": "task", "model_kind": "model"}


def setting_name(name: str) -> str:
    """Return `weight_decay` as people write it."""
    return _NAMES.get(name, name.replace("_", " "))


def value_text(value: Any) -> str:
    """Write a setting's value without trailing zeros; a missing one is `default`, an empty text is `none`."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "default"
    if isinstance(value, str):
        return value or "none"
    number = float(value)
    return f"{int(number):,}" if number.is_integer() and abs(number) < 1e9 else f"{number:g}"


def setting_text(name: str, value: Any) -> str:
    """Write a setting with its value: `weight decay 0.1`."""
    return f"{setting_name(name)} {value_text(value)}"


def settings_text(names: Iterable[str], values: Any) -> str:
    """Write settings with their values: `weight decay 0.1, seed 3`.

    Args:
        names: the settings.
        values: a mapping, or a row of a frame, that has the value of each.
    """
    return ", ".join(setting_text(name, values[name]) for name in names)


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: `1 trial`, `3 trials`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(words: Sequence[str]) -> str:
    """Join words: `a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def plain(text: str) -> str:
    """Write control characters as text, `\\x1b` for ESC: a message may quote what a terminal would obey.

    Line ends and tabs are kept. Characters that reverse the direction of writing are written as text, too.
    """
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
