"""The words in one cell of a map, the same in the terminal, in the pictures and in the report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pandas as pd

from analysis.maps import CELL_COLUMNS, CENSORINGS, facets_of, grok_map, ordered, varying_settings
from analysis.schema import SETTINGS
from analysis.survival.estimates import ESTIMATE_COLUMNS, estimates
from analysis.words import ENDINGS, counted, settings_text


class Kind(Enum):
    """The four kinds of cell."""

    MEDIAN = "median"
    """At least half of the trials grokked: the median grok step is known, or the interval that holds it."""
    UNDER_HALF = "under half"
    """Fewer than half of the networks grok within the budget, by the estimate."""
    LATER = "later"
    """The median is not known: some trials were stopped, failed or still run."""
    NOT_WITHIN = "not within"
    """None grokked, and all were followed to the end of their budget."""
    EMPTY = "empty"
    """No trial of this cell has reported yet."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell in words and numbers."""

    kind: Kind
    when: str
    """`896–1,024`, `not in 4,000`, `<½ in 4,000`, `open` or `–`; of counts alone `1,024` and `>2,048`."""
    count: str
    """Grokked trials out of all, `2/3`, and how many kept it where some did not, `2/3, 1 kept`; empty for an empty
    cell."""
    step: float
    """Median grok step in steps, the end of its interval; NaN unless `kind` is `MEDIAN`."""
    share: float
    """Share of networks that grok within the budget; NaN for an empty cell, and where it is open."""
    share_low: float
    share_high: float
    n: int
    unfinished: int
    """Number of trials without a grok that have not ended."""
    endings: str
    """The endings of the trials: `2 grokked, 1 stopped by the rule`."""
    late_or_never: bool = False
    """Whether it cannot be told if the networks without a grok are late or never grok."""
    when_interval: str = ""
    """The interval of the median: `320 to 1,216`, `after 320`; empty where nothing is known of it."""
    settle: str = ""
    """What would settle the cell: `5 more seeds`, `2,000 more steps`; empty where it is settled."""

    @property
    def text(self) -> str:
        """`896–1,024 (3/3)`, one line for the terminal.

        `…` marks a cell with trials that have not ended, `?` one where late and never cannot be told apart.
        """
        marks = f"{'…' if self.unfinished else ''}{'?' if self.late_or_never else ''}"
        return f"{self.when} ({self.count}){marks}" if self.count else self.when


MOST_BUDGETS = 9
"""More steps are named as what would settle a cell if they are at most this many times its budget."""

OPEN = "open"
"""What a cell says whose median is not known."""

UNDER_HALF_IN = "<½ in"
"""What a cell says, with its budget, where some grokked within it, and fewer than half."""

NOT_IN = "not in"
"""What a cell says, with its budget, where none grokked within it."""

EMPTY_CELL = Cell(Kind.EMPTY, "–", "", math.nan, math.nan, math.nan, math.nan, 0, 0, "no trial has reported yet")


def cell(row: Mapping[Any, Any]) -> Cell:
    """Describe one row of a `grok_map` frame, or of a `sweep_map`, which has estimates, as a cell."""
    if int(row["n"]) == 0:
        return EMPTY_CELL
    kind, when, step = _counted_when(row) if "median_at" not in row else _estimated_when(row)
    n, grokked = int(row["n"]), int(row["grokked"])
    return Cell(
        kind,
        when,
        f"{grokked}/{n}" + (f", {grokked - int(row['lost'])} kept" if row["lost"] else ""),
        step,
        float(row["share"]),
        float(row["share_low"]),
        float(row["share_high"]),
        n,
        int(row["censored_unfinished"]),
        _endings(row),
        row.get("late_or_never") is True,
        _when_interval(row),
        _settle(row),
    )


def _estimated_when(row: Mapping[Any, Any]) -> tuple[Kind, str, float]:
    """Return the kind of a cell with estimates, its words, and its median step."""
    after, at = float(row["median_after"]), float(row["median_at"])
    if math.isfinite(at):
        return Kind.MEDIAN, f"{max(after, 0):,.0f}–{at:,.0f}", at
    if math.isnan(at):
        return Kind.LATER, OPEN, math.nan
    if not row["grokked"] and not row["undetermined"]:
        return Kind.NOT_WITHIN, f"{NOT_IN} {float(row['budget_steps']):,.0f}", math.nan
    return Kind.UNDER_HALF, f"{UNDER_HALF_IN} {float(row['budget_steps']):,.0f}", math.nan


