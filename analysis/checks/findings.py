"""What is wrong with a results folder: one finding for each file, and warnings that name the files."""

from __future__ import annotations

import sys
import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from analysis.errors import OlderResults, ResultsWarning
from analysis.words import plain

Kind = Literal["ignored", "replaced", "damaged", "missing", "older"]
"""`ignored`: not a file of ours, e.g. a copy that a sync tool left. `replaced`: ours, and compacted into another.
`damaged`: unreadable, altered or foreign. `missing`: other files show that it must have been there. `older`: of an
older schema, which is read."""

FAULTS: tuple[Kind, ...] = ("damaged", "missing")
"""The kinds that cost rows."""

TRAIN_AGAIN = "`sweep run` sets the report aside and trains it again"
SET_ASIDE = "put a good copy in its place, or let `sweep run` set it aside and train its trials again"
KEEP_ELSEWHERE = "it is ignored; delete it, or keep it elsewhere"

MOST_NAMED = 5
"""Files that one warning names."""


class Damaged(Exception):
    """A file cannot be believed; the text says what is wrong with it, without its name."""


class Gone(Damaged):
    """A file that was listed is not there any more."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one file of a results folder."""

    kind: Kind
    file: str
    """Relative to the folder."""
    wrong: str
    """What must hold and does not; a clause whose subject is the file."""
    remedy: str
    """What to do."""

    def __str__(self) -> str:
        return f"{self.file}: {self.wrong}; {self.remedy}"


def warn(path: str, findings: Iterable[Finding]) -> None:
    """Warn of findings: one warning for all files that have the same thing wrong, which names the first of them.

    Args:
        path: the results folder.
        findings: what was found; the kind `older` gives an `OlderResults`, any other a `ResultsWarning`.
    """
    files: dict[tuple[Kind, str, str], list[str]] = defaultdict(list)
    for finding in findings:
        files[finding.kind, finding.wrong, finding.remedy].append(finding.file)
    for (kind, wrong, remedy), names in files.items():
        more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
        text = f"{path}: {', '.join(names[:MOST_NAMED])}{more}: {wrong}; {remedy}"
        warnings.warn(plain(text), OlderResults if kind == "older" else ResultsWarning, stacklevel=_outside())


def _outside() -> int:
    """Return the stack level of the code that called this package, whose line a warning is to show."""
    outside, level, frame = 1, 0, sys._getframe(1)
    while frame is not None:
        level += 1
        if frame.f_globals.get("__name__", "").partition(".")[0] == "analysis":
            outside = level + 1  # the standard library may be between two functions of this package
        frame = frame.f_back  # type: ignore[assignment]
    return outside
