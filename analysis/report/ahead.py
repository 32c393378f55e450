"""The forecasts in a report: which trials may yet grok, when, and what waiting costs."""

from __future__ import annotations

import math

import pandas as pd

from analysis.maps import varying_settings
from analysis.report.parts import Table
from analysis.stopping.forecast import MISSED
from analysis.stopping.outlook import outlook
from analysis.words import counted, settings_text

#: Number of trials listed; `analysis.forecasts` has all.
TRIALS_SHOWN = 20

_STATES = {"unfinished": "running or interrupted", "parked": "parked", "stopped": "stopped by the rule"}


def ahead(forecasts: pd.DataFrame) -> Table:
    """List the trials that may yet grok, those first of which half will have grokked soonest.

    Args:
        forecasts: a frame from `analysis.forecasts`.
    """
    if forecasts.empty:
        return Table(note="No trial runs, waits or was stopped before its grok, so there is nothing to forecast.")
    with_chance = forecasts[forecasts["chance"].notna()]
    shown = with_chance.sort_values(
        ["half_step", "chance", "trial_id"], ascending=[True, False, True], kind="stable"
    ).head(TRIALS_SHOWN)
    settings = [*(name for name in varying_settings(forecasts) if name != "phase"), "seed"]
    settings = [name for name in settings if name in forecasts.columns]
    priced = bool(forecasts["further_cost"].notna().any())
    heads = ["trial", "setting", "state", "step now", "not before", "by, if it groks", "chance", "half have by"]
    heads += ["steps until then", "lane-seconds", *(["cost"] if priced else [])]
    rows = [
        [
            str(row["trial_id"]),
            settings_text(settings, row),
            _STATES[row["state"]],
            *(_step(row[name]) for name in ("last_step", "earliest_step", "latest_step")),
            f"{row['chance']:.0%}",
            *(_step(row[name]) for name in ("half_step", "further_steps", "further_s")),
            *([_number(row["further_cost"], ",.2f")] if priced else []),
        ]
        for row in shown.to_dict("records")
    ]
    notes = [text for text in (outlook(forecasts).sentence, _stopped(forecasts)) if text]
    if len(with_chance) > len(rows):
        notes.append(f"Showing {len(rows):,} of {len(with_chance):,} trials; analysis.forecasts has all.")
    notes.append(
        "A trial is compared with trials that were as old without a grok, in multiples of their memorisation step. "
        f"Of 10 that grok about {10 * MISSED:.0f} comes before the first of these steps, and as many after the "
        "second, which is stated only where at least half grok within their budget. "
        "For a trial that the parking rule has given up the chance is the rule's, which knows that it has stalled; "
        "for others that were stopped it is that of recorded trials as old, stalled or not, and so rather too high."
    )
    return Table(heads, rows, frozenset(range(3, len(heads))), " ".join(notes))


def _stopped(forecasts: pd.DataFrame) -> str:
    stopped = int(forecasts["state"].eq("stopped").sum())
    if not stopped:
        return ""
    return f"{counted(stopped, 'trial')} {'was' if stopped == 1 else 'were'} stopped by the rule before a grok."


def _step(value: float) -> str:
    return _number(value, ",.0f")


def _number(value: float, form: str) -> str:
    return "–" if math.isnan(value) else format(value, form)
