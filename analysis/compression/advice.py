"""What the record of compressions changes in the advice on a sweep's trials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

COMPRESS_LESS = "compress less"
"""The action for a network whose behaviour changes too much at the bound that was tried."""


def after_compression(advice: pd.DataFrame, record: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the advice of `analysis.decide` with `compress less` where compression has changed behaviour too much.

    Args:
        advice: from `analysis.decide`, with its columns `trial_id`, `action`, `reason` and `network_step`.
        record: entries of `analysis.compression.record`; one counts if it is of the network that is meant.

    Returns:
        A new frame; the action of the trials concerned is `compress less`, and their reason says what changed and
        at which epsilon it would not. Without such trials the categories of `action` are as before.
    """
    tried = {(str(entry["trial_id"]), int(entry["step"])): entry for entry in record if entry["exceeded"]}
    meant = advice["action"].eq("compress") & advice["network_step"].notna()
    changes = {
        index: tried[key]
        for index, trial_id, step in advice.loc[meant, ["trial_id", "network_step"]].itertuples()
        if (key := (str(trial_id), int(step))) in tried
    }
    if not changes:
        return advice
    changed = advice.copy()
    changed["action"] = changed["action"].cat.add_categories([COMPRESS_LESS])
    changed.loc[list(changes), "action"] = COMPRESS_LESS
    for index, entry in changes.items():
        changed.loc[index, "reason"] = f"{changed.loc[index, 'reason']} {less(entry)}"
    return changed


def less(entry: Mapping[str, Any]) -> str:
    """Say what changes in a network at the bound that was tried, and which bound to take instead."""
    changes = f"At {bound_words(entry)} {'; '.join(entry['exceeded'])}"
    if (passing := entry["passing"]) is None:
        return (
            f"{changes}. No smaller epsilon that was tried stays within the limits: keep the weights as they are."
        )
    how = f"{bound_words(passing)} stays within the limits, with {passing['stream_bytes']:,} bytes"
    return f"{changes}. Compress less: {how}."


def bound_words(entry: Mapping[str, Any]) -> str:
    """Write a bound: `epsilon 1`, or `epsilon 0.1 with --bound answers` where it is not on the loss."""
    return f"epsilon {entry['epsilon']:g}{' with --bound answers' if entry['bound'] == 'answers' else ''}"
