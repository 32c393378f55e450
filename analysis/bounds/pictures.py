"""What a sweep has proved about unseen examples: its best bound as a sentence, all bounds in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.bounds.formulas import DELTA
from analysis.bounds.tables import generalisation_bounds
from analysis.fates import fates, fates_title, representative_trials, trial_subtitle
from analysis.maps import varying_settings
from analysis.pictures import palette
from analysis.pictures.axes import log_steps
from analysis.schema import TASK
from analysis.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes as PlotAxes
    from matplotlib.figure import Figure

#: Number of trials in `bounds_figure`, unless others are named.
TRIALS_SHOWN = 4

#: The columns that determine the draw of the training examples.
_DRAW = [*(column.name for column in TASK), "data_fraction", "seed"]


def joint_bounds(measured: pd.DataFrame, trials: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Compute bounds that hold together for a whole sweep, so that the best of all its trials may be picked.

    Args:
        measured: a frame from `analysis.complexity`.
        trials: a frame from `analysis.trials`.

    Returns:
        The frame of `analysis.generalisation_bounds` for the trials that have ended, with delta shared out over the
        training sets drawn, and the number of these sets.
    """
    # Each exchange of a training set is a further draw: other examples, or other answers to them.
    drawn = trials[[*_DRAW, "drift"]].drop_duplicates()["drift"].astype("str")
    draws = int((1 + drawn.str.count(r"\{")).sum())
    bounds = generalisation_bounds(measured, trials, DELTA / max(1, draws))
    return bounds[bounds["unseen_error_bound"].notna()], draws


def best_bound(bounds: pd.DataFrame) -> pd.Series[Any] | None:
    """Return the row of the lowest bound on unseen examples, or None if none is below chance."""
    below = bounds[bounds["unseen_error_bound"] < bounds["chance_error"]]
    if below.empty:
        return None
    order = ["unseen_error_bound", "complexity_bytes", "trial_id", "step"]
    return below.assign(trial_id=below["trial_id"].astype("str")).sort_values(order).iloc[0]


def bounds_sentence(bounds: pd.DataFrame, draws: int) -> str:
    """Write what is proved, next to chance and to a look-up table of the training labels.

    Args:
        bounds: a frame from `joint_bounds`.
        draws: number of training sets that they hold for together.
    """
    if bounds.empty:
        return "No trial that was measured has ended yet, so nothing is proved about unseen examples."
    best = best_bound(bounds)
    if best is None:
        lowest = bounds.sort_values("unseen_error_bound", kind="stable").iloc[0]
        return (
            f"No bound on the errors on unseen examples is below chance, {lowest['chance_error']:.3f}; the lowest "
            f"is {lowest['unseen_error_bound']:.3f}. The streams are too long for so few training examples: at a "
            "larger modulus there are more, and streams are hardly longer."
        )
    return (
        f"With probability {1 - DELTA:g} over the draw of {counted(draws, 'training set')}, trial "
        f"{best['trial_id']} at step {best['step']:,} errs on at most {best['unseen_error_bound']:.3f} of the "
        f"examples it was not trained on, because {best['complexity_bytes']:,.0f} bytes answer its training "
        f"examples; in fact it errs on {best['unseen_error']:.3f}. Chance is {best['chance_error']:.3f}, as is a "
        f"look-up table, whose bound is {best['lookup_table_error_bound']:.3f}."
    )


def shown_trials(bounds: pd.DataFrame, events: pd.DataFrame) -> list[str]:
    """Choose the trial with the lowest bound, and those of `representative_trials` that have bounds."""
    best = best_bound(bounds)
    known = set(bounds["trial_id"].astype("str"))
    chosen = [*([] if best is None else [str(best["trial_id"])]), *representative_trials(events)]
    return [trial for trial in dict.fromkeys(chosen) if trial in known][:TRIALS_SHOWN]


