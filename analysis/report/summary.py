"""The result in words: one sentence with numbers, the map as plain text, compute spent and saved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.cells import KEPT, LEGEND, Axes, Kind, Panel, evenly, panels
from analysis.fates import kept_words
from analysis.maps import varying_settings
from analysis.words import counted, listed, setting_name, setting_text, value_text

if TYPE_CHECKING:
    import pandas as pd

#: Characters in a line of the terminal's map; more columns continue below.
TERMINAL_COLUMNS = 100
#: Number of lines of the map in the terminal; from a larger map some panels are shown, spread evenly.
TERMINAL_LINES = 120


# ------------------------------------------------------------------------------------------------ the sentence


def result_sentence(events: pd.DataFrame, *, planned: int | None = None) -> str:
    """Say what the sweep found, in one sentence with numbers.

    Args:
        events: one row per trial, from `analysis.events`, with `ended_because` and `budget_steps`.
        planned: number of requested trials, if some have not reported yet; by default those in `events`.
    """
    total = max(planned or 0, events["trial_id"].nunique())
    if events.empty:
        return f"No trial has reported yet, of {counted(total, 'trial')} planned."
    if events["phase"].nunique() > 1:
        return " ".join(
            f"Phase {phase}: {result_sentence(own, planned=total)}" for phase, own in events.groupby("phase")
        )
    ended = int(events["ended_because"].notna().sum())
    so_far = "" if ended == total else f"So far, with {ended:,} of {counted(total, 'trial')} ended: "
    grokked = events[events["grok_step"].notna()]
    kept = kept_words(events) if "grok_lost" in events.columns else ""
    parts = [
        _grokked_part(events, grokked),
        *([kept] if kept else []),
        *_decline_part(grokked),
        *_stopping_part(events),
    ]
    sentence = so_far + "; ".join(parts) + "."
    return sentence[0].upper() + sentence[1:]


def _grokked_part(events: pd.DataFrame, grokked: pd.DataFrame) -> str:
    n = len(events)
    if grokked.empty:
        longest = f"followed for up to {events['last_step'].max():,.0f} steps"
        memorised = int(events["memorisation_step"].notna().sum())
        none = "the only trial did not grok" if n == 1 else f"none of {counted(n, 'trial')} grokked"
        return f"{none} ({longest}, {memorised:,} memorised)"
    steps = grokked["grok_step"]
    if n == 1:
        return f"the only trial grokked at step {steps.iloc[0]:,.0f}"
    share = f"{len(grokked):,} of {counted(n, 'trial')} grokked ({len(grokked) / n:.0%})"
    when = f"at step {steps.iloc[0]:,.0f}" if len(grokked) == 1 else f"at a median of {steps.median():,.0f} steps"
    if steps.min() < steps.max():
        when += f" ({steps.min():,.0f} to {steps.max():,.0f})"
    return f"{share}, {when}{_where(events)}"


def _where(events: pd.DataFrame) -> str:
    """Say in how many settings trials grokked, and which one, with at least half of its trials, groks soonest."""
    settings = varying_settings(events)
    if not settings:
        return ""
    times = events["grok_step"].fillna(math.inf)
    by_setting = times.groupby([events[name] for name in settings], observed=True, dropna=False)
    reached = by_setting.min() < math.inf
    medians = by_setting.median()
    where = f", in {int(reached.sum()):,} of {len(reached):,} settings"
    if not medians.min() < math.inf:
        return where
    soonest = medians.idxmin()
    values = soonest if isinstance(soonest, tuple) else (soonest,)
    named = listed([setting_text(name, value) for name, value in zip(settings, values, strict=True)])
    return f"{where} and soonest at {named}"


def _decline_part(grokked: pd.DataFrame) -> list[str]:
    declines = grokked["decline"].dropna()
    if declines.empty:
        return []
    whose = "its complexity ended" if len(grokked) == 1 else "their complexity ended a median of"
    return [f"{whose} {declines.median():.0%} below its peak"]


def _stopping_part(events: pd.DataFrame) -> list[str]:
    saved = compute(events)
    if not saved.stopped:
        return []
    were = "was" if saved.stopped == 1 else "were"
    share = f"{saved.share_of_steps_saved:.0%}"
    return [f"{saved.stopped:,} {were} stopped by the rule, which saved up to {share} of the steps"]


# ------------------------------------------------------------------------------------------------ compute


@dataclass(frozen=True, slots=True)
class Compute:
    """Steps and lane-seconds that were spent, and that were saved because the rule stopped trials."""

    steps_run: int
    stopped: int
    """Number of trials stopped by the rule."""
    steps_saved: int
    """Steps left in the budgets of stopped trials: an upper bound, because a trial that groks also ends early."""
    train_s: float
    """Lane-seconds of training; NaN if the rows lack them."""
    measure_s: float
    """Lane-seconds of evaluating and measuring; NaN if the rows lack them."""
    seconds_saved: float
    """Seconds saved, at each stopped trial's own seconds per step; NaN if the rows lack them."""

    @property
    def share_of_steps_saved(self) -> float:
        """Share in [0, 1] of the steps that would have been run without the rule."""
        without = self.steps_run + self.steps_saved
        return self.steps_saved / without if without else 0.0


