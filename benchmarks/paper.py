"""The tables and pictures of docs/paper.md, computed from the results in docs/data/paper.

    python benchmarks/paper.py                       print the tables
    python benchmarks/paper.py --draw --write        draw the pictures, and put the tables into the page
    python benchmarks/paper.py --pack RESULTS NAME   put what is needed of RESULTS into docs/data/paper/NAME

A test compares the page with the tables.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from studies import page_main, spread

import analysis
from analysis.pictures import png

DOCS = Path(__file__).parents[1] / "docs"
DATA = DOCS / "data" / "paper"

OPERATIONS = ("addition", "division")
REGIMES = {
    (0.0, 0.0): "no regularisation",
    (1.0, 0.0): "weight decay",
    (1.0, 0.1): "weight decay, penalty, noise",
}
"""(weight decay, spectral-entropy weight) -> name."""

STEPS = (256, 512, 1024, 2048, 4000)
"""The steps at which the penalty is judged."""

WORDS = {
    "complexity_bytes": "complexity",
    "zstd_bytes": "zstd of the raw weights",
    "l2_norm": "L2 norm",
    "effective_rank": "effective rank",
    "spectral_entropy": "spectral entropy",
    "val_accuracy": "validation accuracy itself",
}
QUESTIONS = ("within", "across", "early")


def rise_and_fall(rows: pd.DataFrame) -> str:
    """Write a line for each operation and regime: steps, bytes and decline, as median and range over the seeds."""
    events = analysis.events(rows).set_index("trial_id")
    last = rows.groupby("trial_id", observed=True).tail(1).set_index("trial_id")
    measured = rows[rows["complexity_bytes"].notna()].groupby("trial_id", observed=True).tail(1)
    events["final_bytes"] = measured.set_index("trial_id")["complexity_bytes"]
    events["final_accuracy"] = last["val_accuracy"]
    lines = [
        "| operation | regime | memorised at | grokked | at | peak, kB | at the end, kB | decline | "
        "val accuracy at the end | followed to |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for operation in OPERATIONS:
        for (decay, penalty), regime in REGIMES.items():
            of = events[
                (events["task_family"] == operation)
                & (events["weight_decay"] == decay)
                & (events["spectral_entropy_weight"] == penalty)
            ]
            if of.empty:
                continue
            grokked = of["grok_step"].dropna()
            cells = [
                spread(of["memorisation_step"].dropna()),
                f"{len(grokked)}/{len(of)}",
                spread(grokked),
                spread(of["complexity_peak_bytes"] / 1000, ".1f"),
                spread(of["final_bytes"] / 1000, ".1f"),
                spread(100 * of["decline"], ".0f", " %"),
                spread(of["final_accuracy"], ".2f"),
                spread(of["last_step"]),
            ]
            lines.append(f"| {operation} | {regime} | {' | '.join(cells)} |")
    return "\n".join(lines)


def with_and_without(rows: pd.DataFrame) -> str:
    """Write validation accuracy with the penalty minus that without, at equal steps."""
    lines = [
        "| data fraction | weight decay | step | pairs | without | with | difference (95 %) | without better | "
        "with better |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    settings = rows.groupby(["data_fraction", "weight_decay"], observed=True)
    every = {(f"{fraction:g}", f"{decay:g}"): of for (fraction, decay), of in settings}
    for (fraction, decay), of in {("all", "all"): rows, **every}.items():
        for row in analysis.paired_accuracy(of, "spectral_entropy_weight", (0.0, 0.1), STEPS).itertuples():
            lines.append(
                f"| {fraction} | {decay} | {row.step:,} | {row.pairs} | {row.first:.3f} | {row.second:.3f} | "
                f"{row.difference:+.3f} ({row.low:+.3f} to {row.high:+.3f}) | {row.first_better} | "
                f"{row.second_better} |"
            )
    return "\n".join(lines)


def told_by(rows: pd.DataFrame) -> str:
    """Write how well each number tells validation accuracy."""
    table = analysis.predictors(rows, columns=tuple(WORDS)).set_index(["predictor", "question"])
    counts = table["trials"].xs("complexity_bytes")
    lines = [
        "| | " + " | ".join(f"{question} ({counts[question]} trials)" for question in QUESTIONS) + " |",
        "|---|---:|---:|---:|",
    ]
    for name, words in WORDS.items():
        cells = []
        for question in QUESTIONS:
            row = table.loc[(name, question)]
            known = name != "val_accuracy" or question == "early"
            text = f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})" if row["trials"] > 1 else "–"
            cells.append(text if known else "")
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """Return title -> table, as they are in docs/paper.md."""
    operations, penalty = analysis.load(DATA / "operations"), analysis.load(DATA / "penalty")
    kinds = {"rise and fall": rise_and_fall(operations), "penalty": with_and_without(penalty)}
    kinds["predictors: small networks"] = told_by(penalty)
    kinds["predictors: addition"] = told_by(operations[operations["task_family"] == "addition"])
    return kinds


def draw() -> None:
    rows = analysis.load(DATA / "operations")
    for operation in OPERATIONS:
        of = rows[rows["task_family"] == operation]
        (DOCS / "images" / f"paper-{operation}.png").write_bytes(png(analysis.settings_figure(of)))


if __name__ == "__main__":
    page_main(__doc__, DOCS / "paper.md", DATA, ("rows", "complexity", "trials"), tables, draw, several=True)
