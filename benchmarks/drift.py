"""The tables and the picture of docs/drift.md, computed from the results in docs/data/drift.

    python benchmarks/drift.py                   print the tables
    python benchmarks/drift.py --draw --write    draw the picture, and put the tables into the page
    python benchmarks/drift.py --pack RESULTS    put what is needed of RESULTS into docs/data/drift

A test compares the page with the tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from studies import page_main, spread

import analysis
from analysis.pictures import png

DOCS = Path(__file__).parents[1] / "docs"
DATA = DOCS / "data" / "drift"

ARMS = {
    "4000: {split: 1}": "another split",
    "4000: {family: subtraction}": "another operation",
    "4000: {shift: 0.5}": "shifted inputs",
}
"""Drift -> its name in the tables."""


def arms(frame: pd.DataFrame) -> Iterator[tuple[list[str], pd.DataFrame]]:
    """Yield the exchanges and weight decays in the order of the tables, each with its part; control last."""
    for drift, name in ARMS.items():
        for weight_decay in (0, 1):
            own = frame[(frame["drift"] == drift) & (frame["weight_decay"] == weight_decay)]
            yield [name, str(weight_decay)], own
    control = frame[frame["drift"] == ""]
    if len(control):
        yield ["none, subtraction from the start", "1"], control


def exchange(rows: pd.DataFrame) -> str:
    """Write accuracies around the exchange: at its step, one step later on the new training set, and afterwards."""
    lines = [
        "| exchange | weight decay | val accuracy before | after one step: train | val | lowest val later | "
        "val at the end |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for names, own in arms(rows[rows["drift"] != ""]):
        before, after = (own[own["phase"] == phase].groupby("trial_id", observed=True) for phase in (0, 1))
        cells = [
            spread(before["val_accuracy"].last(), ".2f"),
            spread(after["train_accuracy"].first(), ".2f"),
            spread(after["val_accuracy"].first(), ".2f"),
            spread(after["val_accuracy"].min(), ".2f"),
            spread(after["val_accuracy"].last(), ".2f"),
        ]
        lines.append(f"| {' | '.join([*names, *cells])} |")
    return "\n".join(lines)


def complexity(rows: pd.DataFrame) -> str:
    """Write complexity in both phases: peak and end of the first, right after the exchange, then peak and end."""
    lines = [
        "| exchange | weight decay | peak before, bytes | at the exchange | after one step | peak after | "
        "at the end | fall after the peak |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for names, own in arms(rows[rows["complexity_bytes"].notna()]):
        before, after = (
            own[own["phase"] == phase].groupby("trial_id", observed=True)["complexity_bytes"] for phase in (0, 1)
        )
        cells = [
            *(spread(values) for values in (before.max(), before.last(), after.first(), after.max(), after.last())),
            spread(100 * (1 - after.last() / after.max()), ".0f", " %"),
        ]
        lines.append(f"| {' | '.join([*names, *cells])} |")
    return "\n".join(lines)


def times(rows: pd.DataFrame) -> str:
    """Write steps to memorise and to grok, counted from the beginning of each phase."""
    lines = [
        "| exchange | weight decay | memorised before | at | memorised after | at | grokked before | at | "
        "grokked after | at | followed for |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for names, own in arms(analysis.events(rows)):
        cells = []
        for event in ("memorisation_step", "grok_step"):
            for phase in (0, 1):
                of = own[own["phase"] == phase]
                steps = (of[event] - of["phase_start_step"]).dropna()
                cells += [f"{len(steps)}/{len(of)}" if len(of) else "–", spread(steps)]
        followed = own[own["phase"] == 1]
        cells.append(spread(followed["last_step"] - followed["phase_start_step"]))
        lines.append(f"| {' | '.join([*names, *cells])} |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """Return title -> table, as they are in docs/drift.md."""
    rows = analysis.load(DATA)
    return {"exchange": exchange(rows), "complexity": complexity(rows), "times": times(rows)}


def draw() -> None:
    rows = analysis.load(DATA)
    (DOCS / "images" / "drift.png").write_bytes(png(analysis.settings_figure(rows[rows["drift"] != ""])))


if __name__ == "__main__":
    page_main(__doc__, DOCS / "drift.md", DATA, ("rows", "complexity", "trials"), tables, draw, several=False)