def _when_interval(row: Mapping[Any, Any]) -> str:
    low, high = float(row.get("median_low", math.nan)), float(row.get("median_high", math.nan))
    if math.isnan(low):
        return ""
    return f"after {max(low, 0):,.0f}" if math.isinf(high) else f"{max(low, 0):,.0f} to {high:,.0f}"


def _settle(row: Mapping[Any, Any]) -> str:
    seeds, steps = float(row.get("more_seeds", 0)), float(row.get("more_steps", 0))
    parts = [counted(int(seeds), "more seed")] if seeds > 0 else []
    if 0 < steps <= MOST_BUDGETS * float(row["budget_steps"]):
        parts.append(counted(int(steps), "more step"))
    return " or ".join(parts)


def _counted_when(row: Mapping[Any, Any]) -> tuple[Kind, str, float]:
    """Return the kind of a cell of counts, its words, and its median step."""
    grokked = int(row["grokked"])
    median, at_least = float(row["median_grok_step"]), float(row["median_at_least"])
    if math.isfinite(median):
        kind, when = Kind.MEDIAN, f"{median:,.0f}"
    elif math.isinf(median) and not grokked and not row["undetermined"]:
        kind, when = Kind.NOT_WITHIN, f"{NOT_IN} {float(row['budget_steps']):,.0f}"
    elif math.isinf(median):
        kind, when = Kind.LATER, f">{float(row['budget_steps']):,.0f}"
    else:
        # If some trials grokked, the bound may itself be a grok step, so it is not strict.
        kind, when = Kind.LATER, f"{'≥' if grokked else '>'}{at_least:,.0f}"
    return kind, when, median if kind is Kind.MEDIAN else math.nan


def _endings(row: Mapping[Any, Any]) -> str:
    counts = {"grokked": int(row["grokked"]), **{name: int(row[f"censored_{name}"]) for name in CENSORINGS}}
    words = [f"{count} {ENDINGS[name]}" for name, count in counts.items() if count]
    if row["lost"]:
        ends = "ends" if row["lost"] == 1 else "end"
        lowest = "" if row["lost"] == 1 else "as low as "
        words.append(
            f"{row['lost']:.0f} of these {ends} below the threshold again, at validation accuracy "
            f"{lowest}{row['lost_val_accuracy']:.3g}"
        )
    return ", ".join(words)


KEPT = "2/3, 1 kept: of the 2 that grokked 1 was still at the threshold at its end"
"""The meaning of the words in a cell some of whose trials have lost their grok."""

#: The meaning of the words in a cell.
LEGEND: dict[Kind, str] = {
    Kind.MEDIAN: "896–1,024 (2/3): the median grok step is between these evaluated steps; trials grokked",
    Kind.NOT_WITHIN: "not in 4,000 (0/3): none grokked within 4,000 steps, all followed to the end of their budget",
    Kind.UNDER_HALF: "<½ in 4,000 (1/3): fewer than half of the networks grok within 4,000 steps",
    Kind.LATER: "open, >1,024, ≥1,024 (1/3): not known, or later than this if at all; not all were followed on",
    Kind.EMPTY: "–: no trial has reported yet",
}


@dataclass(frozen=True, slots=True)
class Axes:
    """The settings that span a map: columns, rows, and one panel for each combination of the facets."""

    x: str
    y: str
    facets: tuple[str, ...]

    @classmethod
    def of(cls, map_frame: pd.DataFrame, x: str | None = None, y: str | None = None) -> Axes:
        """Choose the axes of a `grok_map` frame; unless named, its settings are facets, y, x in this order."""
        settings = [name for name in map_frame.columns if name not in (*CELL_COLUMNS, *ESTIMATE_COLUMNS)]
        x = x or next(name for name in reversed(settings) if name != y)
        y = y or next(name for name in reversed(settings) if name != x)
        return cls(x, y, tuple(name for name in settings if name not in (x, y)))


#: The preferred settings for the axes of a map, most wanted first, if they vary; others follow in the schema's
#: order.
_WANTED_AXES = ("weight_decay", "data_fraction", "spectral_entropy_weight")


