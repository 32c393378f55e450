"""Accuracy and complexity along training: single trials side by side, or all of them by what became of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.cells import ENDINGS, counted, setting_text
from analysis.events import events as events_of
from analysis.maps import varying_settings
from analysis.pictures import palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes as PlotAxes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

#: Curves drawn in one panel of `curves_figure`; more are sampled, and the panel says so.
CURVES_SHOWN = 60


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of small multiples: strong curves of one trial, faint ones of others, words above."""

    title: str
    subtitle: str
    trial_id: str | None
    others: tuple[str, ...]
    events: pd.DataFrame | None
    """Of the one trial: a row for each phase."""
    mean: bool = False
    """Whether the mean of the faint curves is drawn strongly."""


def representative_trials(events: pd.DataFrame) -> list[str]:
    """Up to four trials that show what can happen, in this order: grokked, memorised only, never learned, stopped.

    Of the trials that grokked it is the one with the median delay (so neither the fastest nor the slowest), of
    those that memorised only or never learned the longest, of the stopped the one with the median length. Kinds
    that do not occur are left out; if none does (a sweep that has just begun), the longest trial is taken. Where
    training sets are exchanged, what became of a trial is what became of its last phase.

    Args:
        events: One row per trial, or phase, as `analysis.events` gives.
    """
    events = events.drop_duplicates("trial_id", keep="last")
    by_length = events.sort_values(["last_step", "trial_id"], ascending=[False, True])
    memorised = by_length["memorisation_step"].notna()
    grokked = by_length["grok_step"].notna()
    stopped = by_length["ended_because"].eq("stopped")
    diverged = by_length["ended_because"].eq("diverged")
    over = by_length["ended_because"].eq("budget") | diverged
    delays = by_length[grokked].assign(delay=lambda frame: frame["grok_step"] - frame["memorisation_step"])
    chosen = [
        _median_trial(delays, "delay"),
        _first(by_length[memorised & ~grokked & over]),
        _first(by_length[~memorised & ~grokked & over & ~diverged]) or _first(by_length[~memorised & stopped]),
        _median_trial(by_length[memorised & stopped], "last_step"),
    ]
    return [trial for trial in chosen if trial is not None] or list(by_length["trial_id"].astype(str).head(1))


def _first(frame: pd.DataFrame) -> str | None:
    return None if frame.empty else str(frame["trial_id"].iloc[0])


