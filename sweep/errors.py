"""The exceptions of `sweep` that the caller can put right; the command shows each as a message, without a trace.

SweepError(RuntimeError)
├── SpecificationError     a specification that cannot be run as it is; lists all its problems
├── StoreError             a results folder that cannot be read, written or trusted
│   ├── LeaseHeld          a results folder that another process is writing
│   ├── LeaseLost          a results folder that another process has taken over, or that is gone
│   ├── StorageFault       its disk or bucket fails, which may pass
│   └── ResultsGone        it was there and is not any more: moved, deleted or unmounted
├── RayUnusable            Ray did not start, cannot be reached, or would be open to others
├── JobServerUnusable      a job server that cannot be reached, refuses the token or does not know the job
├── PlaceholderLeft        a cluster file or results path that is still to be edited
├── ImportFailed           a module that was to be imported, and cannot be
└── UnusableNetwork        a network or bitstream that cannot be read, measured or decoded
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""The place of a value in a specification: ("weight_decay", 2) is the third value of `weight_decay`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a specification."""

    path: Path
    message: str
    where: str | None = None
    """`file:line` or `--set KEY=VALUE`; None for a specification made in Python."""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class SweepError(RuntimeError):
    """Base of every error that this package raises on purpose; the message says what to do."""


class SpecificationError(SweepError):
    """A specification that cannot be run. Its text has one line for each problem.

    Attributes:
        problems: All problems, in the order of the specification.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[SpecificationError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class StoreError(SweepError):
    """A results folder that cannot be read, written or trusted."""


class LeaseHeld(StoreError):
    """A results folder that another process is writing."""


class LeaseLost(StoreError):
    """A results folder that this process was writing, and that another one has taken over or removed."""


class StorageFault(StoreError):
    """A disk or bucket that fails, which says nothing about what was to be written and may pass."""


class ResultsGone(StoreError):
    """A results folder that was there and is not any more: moved, deleted or unmounted."""


class RayUnusable(SweepError):
    """Ray did not start, cannot be reached, or would be open to others."""


class JobServerUnusable(SweepError):
    """A job server that cannot be reached, refuses the token, or does not know the requested job."""


class PlaceholderLeft(SweepError):
    """A cluster file or results path in which something like `<YOUR-BUCKET>` is still to be edited."""


class ImportFailed(SweepError):
    """A module that registers tasks or networks, but cannot be imported."""


class UnusableNetwork(SweepError):
    """A network or bitstream that cannot be read, measured or decoded."""
