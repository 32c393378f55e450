"""The tables and pictures of docs/tasks.md, computed from the results in docs/data/tasks.

    python benchmarks/tasks.py                       print the tables
    python benchmarks/tasks.py --draw --write        draw the pictures, and put the tables into the page
    python benchmarks/tasks.py --pack RESULTS NAME   put what is needed of RESULTS into docs/data/tasks/NAME

A test compares the page with the tables.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from studies import page_main, spread

import analysis
from analysis.maps import varying_settings
from analysis.pictures import png
from analysis.words import setting_text

DOCS = Path(__file__).parents[1] / "docs"
DATA = DOCS / "data" / "tasks"

PICTURED: dict[str, dict[str, Any]] = {
    "permutations": {"data_fraction": 0.6},
    "sparse-parity": {"data_fraction": 0.25},
    "digits": {"initial_scale": 8.0, "data_fraction": 0.3},
    "mnist": {"initial_scale": 8.0},
    "sensitive-groups": {"task_family": "breast_cancer", "initial_scale": 4.0},
}
"""Study in `DATA` -> the settings of the trials that its picture shows: one column for each other setting."""


def rise_and_fall(rows: pd.DataFrame) -> str:
    """Write a line for each setting: steps, bytes and decline, as median and range over the seeds.

    Args:
        rows: of one family, as `analysis.load` gives them.
    """
    events = analysis.events(rows).set_index("trial_id", drop=False)
    by_trial = rows.groupby("trial_id", observed=True)
    events["final_bytes"] = (
        rows[rows["complexity_bytes"].notna()].groupby("trial_id", observed=True)["complexity_bytes"].last()
    )
    events["best_accuracy"] = by_trial["val_accuracy"].max()
    events["delay"] = events["grok_step"] / events["memorisation_step"]
    settings = varying_settings(events)
    lines = [
        "| setting | memorised | at | grokked | at | times as late | peak, bytes | at the end | decline | "
        "best val accuracy |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for _, of in events.groupby(settings, observed=True, dropna=False):
        memorised, grokked = of["memorisation_step"].dropna(), of["grok_step"].dropna()
        cells = [
            ", ".join(setting_text(name, of[name].iloc[0]) for name in settings),
            f"{len(memorised)}/{len(of)}",
            spread(memorised),
            f"{len(grokked)}/{len(of)}",
            spread(grokked),
            spread(of["delay"].dropna(), ".1f"),
            spread(of["complexity_peak_bytes"].dropna()),
            spread(of["final_bytes"]),
            spread(100 * of["decline"].dropna(), ".0f", " %"),
            spread(of["best_accuracy"], ".2f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(studies: dict[str, pd.DataFrame]) -> str:
    """Write a line for each family: the shares of trials that memorised and grokked, the delay, rise and fall."""
    lines = [
        "| study | trials | memorised | grokked | grokked after at least twice the steps of memorising | "
        "complexity of those that grokked: peak, bytes | at the end | decline |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for study, rows in studies.items():
        events = analysis.events(rows).set_index("trial_id", drop=False)
        measured = rows[rows["complexity_bytes"].notna()].groupby("trial_id", observed=True)
        grokked = events[events["grok_step"].notna()]
        late = grokked["grok_step"] >= 2 * grokked["memorisation_step"]
        cells = [
            f"[{study.replace('-', ' ')}](#{study})",
            str(len(events)),
            str(events["memorisation_step"].notna().sum()),
            str(len(grokked)),
            str(late.sum()),
            spread(grokked["complexity_peak_bytes"].dropna()),
            spread(measured["complexity_bytes"].last()[grokked.index]),
            spread(100 * grokked["decline"].dropna(), ".0f", " %"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def groups(rows: pd.DataFrame, measured: pd.DataFrame) -> str:
    """Write a line for each family and epsilon: accuracy at the end, overall and in the group, then compressed.

    Args:
        rows: as `analysis.load` gives them.
        measured: as `analysis.complexity` gives it.
    """
    columns = ("val_accuracy", "group_val_accuracy")
    ends = rows.groupby("trial_id", observed=True).tail(1)[["trial_id", "step", "task_family", *columns]]
    joined = measured.merge(ends, on=["trial_id", "step"], suffixes=("", "_before"))
    lines = [
        "| family | epsilon | bytes | all: network | compressed | change | group: network | compressed | change |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (family, epsilon), of in joined.groupby(["task_family", "epsilon"], observed=True):
        cells = [f"{family}", f"{epsilon:g}", f"{of['complexity_bytes'].mean():,.0f}"]
        for column in columns:
            before, after = of[f"{column}_before"].mean(), of[column].mean()
            cells += [f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """Return title -> table, as they are in docs/tasks.md."""
    studies = {study: analysis.load(DATA / study) for study in PICTURED}
    kinds = {"summary": summary(studies), **{study: rise_and_fall(rows) for study, rows in studies.items()}}
    kinds["groups"] = groups(studies["sensitive-groups"], analysis.complexity(DATA / "sensitive-groups"))
    return kinds


def draw() -> None:
    for study, shown in PICTURED.items():
        rows = analysis.load(DATA / study)
        for name, value in shown.items():
            rows = rows[rows[name] == value]
        (DOCS / "images" / f"tasks-{study}.png").write_bytes(png(analysis.settings_figure(rows)))


if __name__ == "__main__":
    page_main(__doc__, DOCS / "tasks.md", DATA, ("rows", "complexity", "trials"), tables, draw, several=True)
