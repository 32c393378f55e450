"""The tables and the picture of docs/regulariser.md, computed from the results in docs/data/regulariser.

    python benchmarks/regulariser.py                  print the tables
    python benchmarks/regulariser.py --draw --write   draw the picture, and put the tables into the page
    python benchmarks/regulariser.py --pack RESULTS   put what is needed of RESULTS into docs/data/regulariser

A test compares the page with the tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student
from studies import page_main, spread

import analysis
from analysis.events import Thresholds
from analysis.intervals import CONFIDENCE, wilson
from analysis.pictures import palette, png

DOCS = Path(__file__).parents[1] / "docs"
DATA = DOCS / "data" / "regulariser"

NEVER = {"spectral_entropy_weight": 0.0, "spectral_start": 0}
FROM_THE_START = {"spectral_entropy_weight": 0.1, "spectral_start": 0}
AT_DECLINE = {"spectral_entropy_weight": 0.1, "spectral_start": "at_decline"}

ARMS: dict[str, dict[str, Any]] = {"never": NEVER, "from the start": FROM_THE_START, "at decline": AT_DECLINE}
COMPARISONS = (("never", "from the start"), ("never", "at decline"), ("from the start", "at decline"))
"""(first arm, second arm): the change is the second against the first."""

NEARLY = Thresholds(grokked_at=0.95)
"""The threshold of a near grok."""

STYLES = {
    "never": (palette.INK, "-"),
    "from the start": (palette.TRAIN, (0, (4, 1.5))),
    "at decline": (palette.VALIDATION, "-."),
}
"""Arm -> colour and line of the picture."""


def conditions(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield `0.4 | 1` and its rows, the hardest condition first."""
    for (fraction, decay), of in rows.groupby(["data_fraction", "weight_decay"], observed=True):
        yield f"{fraction:g} | {decay:g}", of


def of_arm(rows: pd.DataFrame, arm: str) -> pd.DataFrame:
    start = str(ARMS[arm]["spectral_start"])
    weight = ARMS[arm]["spectral_entropy_weight"]
    return rows[(rows["spectral_entropy_weight"] == weight) & (rows["spectral_start"] == start)]


