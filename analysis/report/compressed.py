"""The report's table of networks that were compressed and compared with themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.compression.advice import less
from analysis.report.parts import Table

NETWORKS_SHOWN = 100
"""Rows of the table; all networks are in the record beside the report."""

_HEADS = (
    "trial",
    "step",
    "epsilon",
    "bytes, float32",
    "zstd",
    "compressed",
    "accuracy",
    "worst class or group",
    "largest fall",
    "changed answers",
    "calibration error",
)


def compressed(record: Sequence[Mapping[str, Any]]) -> Table:
    """List the networks of a record; those whose behaviour changes beyond a limit are flagged, and come first."""
    if not record:
        return Table(note="No network has been compared with its compressed form yet; sweep behaviour does that.")
    ordered = sorted(record, key=lambda entry: not entry["exceeded"])[:NETWORKS_SHOWN]
    paid = next((entry["cost"]["currency"] for entry in record if entry["cost"]), None)
    heads = [*_HEADS, *([f"cost, {paid}"] if paid else []), "advice"]
    rows = [[*_numbers(entry), *([_cost(entry)] if paid else []), _advice(entry)] for entry in ordered]
    flagged = frozenset(place for place, entry in enumerate(ordered) if entry["exceeded"])
    note = (
        "Accuracies, the share of changed answers and the expected calibration error are on validation examples, "
        "original \u2192 decoded."
    )
    if paid:
        note += (
            " Cost is that of storage and transfer, as float32 \u2192 compressed, at the prices that were given."
        )
    if len(record) > len(rows):
        note = f"Showing {len(rows):,} of {len(record):,}; all are in behaviour.json. {note}"
    return Table(heads, rows, frozenset(range(1, len(heads) - 1)), note, flagged=flagged)


def _numbers(entry: Mapping[str, Any]) -> list[str]:
    seen = entry["behaviour"]
    return [
        str(entry["trial_id"]),
        f"{entry['step']:,}",
        f"{entry['epsilon']:g}{', on answers' if entry['bound'] == 'answers' else ''}",
        f"{entry['raw_bytes']:,}",
        f"{entry['zstd_bytes']:,}",
        f"{entry['file_bytes']:,}",
        _pair(seen["accuracy"]),
        f"{_pair(seen['worst_accuracy'])}, {seen['worst_part']}",
        f"{seen['largest_fall']:.3f}, {seen['largest_fall_part']}",
        f"{seen['changed']:.3f}",
        _pair(seen["calibration_error"]),
    ]


def _cost(entry: Mapping[str, Any]) -> str:
    if not entry["cost"]:
        return "\u2013"
    return " \u2192 ".join(f"{sum(entry['cost'][form].values()):.3g}" for form in ("raw", "file"))


def _advice(entry: Mapping[str, Any]) -> str:
    return less(entry) if entry["exceeded"] else "Compress."


def _pair(pair: Mapping[str, float]) -> str:
    return f"{pair['original']:.3f} \u2192 {pair['decoded']:.3f}"