def usual_axes(events: pd.DataFrame) -> tuple[str, str]:
    """Choose the x and y that show a sweep best: its varying settings, weight decay and data fraction first.

    Args:
        events: one row per trial with its settings. If fewer than two vary, the usual ones complete them.
    """
    varying = varying_settings(events)
    varying = [name for name in varying if name != "phase"]
    wanted = [name for name in _WANTED_AXES if name in varying]
    x, y = [*wanted, *(name for name in varying if name not in wanted), *_unvaried(varying)][:2]
    return x, y


def _unvaried(varying: Sequence[str]) -> list[str]:
    return [name for name in _WANTED_AXES if name not in varying]


def sweep_map(events: pd.DataFrame, planned: pd.DataFrame, audits: pd.DataFrame | None = None) -> pd.DataFrame:
    """Make the map of a sweep over its usual axes, with estimates; a cell without a report has a row with n = 0.

    Args:
        events: one row per trial that has reported, from `analysis.events`; may be empty.
        planned: one row per requested trial, from `analysis.status`.
        audits: from `analysis.audits`; without it the fates of stopped trials are open.

    Returns:
        The columns of `grok_map` and those of `estimates`, whose share and interval take the place of the counted
        ones; empty if no trial has reported.
    """
    if events.empty:
        return pd.DataFrame()
    settings = [
        column.name for column in SETTINGS if column.name in events.columns and column.name in planned.columns
    ]
    in_a_cohort = planned[planned["cohort_id"].notna()]
    if events["phase"].nunique() > 1:
        # A later phase is shown only once it has begun.
        settings, in_a_cohort = [*settings, "phase"], in_a_cohort.assign(phase=0)
    every = pd.concat([events[settings], in_a_cohort[settings]], ignore_index=True)
    x, y = usual_axes(every)
    keys = [*facets_of(every, x, y), y, x]
    counted_cells = grok_map(events, x, y, keys[:-2])
    estimated = estimates(events, x, y, keys[:-2], audits)
    known = counted_cells.assign(**{name: estimated[name] for name in ESTIMATE_COLUMNS})
    asked = every[keys].drop_duplicates().merge(known[keys], how="left", indicator=True)
    unreported = asked.loc[asked["_merge"] == "left_only", keys].assign(n=0, grokked=0, lost=0)
    if unreported.empty:
        return known
    return pd.concat([known, unreported], ignore_index=True).sort_values(keys, ignore_index=True)


@dataclass(frozen=True, slots=True)
class Panel:
    """The cells of one combination of facet values: `cells[row][column]`, rows from the bottom up."""

    label: str
    x_values: tuple[Any, ...]
    y_values: tuple[Any, ...]
    cells: tuple[tuple[Cell, ...], ...]


def panels(map_frame: pd.DataFrame, axes: Axes) -> list[Panel]:
    """Return the grid of every facet, all with the same axes, so that panels can be compared by position."""
    x_values, y_values = ordered(map_frame[axes.x]), ordered(map_frame[axes.y])
    grids: list[Panel] = []
    facets = list(axes.facets)
    groups = map_frame.groupby(facets, observed=True, dropna=False, sort=True) if facets else [((), map_frame)]
    for key, frame in groups:
        known = {(row[axes.x], row[axes.y]): cell(row) for row in frame.to_dict("records")}
        grids.append(
            Panel(
                label=settings_text(facets, dict(zip(facets, key, strict=True))),
                x_values=x_values,
                y_values=y_values,
                cells=tuple(tuple(known.get((x, y), EMPTY_CELL) for x in x_values) for y in y_values),
            )
        )
    return grids


def some_panels(map_frame: pd.DataFrame, most: int) -> tuple[pd.DataFrame, int]:
    """Return a map of at most `most` panels, spread evenly over all of them, and the number of all panels.

    Args:
        map_frame: a frame from `grok_map`, not empty.
        most: panels to keep.
    """
    facets = list(Axes.of(map_frame).facets)
    if not facets:
        return map_frame, 1
    every = map_frame[facets].drop_duplicates()
    return map_frame.merge(every.iloc[evenly(len(every), most)], on=facets), len(every)


def evenly(count: int, most: int) -> list[int]:
    """Return at most `most` of the indexes below `count`, spread evenly."""
    return [index * count // most for index in range(most)] if count > most else list(range(count))