def outcomes(rows: pd.DataFrame, trials: pd.DataFrame) -> str:
    """Write a line for each condition and arm."""
    began = trials.set_index("trial_id")["spectral_started_at_step"]
    lines = [
        "| data fraction | weight decay | penalty | grokked (95 %) | median grok step | penalty from step | "
        "peak, bytes | at the end, bytes | effective rank | L2 norm | val accuracy |",
        "|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for condition, here in conditions(rows):
        for arm in ARMS:
            of = of_arm(here, arm)
            events = analysis.events(of)
            last = of.groupby("trial_id", observed=True).tail(1)
            low, high = wilson(int((~events["censored"]).sum()), len(events))
            # A trial that did not grok within the budget counts as later than all others; at least half had by the
            # median.
            middle = float(events["grok_step"].fillna(np.inf).quantile(interpolation="lower"))
            started = began.reindex(events["trial_id"].astype(str)).dropna()
            cells = [
                f"{int((~events['censored']).sum())}/{len(events)} ({low:.0%} to {high:.0%})",
                f"{middle:,.0f}" if np.isfinite(middle) else f"> {events['budget_steps'].max():,.0f}",
                "–" if arm == "never" else spread(started),
                f"{events['complexity_peak_bytes'].median():,.0f}",
                f"{events['final_complexity_bytes'].median():,.0f}",
                f"{last['effective_rank'].median():.1f}",
                f"{last['l2_norm'].median():.1f}",
                f"{last['val_accuracy'].median():.3f}",
            ]
            lines.append(f"| {condition} | {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def compared(rows: pd.DataFrame, thresholds: Thresholds | None = None) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield a name for each condition and comparison, and the result of the pairs."""
    for condition, here in conditions(rows):
        for first, second in COMPARISONS:
            paired = analysis.paired_arms(here, ARMS[first], ARMS[second], thresholds=thresholds)
            yield f"{condition} | {second} against {first}", paired.set_index(["quantity", "at"])


def grokking(rows: pd.DataFrame, thresholds: Thresholds | None = None) -> str:
    """Compare the share grokked and the time to grok."""
    lines = [
        "| data fraction | weight decay | penalty | share grokked, difference (95 %) | only this, only the other "
        "| p | grok step, ratio (95 %) where both grokked | sooner, later | p |",
        "|---:|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, paired in compared(rows, thresholds):
        share, step = paired.loc[("grokked", "end")], paired.loc[("grok_step", "end")]
        cells = [
            f"{share['change']:+.2f} ({share['low']:+.2f} to {share['high']:+.2f})",
            f"{share['first_lower']:.0f}, {share['second_lower']:.0f}",  # lower: it has not grokked
            probability(share["p"]),
            f"{ratio(step)} of {step['pairs']:.0f}",
            f"{step['second_lower']:.0f}, {step['first_lower']:.0f}",
            probability(step["p"]),
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ends(rows: pd.DataFrame) -> str:
    """Compare complexity, effective rank and norm at the end."""
    lines = [
        "| data fraction | weight decay | penalty | bytes at the end | smaller, larger | p "
        "| bytes at the end where both grokked | bytes at the same step | effective rank | L2 norm |",
        "|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, paired in compared(rows):
        end, both = paired.loc[("complexity_bytes", "end")], paired.loc[("complexity_bytes", "both_grokked")]
        cells = [
            ratio(end),
            f"{end['second_lower']:.0f}, {end['first_lower']:.0f}",
            probability(end["p"]),
            f"{ratio(both)} of {both['pairs']:.0f}",
            ratio(paired.loc[("complexity_bytes", "same_step")]),
            ratio(paired.loc[("effective_rank", "end")]),
            ratio(paired.loc[("l2_norm", "end")]),
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def together(rows: pd.DataFrame) -> str:
    """Compare all conditions at once: each seed's mean over conditions, and Student's interval over seeds."""
    last = rows[rows["complexity_bytes"].notna()].groupby("trial_id", observed=True).tail(1)
    censored = analysis.events(rows).set_index("trial_id")["censored"]
    last = last.assign(grokked=~last["trial_id"].map(censored.to_dict()).astype(bool))
    lines = [
        "| penalty | share grokked, difference (95 %) | bytes at the end | effective rank | L2 norm |",
        "|---|---:|---:|---:|---:|",
    ]
    keys = ["data_fraction", "weight_decay", "seed"]
    for first, second in COMPARISONS:
        one, other = (of_arm(last, arm).set_index(keys).sort_index() for arm in (first, second))
        share = over_seeds(other["grokked"].astype(float) - one["grokked"].astype(float))
        cells = ["{:+.2f} ({:+.2f} to {:+.2f})".format(*share)]
        for name in ("complexity_bytes", "effective_rank", "l2_norm"):
            logarithms = np.log(other[name].astype(float) / one[name].astype(float))
            cells.append("{:.2f} ({:.2f} to {:.2f})".format(*np.exp(over_seeds(logarithms))))
        lines.append(f"| {second} against {first} | {' | '.join(cells)} |")
    return "\n".join(lines)


def over_seeds(values: pd.Series[float]) -> NDArray[np.float64]:
    """Return mean, lower and upper end."""
    means = values.groupby("seed").mean().to_numpy()
    interval = student.interval(CONFIDENCE, len(means) - 1, means.mean(), means.std(ddof=1) / len(means) ** 0.5)
    return np.array([means.mean(), *interval])


def ratio(row: pd.Series[Any]) -> str:
    """Write `0.98 (0.91 to 1.05)`; without an interval for fewer than six pairs."""
    if not row["pairs"]:
        return "–"
    interval = "" if np.isnan(row["low"]) else f" ({row['low']:.2f} to {row['high']:.2f})"
    return f"{row['change']:.2f}{interval}"


def probability(p: float) -> str:
    return f"{p:.2f}" if p >= 0.0095 else f"{p:.1g}"


def tables() -> dict[str, str]:
    """Return title -> table, as they are in docs/regulariser.md."""
    rows, trials = analysis.load(DATA), analysis.trials(DATA)
    return {
        "outcomes": outcomes(rows, trials),
        "grokking": grokking(rows),
        "nearly": grokking(rows, NEARLY),
        "ends": ends(rows),
        "together": together(rows),
    }


def draw() -> None:
    """Plot the share grokked, and median complexity, against steps, for each condition and arm."""
    rows = analysis.load(DATA)
    every = list(conditions(rows))
    with palette.style():
        figure = palette.new_figure(8.6, 4.6)
        axes = figure.subplots(2, len(every), sharex=True, sharey="row", squeeze=False)
        for column, (condition, here) in enumerate(every):
            share, size = axes[:, column]
            fraction, decay = condition.split(" | ")
            share.set_title(f"data fraction {fraction}, weight decay {decay}", loc="left", fontsize=9)
            budget = float(here["budget_steps"].max())
            for arm, (colour, line) in STYLES.items():
                of = of_arm(here, arm)
                share.step(*grokked_by(of), where="post", color=colour, linestyle=line, label=arm)
                size.plot(*median_complexity(of), color=colour, linestyle=line)
            share.set_ylim(-0.03, 1.03)
            size.set_ylim(bottom=0)
            for axis in (share, size):
                axis.set_xscale("log")
                axis.set_xlim(100, budget)
                axis.xaxis.set_major_formatter("{x:,.0f}")
                axis.grid(axis="y", color=palette.GRID, linewidth=0.7)
        axes[0][0].set_ylabel("share grokked")
        axes[1][0].set_ylabel("complexity, median (kB)")
        figure.supxlabel("training step (optimiser updates)", fontsize=palette.TEXT_POINTS, y=0.075)
        figure.legend(*axes[0][0].get_legend_handles_labels(), ncols=3, loc="lower left", title=None)
        figure.subplots_adjust(left=0.07, right=0.99, top=0.93, bottom=0.16, wspace=0.08, hspace=0.12)
        (DOCS / "images" / "regulariser.png").write_bytes(png(figure))


def grokked_by(rows: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return steps, and the share of trials that had grokked by each."""
    events = analysis.events(rows)
    steps = np.sort(events["grok_step"].dropna().to_numpy(dtype=np.float64))
    share = np.arange(1, len(steps) + 1) / len(events)
    budget = float(events["budget_steps"].max())
    return np.array([1.0, *steps, budget]), np.array([0.0, *share, share[-1] if len(share) else 0.0])


def median_complexity(rows: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return measured steps and the median kB of the trials, each by its last measurement up to the step."""
    measured = rows[rows["complexity_bytes"].notna()]
    table = measured.pivot(index="step", columns="trial_id", values="complexity_bytes").sort_index().ffill()
    # Steps at which only a few trials were measured would add nothing but kinks.
    kept = measured.groupby("step").size() >= measured["trial_id"].nunique() / 4
    table = table[kept.reindex(table.index)]
    return table.index.to_numpy(dtype=np.float64), table.median(axis=1).to_numpy(dtype=np.float64) / 1000


if __name__ == "__main__":
    page_main(__doc__, DOCS / "regulariser.md", DATA, ("rows", "trials"), tables, draw, several=False)
