"""The fates of trials, in words; and the trials that show what can happen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.maps import varying_settings
from analysis.words import ENDINGS, setting_text


def representative_trials(events: pd.DataFrame) -> list[str]:
    """Choose up to four trials that show what can happen: grokked, memorised only, never learned, stopped.

    The grokked trial is the one with the median delay (neither the fastest nor the slowest) of those that kept
    their grok, if any did; the trial that memorised only or never learned is the longest of its kind, and the
    stopped one has the median length. Kinds that do not occur are left out; if none does (a sweep that has just
    begun), the longest trial is taken. A trial with drift counts by the fate of its last phase.

    Args:
        events: one row per trial, or phase, from `analysis.events`.
    """
    events = events.drop_duplicates("trial_id", keep="last")
    by_length = events.sort_values(["last_step", "trial_id"], ascending=[False, True])
    memorised = by_length["memorisation_step"].notna()
    grokked = by_length["grok_step"].notna()
    stopped = by_length["ended_because"].eq("stopped")
    diverged = by_length["ended_because"].eq("diverged")
    over = by_length["ended_because"].eq("budget") | diverged
    kept = grokked & ~by_length["grok_lost"].astype(bool) if "grok_lost" in by_length.columns else grokked
    delays = by_length[kept if kept.any() else grokked].assign(
        delay=lambda frame: frame["grok_step"] - frame["memorisation_step"]
    )
    chosen = [
        _median_trial(delays, "delay"),
        _first(by_length[memorised & ~grokked & over]),
        _first(by_length[~memorised & ~grokked & over & ~diverged]) or _first(by_length[~memorised & stopped]),
        _median_trial(by_length[memorised & stopped], "last_step"),
    ]
    return [trial for trial in chosen if trial is not None] or list(by_length["trial_id"].astype(str).head(1))


def _first(frame: pd.DataFrame) -> str | None:
    return None if frame.empty else str(frame["trial_id"].iloc[0])


def _median_trial(frame: pd.DataFrame, column: str) -> str | None:
    ordered = frame.sort_values([column, "trial_id"])
    return None if ordered.empty else str(ordered["trial_id"].iloc[(len(ordered) - 1) // 2])


#: The fates of a trial, in the order in which they are shown.
FATES = (
    "grokked",
    "memorised only",
    "memorised, then stopped",
    "never learned",
    "not learned, then stopped",
    *(ENDINGS[name] for name in ("diverged", "failed", "unfinished")),
)


def fates(phases: pd.DataFrame) -> tuple[str, ...]:
    """Return the fate in each row of events, one of `FATES`: of trials, or of a trial's phases."""
    because = phases["ended_because"].astype("object").fillna("unfinished").to_numpy()
    grokked, memorised = (phases[name].notna().to_numpy() for name in ("grok_step", "memorisation_step"))
    stopped = because == "stopped"
    others = {name: ENDINGS[name] for name in ("diverged", "failed", "unfinished")}
    chosen = np.select(
        [grokked, *(because == name for name in others), memorised & stopped, stopped, memorised],
        ["grokked", *others.values(), "memorised, then stopped", "not learned, then stopped", "memorised only"],
        "never learned",
    )
    return tuple(chosen.tolist())


def kept_words(events: pd.DataFrame) -> str:
    """Say how many trials that grokked kept it, and how the others ended; empty if all kept it.

    `9 of them kept it to their last evaluation, the other 5 ended at a validation accuracy of 0.45 to 0.98`

    Args:
        events: one row per trial, from `analysis.events`, with `grok_lost`.
    """
    lost = events[events["grok_lost"].astype(bool)]
    if lost.empty:
        return ""
    kept = int(events["grok_step"].notna().sum()) - len(lost)
    ends = [f"{value:.3g}" for value in (lost["final_val_accuracy"].min(), lost["final_val_accuracy"].max())]
    at = ends[0] if ends[0] == ends[1] else " to ".join(ends)
    others = f"the other {len(lost)}" if kept else "they"
    if len(lost) == 1:
        others = "the other" if kept else "it"
    whose = "of them " if kept + len(lost) > 1 else ""
    return (
        f"{kept or 'none'} {whose}kept it to the last evaluation, {others} ended at a validation accuracy of {at}"
    )


def fates_title(names: Sequence[str]) -> str:
    """Write `Grokked`; with several phases, a line for each."""
    return ",\nthen ".join(names).capitalize()


def trial_subtitle(phases: pd.DataFrame, settings: Sequence[str], width: int = 36) -> str:
    """Write a trial's settings, and on a separate line for each phase the steps of its events.

    Args:
        phases: the trial's rows from `analysis.events`, one for each phase.
        settings: columns to name.
        width: approximate number of characters in a line.
    """
    lines = setting_lines(phases.iloc[-1], settings, width)
    for row in phases.to_dict("records"):
        happened = [
            f"{verb} {row[name]:,.0f}"
            for name, verb in (("memorisation_step", "memorised at"), ("grok_step", "grokked at"))
            if pd.notna(row[name])
        ]
        if row.get("grok_lost"):
            happened.append(f"at {row['final_val_accuracy']:.3g} in the end")
        if row["ended_because"] == "stopped":
            happened.append(f"stopped at {row['last_step']:,.0f}")
        lines.append(", ".join(happened) or f"followed to step {row['last_step']:,.0f}")
    return "\n".join(lines)


def settings_of_trials(events: pd.DataFrame) -> list[str]:
    """Return the settings that distinguish whole trials."""
    return [name for name in varying_settings(events) if name != "phase"]


def setting_lines(row: pd.Series[Any], settings: Sequence[str], width: int = 36) -> list[str]:
    """Name settings and their values, as many on a line as fit into roughly `width` characters."""
    lines: list[str] = []
    for part in [setting_text(name, row[name]) for name in settings if name in row.index]:
        if lines and len(lines[-1]) + len(part) + 2 <= width:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return lines