def bounds_figure(bounds: pd.DataFrame, events: pd.DataFrame, trial_ids: Sequence[str] | None = None) -> Figure:
    """Draw the bound on the errors on unseen examples along training, above the real errors, for single trials.

    At each measured step this is the lowest bound of all epsilons, which hold together.

    Args:
        bounds: from `joint_bounds` or `analysis.generalisation_bounds`; rows without a bound are left out.
        events: one row per trial, from `analysis.events`.
        trial_ids: trials to draw; by default `shown_trials`.

    Returns:
        A figure; steps on a logarithmic axis that also has room for step 0, shares in percent.

    Raises:
        KeyError: a trial has no bounds.
    """
    bounds = bounds[bounds["unseen_error_bound"].notna()]
    chosen = shown_trials(bounds, events) if trial_ids is None else [str(trial) for trial in trial_ids]
    lowest = bounds.assign(trial_id=bounds["trial_id"].astype("str"))
    lowest = lowest.sort_values(["trial_id", "step", "unseen_error_bound", "epsilon"])
    curves = {str(name): rows for name, rows in lowest.drop_duplicates(["trial_id", "step"]).groupby("trial_id")}
    missing = [trial for trial in chosen if trial not in curves]
    if missing:
        raise KeyError(f"no bounds of trial {missing[0]}; a trial has them once it has ended")
    by_id = events.assign(trial_id=events["trial_id"].astype("str"))
    settings = [name for name in varying_settings(events) if name != "phase"]
    last_step = max(1, *(int(curves[trial]["step"].max()) for trial in chosen))
    heroes = [by_id[by_id["trial_id"] == trial] for trial in chosen]
    texts = [trial_subtitle(hero, [*settings, "seed"]) for hero in heroes]
    titles = [fates_title(fates(hero)) for hero in heroes]
    lines = max(text.count("\n") + 1 for text in texts)
    title_lines = max(title.count("\n") + 1 for title in titles)
    width, height, left, gap, below, above = 2.35, 1.6, 0.72, 0.18, 0.86, 0.19 + 0.17 * title_lines + 0.158 * lines
    total = (max(left + len(chosen) * (width + gap) + 0.1, 5.2), above + height + below)
    with palette.style():
        figure = palette.new_figure(*total)
        for index, trial in enumerate(chosen):
            x = left + index * (width + gap)
            axes = figure.add_axes((x / total[0], below / total[1], width / total[0], height / total[1]))
            _draw(axes, curves[trial])
            log_steps(axes, last_step)
            axes.tick_params(labelleft=index == 0)
            for text, above_axes, weight, points in (
                (texts[index], 5, "normal", palette.SMALL_POINTS),
                (titles[index], 7, "bold", palette.TITLE_POINTS),
            ):
                setting = weight == "normal"
                axes.annotate(
                    text, (0, 1), (0, above_axes + 11.3 * lines), xycoords="axes fraction",
                    textcoords="offset points", fontsize=points, fontweight=weight, linespacing=1.25,
                    color=palette.MUTED if setting else palette.INK, va="top" if setting else "bottom",
                )  # fmt: skip
            if index == 0:
                axes.set_ylabel("wrong unseen answers (%)")
                axes.yaxis.set_label_coords(-0.5 / width, 0.5)
        figure.text(
            (left + (len(chosen) * (width + gap) - gap) / 2) / total[0], (below - 0.36) / total[1],
            "training step (optimiser updates, logarithmic after 1)", ha="center", va="center",
        )  # fmt: skip
        figure.legend(
            *figure.axes[0].get_legend_handles_labels(), loc="lower left", bbox_to_anchor=(0.0, 0.0), ncols=4,
            borderaxespad=0.5, columnspacing=1.2, handlelength=2.0, handletextpad=0.5,
        )  # fmt: skip
    return figure


def _draw(axes: PlotAxes, rows: pd.DataFrame) -> None:
    steps = rows["step"].to_numpy(dtype=float)
    for name, label, colour, dash, marker in (
        ("unseen_error_bound", "bound", palette.COMPLEXITY, "solid", "o"),
        ("unseen_error", "errors as they are", palette.VALIDATION, "solid", ""),
        ("chance_error", "chance", palette.MUTED, (0, (1, 1.5)), ""),
        ("lookup_table_error_bound", "bound of a look-up table", palette.TRAIN, (0, (4, 1.5)), ""),
    ):
        axes.plot(
            steps, 100 * rows[name].to_numpy(dtype=float), color=colour, linestyle=dash, marker=marker,
            markersize=2.4, linewidth=1.3, label=label, clip_on=False,
        )  # fmt: skip
    axes.set_ylim(0, 106)
    axes.set_yticks(np.arange(0, 101, 25))
    axes.grid(axis="y", color=palette.GRID, linewidth=0.6)
    axes.set_axisbelow(True)
