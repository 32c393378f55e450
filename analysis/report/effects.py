"""The report's table of what each setting does to the time to grok and to the chance of it."""

from __future__ import annotations

import math

import pandas as pd

from analysis.maps import varying_settings
from analysis.report.parts import Table
from analysis.survival.effects import effects
from analysis.words import setting_name, value_text

MOST_CELLS = 300
"""With more settings the model takes seconds; `analysis.effects` fits it all the same."""

_HEADS = ("setting", "value", "against", "time ratio", "95 % interval", "odds ratio", "95 % interval")
_UNBOUNDED = 1e4
"""A ratio beyond this, or below its inverse, is none that can be told: all grok, or none."""


def effects_table(events: pd.DataFrame, audits: pd.DataFrame) -> Table:
    """List what a change of each setting does, all others alike.

    Args:
        events: one row per trial, from `analysis.events`.
        audits: from `analysis.audits`.
    """
    settings = [name for name in varying_settings(events) if name in events.columns]
    cells = len(events[settings].drop_duplicates()) if settings else 1
    if not settings or events["grok_step"].notna().sum() < 2:
        return Table(note="What settings do is told once two trials have grokked and a setting varies.")
    if cells > MOST_CELLS:
        return Table(note=f"A model of {cells:,} settings takes long; analysis.effects(events, audits) fits it.")
    frame = effects(events, audits)
    rows = [
        [
            setting_name(row["setting"]),
            value_text(row["level"]),
            value_text(row["reference"]),
            *_ratio(row["time_ratio"], row["time_ratio_low"], row["time_ratio_high"]),
            *_ratio(row["odds_ratio"], row["odds_ratio_low"], row["odds_ratio_high"]),
        ]
        for row in frame.to_dict("records")
    ]
    note = (
        "By a cure model of the whole sweep (Farewell 1982): some networks never grok, and the logarithm of the "
        "others' time follows one law. A time ratio of 0.5 means that networks grok in half the steps, an odds "
        "ratio of 2 twice the odds of ever grokking. An interval with 1 in it leaves open which way a setting "
        "works; 0 and ∞ are ends that the trials do not tell, as where all or none grok."
    )
    return Table(_HEADS, rows, frozenset(range(1, len(_HEADS))), note)


def _ratio(value: float, low: float, high: float) -> tuple[str, str]:
    return _number(value), f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    if value > _UNBOUNDED:
        return "∞"
    return "0" if value < 1 / _UNBOUNDED else f"{value:.2g}" if value < 100 else f"{value:,.0f}"