def compute(events: pd.DataFrame, rows: pd.DataFrame | None = None) -> Compute:
    """Sum up the compute spent and saved.

    Args:
        events: one row per trial, from `analysis.events`, with `budget_steps` and `ended_because`.
        rows: rows from `analysis.load` with `train_wall_s` and `measure_wall_s`, for the seconds.
    """
    stopped = events["ended_because"].eq("stopped")
    left = (events["budget_steps"] - events["last_step"]).clip(lower=0)[stopped]
    steps_run = int((events["last_step"] - events["phase_start_step"]).sum())
    train_s = measure_s = seconds_saved = math.nan
    if rows is not None:
        last = rows.groupby("trial_id", observed=True)[["train_wall_s", "measure_wall_s"]].max()
        train_s, measure_s = float(last["train_wall_s"].sum()), float(last["measure_wall_s"].sum())
        total = last.sum(axis=1).reindex(events["trial_id"]).to_numpy()
        per_step = total[stopped.to_numpy()] / events["last_step"][stopped].clip(lower=1)
        seconds_saved = float((left * per_step).sum())
    return Compute(steps_run, int(stopped.sum()), int(left.sum()), train_s, measure_s, seconds_saved)


# ------------------------------------------------------------------------------------------------ the map as text


def text_map(
    map_frame: pd.DataFrame, *, x: str | None = None, y: str | None = None, width: int = TERMINAL_COLUMNS
) -> str:
    """Write the map as plain text: one grid per facet, `1,024 (3/3)` in each cell, a legend of what occurs.

    Args:
        map_frame: a frame from `analysis.grok_map`.
        x: setting along the columns.
        y: setting along the rows. By default the last two settings of the frame are the axes.
        width: number of characters in a line; columns that do not fit continue below.
    """
    if map_frame.empty:
        return "No trial has reported yet, so there is no map."
    names = Axes.of(map_frame, x, y)
    grids = panels(map_frame, names)
    lines = ["Median grok step (trials grokked / trials)"]
    blocks = [["", *([grid.label] if grid.label else []), *_grid_lines(grid, names, width)] for grid in grids]
    fitting = TERMINAL_LINES // len(blocks[0])
    if not fitting:
        return f"The map has {len(map_frame):,} cells, too many for a terminal; see its picture, or cells.csv."
    chosen = evenly(len(blocks), fitting)
    for index in chosen:
        lines += blocks[index]
    if len(chosen) < len(grids):
        lines += ["", f"Shown are {len(chosen)} of {len(grids):,} panels; all cells are in cells.csv."]
        grids = [grids[index] for index in chosen]
    kinds = {cell.kind for grid in grids for row in grid.cells for cell in row}
    lines += ["", *(LEGEND[kind] for kind in LEGEND if kind in kinds and kind is not Kind.MEDIAN)]
    if any("kept" in cell.count for grid in grids for row in grid.cells for cell in row):
        lines.append(KEPT)
    if any(cell.unfinished for grid in grids for row in grid.cells for cell in row):
        lines.append("…: some of the cell's trials have not ended")
    if any(cell.late_or_never for grid in grids for row in grid.cells for cell in row):
        lines.append("?: it cannot be told whether the networks without a grok are late or never grok")
    return "\n".join(lines).rstrip()


def _grid_lines(grid: Panel, names: Axes, width: int) -> list[str]:
    heads = [value_text(value) for value in grid.x_values]
    stub = [value_text(value) for value in grid.y_values]
    stub_width = max(len(setting_name(names.y)), *(len(text) for text in stub))
    words = [[cell.text for cell in row] for row in grid.cells]
    widths = [max(len(heads[i]), *(len(row[i]) for row in words)) + 2 for i in range(len(heads))]
    lines: list[str] = []
    for columns in _chunks(widths, max(1, width - stub_width - 2)):
        if lines:
            lines.append("")
        inner = sum(widths[i] for i in columns)
        lines.append(" " * stub_width + "  " + setting_name(names.x).rjust(inner))
        lines.append(
            setting_name(names.y).rjust(stub_width) + "  " + "".join(heads[i].rjust(widths[i]) for i in columns)
        )
        lines += [
            stub[j].rjust(stub_width) + "  " + "".join(words[j][i].rjust(widths[i]) for i in columns)
            for j in reversed(range(len(stub)))
        ]
    return lines


def _chunks(widths: Sequence[int], limit: int) -> list[list[int]]:
    chunks: list[list[int]] = [[]]
    used = 0
    for index, one in enumerate(widths):
        if chunks[-1] and used + one > limit:
            chunks.append([])
            used = 0
        chunks[-1].append(index)
        used += one
    return chunks
