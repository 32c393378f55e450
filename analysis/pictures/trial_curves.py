"""One column of small multiples: curves of trials, their mean, and marks where something happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.pictures import palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes as PlotAxes


@dataclass(frozen=True, slots=True)
class Column:
    """One column of small multiples: strong curves of one trial, faint ones of others, and words above."""

    title: str
    subtitle: str
    trial_id: str | None
    others: tuple[str, ...]
    events: pd.DataFrame | None
    """The events of the one trial, a row for each phase."""
    mean: bool = False
    """Whether the mean of the faint curves is drawn strongly."""


def mean_curve(curves: Sequence[pd.DataFrame], name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return steps and the mean of a column at them, see `settings_figure`.

    Args:
        curves: rows of one trial each, by step.
        name: the column; steps at which it is missing are interpolated over.
    """
    known = [curve.loc[curve[name].notna(), ["step", name]].to_numpy(dtype=np.float64).T for curve in curves]
    known = [curve for curve in known if curve.shape[1]]
    if not known:
        return np.array([]), np.array([])
    first, last = max(steps[0] for steps, _ in known), min(steps[-1] for steps, _ in known)
    every = np.unique(np.concatenate([steps for steps, _ in known]))
    every = every[(every >= first) & (every <= last)]
    return every, np.mean([np.interp(np.log1p(every), np.log1p(steps), values) for steps, values in known], axis=0)


def draw_column(upper: PlotAxes, lower: PlotAxes, column: Column, curves: Mapping[str, pd.DataFrame]) -> None:
    """Draw one column: accuracies above, complexity below.

    Args:
        upper: axes of the accuracies.
        lower: axes of the complexity.
        column: the column to draw.
        curves: trial id -> its rows, by step.
    """
    shown = [curves[trial] for trial in (column.trial_id, *column.others) if trial is not None and trial in curves]
    starts = {int(step) for rows in shown for step in rows["phase_start_step"]} - {0}
    for step in sorted(starts):
        for axes in (upper, lower):
            axes.axvline(step, color=palette.INK, linewidth=0.6, zorder=1)
    faint = 0.35 if column.trial_id else max(0.12, min(0.6, 6 / max(1, len(column.others))))
    grey = column.trial_id is not None
    for trial in column.others:
        if trial in curves:
            _draw_trial(upper, lower, curves[trial], alpha=faint, width=0.8, markers=False, grey=grey)
    if column.mean:
        _draw_mean(upper, lower, [curves[trial] for trial in column.others if trial in curves])
    if column.trial_id is None or column.events is None:
        return
    _draw_trial(upper, lower, curves[column.trial_id], alpha=1.0, width=1.5, markers=True, grey=False)
    if column.events["ended_because"].iloc[-1] == "stopped":
        _mark_stop(upper, lower, curves[column.trial_id])
    for row in column.events.to_dict("records"):
        _mark_events(upper, lower, row)


def _mark_events(upper: PlotAxes, lower: PlotAxes, events: Mapping[Any, Any]) -> None:
    """Mark the events of a trial, or of one phase of it."""
    for name, marker in EVENTS.items():
        step = events[name]
        if pd.isna(step):
            continue
        axes = lower if name == "complexity_peak_step" else upper
        if name != "complexity_peak_step":
            for both in (upper, lower):
                both.axvline(float(step), color=palette.EVENT, linewidth=0.7, linestyle=marker.line, zorder=1)
        y = events["complexity_peak_bytes"] / 1000 if axes is lower else 1.0
        axes.plot(
            [float(step)], [float(y)], marker=marker.shape, color=palette.INK, markerfacecolor=marker.fill,
            markersize=marker.size, markeredgewidth=0.8, zorder=5, clip_on=False, linestyle="none",
        )  # fmt: skip


def _draw_mean(upper: PlotAxes, lower: PlotAxes, curves: Sequence[pd.DataFrame]) -> None:
    for axes, name, colour, dash, scale in (
        (upper, "train_accuracy", palette.TRAIN, (0, (4, 1.5)), 1),
        (upper, "val_accuracy", palette.VALIDATION, "solid", 1),
        (lower, "complexity_bytes", palette.COMPLEXITY, "solid", 1e3),
    ):
        steps, mean = mean_curve(curves, name)
        axes.plot(steps, mean / scale, color=colour, linestyle=dash, linewidth=2.0, solid_capstyle="round")


def _mark_stop(upper: PlotAxes, lower: PlotAxes, rows: pd.DataFrame) -> None:
    """Mark with a cross on each curve where the rule stopped the trial."""
    for axes, name, scale in (
        (upper, "train_accuracy", 1),
        (upper, "val_accuracy", 1),
        (lower, "complexity_bytes", 1e3),
    ):
        known = rows[rows[name].notna()]
        axes.plot(
            known["step"].tail(1), known[name].tail(1) / scale, marker="X", markersize=6.5, linestyle="none",
            color=palette.STOP, markeredgecolor=palette.PAPER, markeredgewidth=0.7, zorder=6, clip_on=False,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Event:
    """How an event of a trial is marked and called."""

    label: str
    shape: str
    fill: str
    size: float
    line: Any


EVENTS = {
    "memorisation_step": Event("memorisation step", "v", "#ffffff", 6.5, (0, (1, 2))),
    "grok_step": Event("grok step", "*", "#f0e442", 10.0, (0, (4, 2))),
    "complexity_peak_step": Event("complexity peak", "D", "#ffffff", 5.0, "none"),
}


def _draw_trial(
    upper: PlotAxes, lower: PlotAxes, rows: pd.DataFrame, *, alpha: float, width: float, markers: bool, grey: bool
) -> None:
    steps = rows["step"].to_numpy(dtype=float)
    for name, colour, dash in (
        ("train_accuracy", palette.TRAIN, (0, (4, 1.5))),
        ("val_accuracy", palette.VALIDATION, "solid"),
    ):
        upper.plot(
            steps, rows[name].to_numpy(dtype=float), color=palette.MUTED if grey else colour, linestyle=dash,
            linewidth=width, alpha=alpha, solid_capstyle="round",
        )  # fmt: skip
    measured = rows[rows["complexity_bytes"].notna()]
    lower.plot(
        measured["step"].to_numpy(dtype=float), measured["complexity_bytes"].to_numpy(dtype=float) / 1000,
        color=palette.MUTED if grey else palette.COMPLEXITY, linewidth=width, alpha=alpha,
        marker="o" if markers else "", markersize=2.4,
    )  # fmt: skip
