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


def forecasts_table(recorded: Recordings, sweep: str | None = None) -> str:
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
    for row in forecasts_frame(recorded, sweep).to_dict("records"):
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


PATIENCES_WRITTEN_DOWN = {0.01: 0.48, 0.025: 0.26, 0.05: 0.2, 0.1: 0.16}
"""Level -> patience of `park`, calibrated on docs/data before docs/held_out was looked at."""


def rules() -> list[NamedRule]:
    """Return the rules of the first table, some of which are calibrated on all sweeps but one."""
    return [named_rule(text, RIVALS) for text in DEFAULT_RULES]


def written_down() -> list[NamedRule]:
    """Return the rules of the table of the held-out sweep, with their numbers."""
    fixed = [f"park(patience={patience:g})" for patience in PATIENCES_WRITTEN_DOWN.values()]
    return [*(named_rule(text) for text in fixed), *(one for one in rules() if one.family is None)]


def tables() -> Mapping[str, str]:
    chosen_on, held_out = recordings([CHOSEN_ON]), recordings([HELD_OUT])
    written: dict[str, Callable[[], str]] = {
        "rules": lambda: rules_table(replay(chosen_on, rules())),
        "held out": lambda: rules_table(replay(held_out, written_down())),
        "levels": levels_table,
        "forecasts": lambda: forecasts_table(chosen_on),
        "forecasts held out": lambda: forecasts_table(recordings([CHOSEN_ON, HELD_OUT]), str(HELD_OUT)),
        "signals": lambda: signals_table(chosen_on),
        "signals held out": lambda: signals_table(held_out),
    }
    return {title: write() for title, write in written.items()}


def draw() -> None:
    figure = saved_against_lost(replay(recordings([CHOSEN_ON]), rules()).lines)
    (DOCS / "images" / "stopping.svg").write_text(svg(figure), encoding="utf-8")


if __name__ == "__main__":
    kept = ("rows", "trials")
    page_main(__doc__, DOCS / "stopping.md", DOCS, kept, tables, draw, several=True)
