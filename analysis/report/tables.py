"""The tables of a report, and the numbers in its definitions."""

from __future__ import annotations

from math import isnan
from typing import Any

import pandas as pd

from analysis.bounds import DELTA
from analysis.cells import Axes, cell
from analysis.events import DECLINE_SUSTAINED, TAIL_MEASUREMENTS, TAIL_RATIO, Thresholds
from analysis.maps import ordered, varying_settings
from analysis.regimes import REGIMES, RegimeThresholds
from analysis.report.parts import NO_ROWS, Table
from analysis.report.summary import compute
from analysis.schema import SETTINGS
from analysis.words import ENDINGS, counted, setting_name, settings_text, value_text

#: Number of rows of a table in the report; all rows are in the files beside it, and the table says so.
ROWS_SHOWN = 100

#: Number of failed trials listed by name.
FAILURES_SHOWN = 20


def overview(planned: pd.DataFrame, events: pd.DataFrame, phases: pd.DataFrame) -> Table:
    """Count trials by ending and by regime."""
    stands = planned.assign(trial_id=planned["trial_id"].astype("str"))[["trial_id", "status"]]
    phases = phases.assign(trial_id=phases["trial_id"].astype("str"))
    rows: list[list[str]] = []
    parts = _training_phases(phases)
    for where, own in parts:
        both = stands.merge(own[["trial_id", "phase"]], on="trial_id", how="left")
        by_ending = [(words, both[both["status"].eq(ending)]) for ending, words in ENDINGS.items()]
        rows += [[f"{words}{where}", *_by_phase(frame)] for words, frame in by_ending if len(frame)]
        rows.append([f"all{where}", *_by_phase(both)])
    heads = ["ending", *REGIMES, "not determined", "trials"]
    return Table(
        heads,
        rows,
        frozenset(range(1, len(heads))),
        f"{_reached(events)} The phases are defined below; not determined: not followed to the end.",
        total=len(parts) == 1,
    )


def _reached(events: pd.DataFrame) -> str:
    sentences = []
    for phase, own in events.groupby("phase") if len(events) else [(0, events)]:
        counts = [int(own[name].notna().sum()) for name in ("memorisation_step", "grok_step")]
        sentences.append(
            f"Of {counted(len(own), 'trial')} that reported{_on(phase, events['phase'])}, {counts[0]:,} reached "
            f"the memorisation step and {counts[1]:,} the grok step."
        )
    return " ".join(sentences)


def _on(phase: Any, phases: pd.Series[Any]) -> str:
    """Name the training set of a phase, if there is more than one."""
    return f" on training set {phase}" if phases.nunique() > 1 else ""


