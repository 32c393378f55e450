"""The tables and the picture of docs/stopping.md, computed from recorded sweeps.

    python benchmarks/stopping.py                     print the tables (minutes)
    python benchmarks/stopping.py --draw --write      draw the picture, and put the tables into the page
    python benchmarks/stopping.py --pack RESULTS data/development    keep what is needed of a recording in docs/

The rule was chosen on docs/data; docs/held_out was recorded to test it. Tests compare the page with the tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
from studies import page_main

from analysis.pictures import svg
from analysis.replay.forecasts import forecasts_frame
from analysis.replay.picture import saved_against_lost
from analysis.replay.recordings import Recordings, recordings
from analysis.replay.rules import NamedRule, named_rule
from analysis.replay.table import Replay, lines_frame, replay, signals_frame
from analysis.stopping.calibration import Calibration
from analysis.stopping.ledger import SIGNALS
from sweep.cli.calibrate import levels
from sweep.cli.replay import DEFAULT_RULES
from sweep.on_ray.rivals import RIVALS

DOCS = Path(__file__).parents[1] / "docs"
CHOSEN_ON = DOCS / "data"
HELD_OUT = DOCS / "held_out"


def rules_table(done: Replay) -> str:
    """Write what each rule saved and lost."""
    lines = [
        "| rule | level | saved | of the oracle | of the hard oracle | makespan | grokkers lost | 95 % interval | "
        "patience |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in lines_frame(done.lines).to_dict("records"):
        cells = [
            f"`{row['rule']}`",
            or_empty(row["alpha"], "{:g}"),
            f"{row['saved']:.1%}",
            f"{row['of_oracle']:.0%}",
            f"{row['of_hard_oracle']:.0%}",
            f"{row['makespan_saved']:.1%}",
            f"{row['lost']} of {row['grokkers']}",
            f"{row['lost_low']:.1%} to {row['lost_high']:.1%}",
            or_empty(row["patience"], "{:g}"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def levels_table() -> str:
    """Write the shipped patience for each level and signal."""
    rows = [
        [f"{row['alpha']:g}", *("-" if row[one] is None else f"{row[one]:g}" for one in SIGNALS)]
        for row in levels(Calibration.load(), None)
    ]
    return "\n".join(
        ["| level | loss and complexity | loss | complexity |", "|---|---|---|---|"]
        + [f"| {' | '.join(row)} |" for row in rows]
    )


def forecasts_table(recorded: Recordings) -> str:
    """Write how often forecasts held."""
    shares = (
        "grokked",
        "chance",
        "earliest_held",
        "latest_stated",
        "latest_held",
        "half_stated",
        "grokked_by_half",
    )
    lines = [
        "| from | budget gone | trials | grokked | chance stated | earliest end held | latest end stated | held | "
        "half stated | grokked by then |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in forecasts_frame(recorded).to_dict("records"):
        cells = [row["from"], f"{row['share']:.0%}", f"{row['trials']}"]
        cells += ["-" if math.isnan(row[name]) else f"{row[name]:.0%}" for name in shares]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def signals_table(recorded: Recordings) -> str:
    """Write how well single numbers tell who groks."""
    lines = [
        "| signal | all failures, 5 % | 10 % | 20 % | hard failures, 5 % | 10 % | 20 % |",
        "|---|---|---|---|---|---|---|",
    ]
    frame = signals_frame(recorded)
    for row in frame.itertuples(index=False):
        cells = ["-" if math.isnan(value) else f"{value:.2f}" for value in row[1:]]
        lines.append(f"| {' | '.join([str(row[0]), *cells])} |")
    return "\n".join(lines)


def or_empty(value: float | None, form: str) -> str:
    return "" if value is None or pd.isna(value) else form.format(value)


def rules(alphas: tuple[float, ...]) -> list[NamedRule]:
    """Return the rules of the tables; those that are calibrated have the shipped patience, if levels are given."""
    named = [named_rule(text, RIVALS) for text in DEFAULT_RULES]
    if not alphas:
        return named
    fixed = [f"park(patience={Calibration.load().patience(alpha):g})" for alpha in alphas]
    return [one for one in named if one.family is None] + [named_rule(text) for text in fixed]


def tables() -> Mapping[str, str]:
    chosen_on, held_out = recordings([CHOSEN_ON]), recordings([HELD_OUT])
    written: dict[str, Callable[[], str]] = {
        "rules": lambda: rules_table(replay(chosen_on, rules(()))),
        "held out": lambda: rules_table(replay(held_out, rules((0.01, 0.05)))),
        "levels": levels_table,
        "forecasts": lambda: forecasts_table(chosen_on),
        "forecasts held out": lambda: forecasts_table(held_out),
        "signals": lambda: signals_table(chosen_on),
        "signals held out": lambda: signals_table(held_out),
    }
    return {title: write() for title, write in written.items()}


def draw() -> None:
    figure = saved_against_lost(replay(recordings([CHOSEN_ON]), rules(())).lines)
    (DOCS / "images" / "stopping.svg").write_text(svg(figure), encoding="utf-8")


if __name__ == "__main__":
    kept = ("rows", "trials")
    page_main(__doc__, DOCS / "stopping.md", DOCS, kept, tables, draw, several=True)