def _median_trial(frame: pd.DataFrame, column: str) -> str | None:
    ordered = frame.sort_values([column, "trial_id"])
    return None if ordered.empty else str(ordered["trial_id"].iloc[(len(ordered) - 1) // 2])


#: What can become of a trial, in the order in which it is always shown.
_FATES = (
    "grokked",
    "memorised only",
    "memorised, then stopped",
    "never learned",
    "not learned, then stopped",
    *(ENDINGS[name] for name in ("diverged", "failed", "unfinished")),
)


def fate(row: pd.Series[Any]) -> str:
    """What became of a trial, one of `_FATES`."""
    if pd.notna(row["grok_step"]):
        return "grokked"
    because = "unfinished" if pd.isna(row["ended_because"]) else str(row["ended_because"])
    if because in ("diverged", "failed", "unfinished"):
        return ENDINGS[because]
    learned = "memorised" if pd.notna(row["memorisation_step"]) else "not learned"
    if because == "stopped":
        return f"{learned}, then stopped"
    return "memorised only" if learned == "memorised" else "never learned"


def fates(phases: pd.DataFrame) -> tuple[str, ...]:
    """What became of a trial in each of its phases."""
    return tuple(fate(row) for _, row in phases.iterrows())


def fates_title(names: Sequence[str]) -> str:
    """`Grokked`; with several phases a line for each."""
    return ",\nthen ".join(names).capitalize()


def trajectory_figure(
    df: pd.DataFrame, trial_ids: Sequence[str] | None = None, *, events: pd.DataFrame | None = None
) -> Figure:
    """Accuracy and complexity of single trials against log steps, side by side on shared axes.

    The other seeds of a trial's setting stand behind it in grey, so that one sees whether it is typical.

    Args:
        df: Rows as `analysis.load` gives: one per (trial, evaluated step), accuracies as shares, complexity
            in bytes and empty where not measured.
        trial_ids: Trials to draw; by default `representative_trials`.
        events: What `analysis.events(df)` gives, if it is known already.

    Returns:
        A figure; steps on a logarithmic axis that also has room for step 0, accuracy in percent, complexity in
        kB of 1,000 bytes.

    Raises:
        KeyError: a trial that has no rows.
    """
    events = events_of(df) if events is None else events
    by_id = events.assign(trial_id=events["trial_id"].astype(str)).set_index("trial_id", drop=False)
    chosen = representative_trials(events) if trial_ids is None else [str(trial) for trial in trial_ids]
    missing = [trial for trial in chosen if trial not in by_id.index]
    if missing:
        raise KeyError(f"no rows of trial {missing[0]}; the trials are in the column trial_id of the results")
    settings = _settings_of(events)
    columns = []
    for trial in chosen:
        phases = by_id[by_id["trial_id"] == trial]
        row = phases.iloc[-1]
        # What is empty in both is the same, too.
        equal = (by_id[settings] == row[settings]) | (by_id[settings].isna() & row[settings].isna())
        same = by_id[equal.all(axis=1)]
        columns.append(
            _Column(
                title=fates_title(fates(phases)),
                subtitle=trial_subtitle(phases, [*settings, "seed"]),
                trial_id=trial,
                others=tuple(same.index.unique().drop(trial)),
                events=phases,
            )
        )
    seeds = any(column.others for column in columns)
    return _small_multiples(df, columns, others_are="other seeds of the same setting" if seeds else None)


def curves_figure(df: pd.DataFrame, *, events: pd.DataFrame | None = None, shown: int = CURVES_SHOWN) -> Figure:
    """Every trial's accuracy and complexity, one column for each fate; at most `shown` curves in each.

    Args:
        df: Rows as `analysis.load` gives.
        events: What `analysis.events(df)` gives, if it is known already.
        shown: Curves in one column; the sample is spread evenly over the trials ordered by id, which is a hash.
    """
    events = events_of(df) if events is None else events
    by_fates: dict[tuple[str, ...], list[str]] = {}
    for trial, phases in events.groupby(events["trial_id"].astype(str)):
        by_fates.setdefault(fates(phases), []).append(str(trial))
    columns = []
    for names in sorted(by_fates, key=lambda names: [_FATES.index(name) for name in names]):
        ids = sorted(by_fates[names])
        sample = ids if len(ids) <= shown else [ids[i] for i in np.linspace(0, len(ids) - 1, shown).astype(int)]
        count = (
            counted(len(ids), "trial")
            if len(sample) == len(ids)
            else f"showing {len(sample)} of {len(ids):,} trials"
        )
        columns.append(_Column(fates_title(names), count, None, tuple(sample), None))
    return _small_multiples(df, columns, others_are=None)


def settings_figure(df: pd.DataFrame, *, events: pd.DataFrame | None = None) -> Figure:
    """Accuracy and complexity, one column for each setting: every seed, and the mean over them.

    The mean at a step is that of the seeds' curves, each interpolated linearly in log(1 + step) between the
    steps at which it is known; it ends where the first of them does.

    Args:
        df: Rows as `analysis.load` gives them, of a few settings.
        events: What `analysis.events(df)` gives, if it is known already.
    """
    events = events_of(df) if events is None else events
    settings = _settings_of(events)
    groups = events.groupby(settings, observed=True, dropna=False, sort=True) if settings else [((), events)]
    columns = []
    for _, trials in groups if len(events) else ():
        lines = _setting_lines(trials.iloc[0], settings)
        shares = []
        for phase, own in trials.groupby("phase"):
            shares.append(f"{own['grok_step'].notna().sum()} of {counted(len(own), 'seed')}")
            which = f"phase {phase}: " if trials["phase"].nunique() > 1 else ""
            for name, verb in (("memorisation_step", "memorised"), ("grok_step", "grokked")):
                steps = own[name].dropna()
                if len(steps):
                    span = f"{steps.min():,.0f}" + (f" to {steps.max():,.0f}" if steps.min() < steps.max() else "")
                    lines.append(f"{which}{verb} at {span}")
        columns.append(
            _Column(
                title=f"{fates_title(shares)} grokked",
                subtitle="\n".join(lines),
                trial_id=None,
                others=tuple(trials["trial_id"].astype(str).unique()),
                events=None,
                mean=True,
            )
        )
    return _small_multiples(df, columns, others_are=None)


def mean_curve(curves: Sequence[pd.DataFrame], name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and the mean of a column at them, see `settings_figure`.

    Args:
        curves: Rows of one trial each, by step.
        name: The column; steps at which it is missing are interpolated over.
    """
    known = [curve.loc[curve[name].notna(), ["step", name]].to_numpy(dtype=np.float64).T for curve in curves]
    known = [curve for curve in known if curve.shape[1]]
    if not known:
        return np.array([]), np.array([])
    first, last = max(steps[0] for steps, _ in known), min(steps[-1] for steps, _ in known)
    every = np.unique(np.concatenate([steps for steps, _ in known]))
    every = every[(every >= first) & (every <= last)]
    return every, np.mean([np.interp(np.log1p(every), np.log1p(steps), values) for steps, values in known], axis=0)


def trial_subtitle(phases: pd.DataFrame, settings: Sequence[str], width: int = 36) -> str:
    """Settings, and on a line of its own when things happened; a line for each phase.

    Args:
        phases: Of the trial, a row for each phase, as `analysis.events` gives.
        settings: Columns to name.
        width: Characters in a line, roughly.
    """
    lines = _setting_lines(phases.iloc[-1], settings, width)
    for _, row in phases.iterrows():
        happened = [
            f"{verb} {row[name]:,.0f}"
            for name, verb in (("memorisation_step", "memorised at"), ("grok_step", "grokked at"))
            if pd.notna(row[name])
        ]
        if row["ended_because"] == "stopped":
            happened.append(f"stopped at {row['last_step']:,.0f}")
        lines.append(", ".join(happened) or f"followed to step {row['last_step']:,.0f}")
    return "\n".join(lines)


def _settings_of(events: pd.DataFrame) -> list[str]:
    """The settings that tell whole trials apart."""
    return [name for name in varying_settings(events) if name != "phase"]


def _setting_lines(row: pd.Series[Any], settings: Sequence[str], width: int = 36) -> list[str]:
    lines: list[str] = []
    for part in [setting_text(name, row[name]) for name in settings if name in row.index]:
        if lines and len(lines[-1]) + len(part) + 2 <= width:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return lines


def _small_multiples(df: pd.DataFrame, columns: Sequence[_Column], *, others_are: str | None) -> Figure:
    wanted = {trial for column in columns for trial in (column.trial_id, *column.others) if trial}
    rows = df[df["trial_id"].astype(str).isin(wanted)].sort_values("step", kind="stable")
    rows = rows.assign(trial_id=rows["trial_id"].astype(str))
    curves = {str(trial): of_trial for trial, of_trial in rows.groupby("trial_id")}
    last_step = max(1, int(rows["step"].max())) if len(rows) else 1
    top = _robust_top(rows["complexity_bytes"]) / 1000
    width = 2.35
    text_lines = max((column.subtitle.count("\n") + 1 for column in columns), default=1)
    title_lines = max((column.title.count("\n") + 1 for column in columns), default=1)
    above, left = 0.19 + 0.17 * title_lines + 0.158 * text_lines, 0.72
    accuracy_height, complexity_height, gap = 1.45, 1.45, 0.14
    total_width = max(left + len(columns) * (width + 0.18) + 0.1, 5.2)
    heroes = [row for column in columns if column.events is not None for _, row in column.events.iterrows()]
    exchanged = "phase_start_step" in rows.columns and bool(rows["phase_start_step"].max() > 0)
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
            _draw_column(upper, lower, column, curves)
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


def _robust_top(complexity: pd.Series[Any]) -> float:
    """Upper end of the complexity axis, bytes: the largest, unless a few odd ones would flatten all others."""
    values = complexity.dropna().to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    if not len(values):
        return 1000.0
    largest, usual = float(values.max()), float(np.quantile(values, 0.99))
    return 1.1 * (largest if largest <= 3 * usual else usual)


def _draw_column(upper: PlotAxes, lower: PlotAxes, column: _Column, curves: Mapping[str, pd.DataFrame]) -> None:
    shown = [curves[trial] for trial in (column.trial_id, *column.others) if trial is not None and trial in curves]
    starts = {int(step) for rows in shown for step in rows.get("phase_start_step", [])} - {0}
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
    for _, row in column.events.iterrows():
        _mark_events(upper, lower, row)


def _mark_events(upper: PlotAxes, lower: PlotAxes, events: pd.Series[Any]) -> None:
    """The events of a trial, or of one phase of it."""
    for name, marker in _EVENTS.items():
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
    """A cross where the rule stopped the trial, on each of its curves."""
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
class _Event:
    label: str
    shape: str
    fill: str
    size: float
    line: Any


_EVENTS = {
    "memorisation_step": _Event("memorisation step", "v", "#ffffff", 6.5, (0, (1, 2))),
    "grok_step": _Event("grok step", "*", "#f0e442", 10.0, (0, (4, 2))),
    "complexity_peak_step": _Event("complexity peak", "D", "#ffffff", 5.0, "none"),
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


def log_steps(axes: PlotAxes, last_step: int) -> None:
    """A logarithmic axis with step 0 on it: linear from 0 to 1, then decades."""
    axes.set_xscale("symlog", linthresh=1.0, linscale=0.3)
    decades = [10**power for power in range(int(math.log10(last_step)) + 1)]
    # Longer labels would touch those of the next panel.
    labels = [f"{decade:,}" if decade < 10_000 else f"{decade // 1000}k" for decade in decades]
    axes.set_xticks([0, *decades], ["0", *labels])
    minor = [decade * digit for decade in decades for digit in range(2, 10) if decade * digit <= last_step]
    axes.set_xticks(minor, minor=True)
    axes.tick_params(axis="x", which="minor", length=1.5, color=palette.MUTED)
    axes.set_xlim(-0.15, last_step * 1.25)


def linear_steps(axes: PlotAxes, last_step: int) -> None:
    """An axis of equal steps: on a logarithmic one nothing would be seen of what follows an exchange."""
    axes.locator_params(axis="x", nbins=4)
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}" if step < 10_000 else f"{step / 1000:g}k")
    axes.set_xlim(-0.02 * last_step, last_step * 1.02)


def _trajectory_legend(
    others_are: str | None, heroes: Sequence[pd.Series[Any]], *, means: bool = False, exchanged: bool = False
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
            for event in _EVENTS.values()
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