def _training_phases(phases: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the trials on each training set, and words that distinguish these."""
    if "training_phase" not in phases.columns:
        return [("", phases)]
    return [(_on(phase, phases["training_phase"]), own) for phase, own in phases.groupby("training_phase")]


def _by_phase(trials: pd.DataFrame) -> list[str]:
    counts = [int(trials["phase"].eq(name).sum()) for name in REGIMES]
    return [f"{count:,}" for count in (*counts, int(trials["phase"].isna().sum()), len(trials))]


def failures(planned: pd.DataFrame) -> Table:
    """List failed trials with their settings and reasons."""
    failed = planned[planned["status"].eq("failed")]
    settings = varying_settings(planned)
    rows = [
        [
            str(row["trial_id"]),
            settings_text([*settings, "seed"], row),
            "–" if pd.isna(row["last_step"]) else f"{row['last_step']:,.0f}",
            str(row["ended_reason"]),
        ]
        for row in failed.head(FAILURES_SHOWN).to_dict("records")
    ]
    note = f"Showing {len(rows)} of {len(failed):,}; analysis.status lists all." if len(failed) > len(rows) else ""
    return Table(["trial", "setting", "last step", "reason"], rows, frozenset({2}), note)


def cells(grid: pd.DataFrame) -> Table:
    """List the cells of a map."""
    if grid.empty:
        return Table(note=NO_ROWS)
    names = Axes.of(grid)
    settings = [*names.facets, names.y, names.x]
    rows = []
    for row in grid.head(ROWS_SHOWN).to_dict("records"):
        one = cell(row)
        rows.append(
            [
                *(value_text(row[name]) for name in settings),
                one.when,
                one.when_interval or "–",
                one.count,
                "–" if isnan(one.share) else f"{one.share:.0%}",
                "–" if isnan(one.share_low) else f"{one.share_low:.0%} to {one.share_high:.0%}",
                "yes" if one.late_or_never else "",
                one.settle,
                one.endings,
            ]
        )
    note = (
        "Shares and medians are estimates for networks like these, with 95 % intervals; audited trials of the "
        "whole sweep tell the fate of those that the rule stopped. Late or never: it cannot be told whether "
        "networks without a grok are late or never grok. All columns are in cells.csv."
    )
    if len(grid) > len(rows):
        note = f"Showing {len(rows):,} of {len(grid):,} cells; all are in cells.csv. {note}"
    return Table(
        [
            *(setting_name(name) for name in settings),
            *("median grok step", "its interval", "grokked", "share", "interval of the share"),
            *("late or never", "to settle it"),
            "trials",
        ],
        rows,
        frozenset(range(len(settings) + 5)),
        note,
    )


def spending(events: pd.DataFrame, rows: pd.DataFrame) -> Table:
    """Tell what was trained and measured, and what the stopping rule has saved."""
    if events.empty:
        return Table(note="No compute has been recorded yet.")
    spent = compute(events, rows)
    seconds = spent.train_s + spent.measure_s
    return Table(
        ["", "steps", "lane-seconds"],
        [
            ["training", f"{spent.steps_run:,}", f"{spent.train_s:,.0f}"],
            ["evaluating and measuring", "–", f"{spent.measure_s:,.0f}"],
            ["spent in all", f"{spent.steps_run:,}", f"{seconds:,.0f}"],
            [
                f"not run, {counted(spent.stopped, 'trial')} stopped by the rule",
                f"{spent.steps_saved:,}",
                f"{spent.seconds_saved:,.0f}",
            ],
            [
                "share not run",
                f"{spent.share_of_steps_saved:.0%}",
                f"{spent.seconds_saved / (spent.seconds_saved + seconds):.0%}" if seconds else "–",
            ],
        ],
        frozenset({1, 2}),
        "A lane-second is a trial's share of a second of its process. What was not run is an upper bound, because "
        "a trial that groks ends before its budget does; its seconds are at each stopped trial's own pace.",
    )


_FACTS = (
    ("budget_steps", "budget, steps"),
    ("epsilon", "epsilon, nats per example"),
    ("memorised_at", "memorised at, training accuracy"),
    ("grokked_at", "grokked at, validation accuracy"),
    ("complexity_method", "complexity method"),
    ("stop_rule", "stopping rule"),
    ("parameters", "weights in a network"),
    ("device", "device"),
    ("threads", "CPU threads of a process"),
    ("package_version", "grokking-sweep"),
    ("torch_version", "torch"),
    ("zstd_version", "zstd"),
)


def settings_table(planned: pd.DataFrame, ended: pd.DataFrame) -> Table:
    """List settings with their values and meanings."""
    meanings = {column.name: column.meaning for column in SETTINGS}
    rows = [
        [setting_name(name), _values(planned[name]), meaning]
        for name, meaning in meanings.items()
        if planned["cohort_id"].notna().any()
    ]
    rows += [[words, _values(ended[name]), ""] for name, words in _FACTS if len(ended)]
    note = "" if len(ended) else "Budgets, thresholds, methods and versions appear once a trial has ended."
    return Table(["setting", "values", "meaning"], rows, frozenset(), note)


def _values(column: pd.Series[Any], most: int = 12) -> str:
    values = ordered(column.astype("object") if column.dtype == "category" else column)
    shown = ", ".join(value_text(value) for value in values[:most])
    return shown if len(values) <= most else f"{shown} … ({len(values):,} values)"


def limits(ended: pd.DataFrame) -> dict[str, Any]:
    """Collect the numbers in the definitions of the template."""
    usual = Thresholds()
    return {
        "memorised_at": _values(ended["memorised_at"]) if len(ended) else f"{usual.memorised_at:g}",
        "grokked_at": _values(ended["grokked_at"]) if len(ended) else f"{usual.grokked_at:g}",
        "sustained": usual.sustained,
        "delta": f"{DELTA:g}",
        "decline_at": f"{usual.decline_at:g}",
        "decline_sustained": DECLINE_SUSTAINED,
        "tail_ratio": TAIL_RATIO,
        "tail_measurements": TAIL_MEASUREMENTS,
        "above": f"{RegimeThresholds().above:.0%}",
        "gap_steps": f"{RegimeThresholds().gap_steps:,}",
    }
