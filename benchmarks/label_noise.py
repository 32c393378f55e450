"""The table and the picture of docs/label_noise.md, computed from the results in docs/data/noise.

    python benchmarks/label_noise.py                   print the table
    python benchmarks/label_noise.py --draw --write    draw the picture, and put the table into the page
    python benchmarks/label_noise.py --pack RESULTS    put what is needed of RESULTS into docs/data/noise

A test compares the page with the table.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from studies import page_main, spread

import analysis
from analysis.pictures import palette, png

DOCS = Path(__file__).parents[1] / "docs"
DATA = DOCS / "data" / "noise"

DRAWN_NOISE = 0.1
"""The share of wrong labels whose curves are drawn."""


def at_the_end(rows: pd.DataFrame) -> str:
    """Write a line for each share of wrong labels and weight decay, as median and range over seeds."""
    last = rows.groupby("trial_id", observed=True).tail(1).set_index("trial_id")
    measured = rows[rows["complexity_bytes"].notna()].groupby("trial_id", observed=True).tail(1)
    last["final_bytes"] = measured.set_index("trial_id")["complexity_bytes"]
    last["grokked"] = analysis.events(rows).set_index("trial_id")["grok_step"].notna()
    lines = [
        "| wrong labels | weight decay | right labels learnt | wrong labels memorised | answered rightly instead | "
        "validation accuracy | grokked | complexity at the end, bytes |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (noise, decay), of in last.groupby(["label_noise", "weight_decay"], observed=True):
        names = ("clean_train_accuracy", "corrupted_train_accuracy", "recovered_train_accuracy", "val_accuracy")
        shares = [spread(of[name].dropna(), ".2f") for name in names]
        cells = [*shares, f"{int(of['grokked'].sum())}/{len(of)}", spread(of["final_bytes"])]
        lines.append(f"| {100 * noise:g} % | {decay:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """Return title -> table, as they are in docs/label_noise.md."""
    return {"at the end": at_the_end(analysis.load(DATA))}


def draw() -> bytes:
    """Plot shares and bytes against steps at one share of wrong labels, a column for each weight decay."""
    rows = analysis.load(DATA)
    rows = rows[rows["label_noise"] == DRAWN_NOISE]
    decays = sorted(rows["weight_decay"].unique())
    shares = {
        "val_accuracy": ("validation", palette.VALIDATION, "-"),
        "corrupted_train_accuracy": ("wrong labels memorised", palette.STOP, "--"),
        "recovered_train_accuracy": ("wrong labels, answered rightly", palette.TRAIN, ":"),
    }
    with palette.style():
        figure = palette.new_figure(2.3 * len(decays), 3.6)
        panels = figure.subplots(2, len(decays), sharex=True, sharey="row", squeeze=False)
        for (above, below), decay in zip(panels.T, decays, strict=True):
            for _, trial in rows[rows["weight_decay"] == decay].groupby("trial_id", observed=True):
                trial = trial[trial["step"] > 0]
                for name, (label, colour, line) in shares.items():
                    above.plot(trial["step"], trial[name], line, color=colour, label=label, linewidth=1.1)
                sizes = trial[trial["complexity_bytes"].notna()]
                below.plot(sizes["step"], sizes["complexity_bytes"], color=palette.COMPLEXITY, linewidth=1.1)
            above.set_title(f"weight decay {decay:g}")
            below.set_xscale("log")
            below.set_xlabel("step")
        panels[0, 0].set_ylabel("share")
        panels[1, 0].set_ylabel("complexity, bytes")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles[: len(shares)], labels[: len(shares)], loc="lower center", ncols=len(shares))
        figure.subplots_adjust(left=0.09, right=0.985, top=0.92, bottom=0.2, hspace=0.12, wspace=0.1)
        return png(figure)


def save_picture() -> None:
    (DOCS / "images" / "label-noise.png").write_bytes(draw())


if __name__ == "__main__":
    page_main(__doc__, DOCS / "label_noise.md", DATA, ("rows", "trials"), tables, save_picture, several=False)
