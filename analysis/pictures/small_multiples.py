"""Accuracy above, complexity below, a column for each thing shown, all on shared axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.events import with_phases
from analysis.pictures import palette
from analysis.pictures.axes import linear_steps, log_steps, robust_top
from analysis.pictures.trial_curves import EVENTS, Column, draw_column

if TYPE_CHECKING:
    from matplotlib.axes import Axes as PlotAxes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


def small_multiples(df: pd.DataFrame, columns: Sequence[Column], *, others_are: str | None) -> Figure:
    """Draw columns side by side.

    Args:
        df: rows from `analysis.load`: one per (trial, evaluated step).
        columns: the columns to draw, from left to right.
        others_are: what the legend calls the faint curves; None without any.
    """
    wanted = {trial for column in columns for trial in (column.trial_id, *column.others) if trial}
    # By category: of most sweeps few trials are drawn, and hundreds of thousands of ids would become texts.
    trials = df["trial_id"].astype("category").cat
    drawn = trials.categories.astype(str).isin(wanted)[trials.codes.to_numpy()]
    rows = with_phases(df[drawn]).sort_values("step", kind="stable")
    rows = rows.assign(trial_id=rows["trial_id"].astype(str))
    curves = {str(trial): of_trial for trial, of_trial in rows.groupby("trial_id")}
    last_step = max(1, int(rows["step"].max())) if len(rows) else 1
    top = robust_top(rows["complexity_bytes"]) / 1000
    width = 2.35
    text_lines = max((column.subtitle.count("\n") + 1 for column in columns), default=1)
    title_lines = max((column.title.count("\n") + 1 for column in columns), default=1)
    above, left = 0.19 + 0.17 * title_lines + 0.158 * text_lines, 0.72
    accuracy_height, complexity_height, gap = 1.45, 1.45, 0.14
    total_width = max(left + len(columns) * (width + 0.18) + 0.1, 5.2)
    heroes = [row for column in columns if column.events is not None for row in column.events.to_dict("records")]
    exchanged = bool(rows["phase_start_step"].max() > 0)
    means = any(column.mean for column in columns)
    legend = _trajectory_legend(others_are, heroes, means=means, exchanged=exchanged)
    lines = math.ceil(sum(0.62 + 0.062 * len(str(handle.get_label())) for handle in legend) / total_width)
    below = 0.62 + 0.19 * lines
    height = above + accuracy_height + gap + complexity_height + below
    with palette.style():
        figure = palette.new_figure(total_width, height)

        def add(x: float, y: float, w: float, h: float) -> PlotAxes:
            return figure.add_axes((x / total_width, y / height, w / total_width, h / height))

        for index, column in enumerate(columns):
            x = left + index * (width + 0.18)
            upper = add(x, below + complexity_height + gap, width, accuracy_height)
            lower = add(x, below, width, complexity_height)
            draw_column(upper, lower, column, curves)
            for axes in (upper, lower):
                if exchanged:
                    linear_steps(axes, last_step)
                else:
                    log_steps(axes, last_step)
                axes.grid(axis="y", color=palette.GRID, linewidth=0.6)
                axes.set_axisbelow(True)
                if index:
                    axes.tick_params(labelleft=False)
            upper.set_ylim(-0.04, 1.06)
            upper.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "25", "50", "75", "100"])
            upper.tick_params(labelbottom=False)
            lower.set_ylim(0, top)
            upper.annotate(
                column.subtitle, (0, 1), (0, 5 + 11.3 * text_lines), xycoords="axes fraction",
                textcoords="offset points", fontsize=palette.SMALL_POINTS, color=palette.MUTED, va="top",
                linespacing=1.25,
            )  # fmt: skip
            upper.annotate(
                column.title, (0, 1), (0, 7 + 11.3 * text_lines), xycoords="axes fraction",
                textcoords="offset points", fontsize=palette.TITLE_POINTS, fontweight="bold", va="bottom",
            )  # fmt: skip
            if index == 0:
                upper.set_ylabel("accuracy (%)")
                lower.set_ylabel("complexity (kB)")
                for axes in (upper, lower):
                    axes.yaxis.set_label_coords(-0.5 / width, 0.5)
        figure.text(
            (left + (len(columns) * (width + 0.18) - 0.18) / 2) / total_width, (below - 0.36) / height,
            f"training step (optimiser updates{'' if exchanged else ', logarithmic after 1'})",
            ha="center", va="center",
        )  # fmt: skip
        figure.legend(
            handles=legend, loc="lower left", bbox_to_anchor=(0.0, 0.0), ncols=math.ceil(len(legend) / lines),
            borderaxespad=0.5, columnspacing=1.2, handlelength=2.0, handletextpad=0.5,
        )  # fmt: skip
    return figure


def _trajectory_legend(
    others_are: str | None, heroes: Sequence[Mapping[Any, Any]], *, means: bool = False, exchanged: bool = False
) -> list[Line2D]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=palette.TRAIN, linestyle=(0, (4, 1.5)), linewidth=1.5, label="training accuracy"),
        Line2D([], [], color=palette.VALIDATION, linewidth=1.5, label="validation accuracy"),
        Line2D(
            [], [], color=palette.COMPLEXITY, linewidth=1.5, marker="o" if heroes else "", markersize=2.4,
            label="complexity",
        ),
    ]  # fmt: skip
    if heroes:
        handles += [
            Line2D(
                [], [], color=palette.EVENT, linewidth=0.7 if event.line != "none" else 0,
                linestyle=event.line if event.line != "none" else "solid", marker=event.shape,
                markersize=event.size, markerfacecolor=event.fill, markeredgecolor=palette.INK,
                markeredgewidth=0.8, label=event.label,
            )
            for event in EVENTS.values()
        ]  # fmt: skip
    if any(events["ended_because"] == "stopped" for events in heroes):
        handles.append(
            Line2D(
                [],
                [],
                linestyle="none",
                marker="X",
                markersize=6.5,
                color=palette.STOP,
                label="stopped by the rule",
            )
        )
    if means:
        handles.append(Line2D([], [], color=palette.MUTED, linewidth=2.0, label="mean of the seeds"))
        handles.append(Line2D([], [], color=palette.MUTED, linewidth=0.8, alpha=0.6, label="single seeds"))
    if exchanged:
        handles.append(Line2D([], [], color=palette.INK, linewidth=0.6, label="training set exchanged"))
    if others_are:
        handles.append(Line2D([], [], color=palette.MUTED, linewidth=0.9, alpha=0.6, label=others_are))
    return handles
