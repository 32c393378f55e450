"""What the rules need of the results that a trainable reports to Ray Tune, and what they say about a trial."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Stop:
    """Where and why a rule stopped a trial, or would have stopped an audited one."""

    step: int
    reason: str
    """One or two sentences to show to people."""
    probability: float
    """The rule's probability that what was waited for would still have come within the budget: a decline of
    complexity, or, by the parking rule, a grok."""
    audited: bool
    """Whether the trial is in the audit share: it was not stopped, only marked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """The names of the metrics in a result."""

    step: str
    train_accuracy: str
    val_accuracy: str
    complexity_bytes: str | None
    """None if complexity is never measured; then each result counts as a measurement."""
    val_loss: str | None
    """None if the rule does not use it."""


@dataclass(frozen=True, slots=True)
class Row:
    """As much of a result as a rule needs, named as in a `Measurement`."""

    step: int
    train_accuracy: float
    val_accuracy: float
    complexity_bytes: float
    """NaN where it was not measured."""
    val_loss: float
    phase_start_step: int
    phase_end_step: int


def row_of(result: Mapping[str, Any], columns: Columns, budget_steps: int, reader: str) -> Row:
    """Take what a rule needs from a result of Tune; any trainable may have reported it.

    Args:
        result: the result, its nested metrics joined by `/`.
        columns: the names of its metrics.
        budget_steps: optimiser updates a trial is allowed.
        reader: the rule, for messages.

    Raises:
        ValueError: a metric is missing or is no number.
    """

    def number(name: str | None) -> float:
        if name is None:
            return math.nan
        if name not in result:
            others = [one for one in (columns.val_loss, columns.train_accuracy, columns.val_accuracy) if one]
            needed = ", ".join([columns.step, *others])
            measured = (
                f" and {columns.complexity_bytes} (NaN where not measured)" if columns.complexity_bytes else ""
            )
            raise ValueError(f"{reader} needs results with {needed}{measured}, got none named {name!r}")
        value = result[name]
        try:
            return math.nan if value is None else float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{reader} needs numbers as {name!r}, got {value!r}") from None

    step = number(columns.step)
    if not math.isfinite(step):
        raise ValueError(f"{reader} needs a number of optimiser updates as {columns.step!r}, got {step}")
    return Row(
        step=int(step),
        train_accuracy=number(columns.train_accuracy),
        val_accuracy=number(columns.val_accuracy),
        # No trial is called stalled before it has been measured a few times, however its progress is judged.
        complexity_bytes=0.0 if columns.complexity_bytes is None else number(columns.complexity_bytes),
        val_loss=number(columns.val_loss),
        phase_start_step=int(result.get("phase_start_step", 0)),
        phase_end_step=min(budget_steps, int(result.get("phase_end_step", budget_steps))),
    )


def take_in(rows: list[Row], row: Row) -> None:
    """Append a row, after dropping those that a trial is repeating since it resumed from a checkpoint."""
    while rows and rows[-1].step >= row.step:
        rows.pop()
    rows.append(row)


def of_last_phase(rows: list[Row]) -> list[Row]:
    """Return the rows of the phase of the last one: earlier training sets say nothing about this one."""
    return [row for row in rows if row.phase_start_step == rows[-1].phase_start_step]
