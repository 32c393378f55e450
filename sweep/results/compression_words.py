"""Entries of `sweep.results.compressions` as text for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.compression.advice import bound_words, less

_FORMS = {"raw": "float32", "zstd": "zstd", "file": "compressed"}
"""Forms of a network, and what people call them."""


def paragraphs(entry: Mapping[str, Any]) -> tuple[list[str], str | None]:
    """Write one network's entry: its lines, and what is wrong with its behaviour, None if nothing is."""
    seen = entry["behaviour"]
    described = entry["file_bytes"] - entry["stream_bytes"]
    lines = [
        f"trial {entry['trial_id']}, step {entry['step']:,}, {bound_words(entry)}",
        "bytes: "
        + ", ".join(f"{entry[f'{form}_bytes']:,} {word}" for form, word in _FORMS.items())
        + f" ({described:,} of them describe the network)",
    ]
    if cost := entry["cost"]:
        lines += [
            f"{what}, {cost['currency']}: " + ", ".join(f"{cost[f][what]:.3g} {word}" for f, word in _FORMS.items())
            for what in ("storage", "transfer")
        ]
    lines += behaviour_lines(seen)
    return lines, less(entry) if entry["exceeded"] else None


def behaviour_lines(seen: Mapping[str, Any]) -> list[str]:
    """Write what `trainables.networks.behaviour.Behaviour.as_dict` holds, but for its parts, as lines."""
    return [
        f"on {seen['examples']:,} validation examples, original -> decoded:",
        f"  accuracy            {_pair(seen['accuracy'])}",
        f"  worst accuracy      {_pair(seen['worst_accuracy'])} ({seen['worst_part']})",
        f"  largest fall        {seen['largest_fall']:.4f} ({seen['largest_fall_part']})",
        f"  changed answers     {seen['changed']:.4f}",
        f"  calibration error   {_pair(seen['calibration_error'])}",
    ]


def parts_table(entry: Mapping[str, Any]) -> list[str]:
    """Write the accuracy of each class and group as lines."""
    parts = entry["behaviour"]["parts"]
    width = max(len(part["name"]) for part in parts)
    head = f"{'':{width}}  examples  original  decoded"
    return [
        head,
        *(
            f"{part['name']:{width}}{part['examples']:>10,}{part['original']:>10.4f}{part['decoded']:>9.4f}"
            for part in parts
        ),
    ]


def _pair(pair: Mapping[str, float]) -> str:
    return f"{pair['original']:.4f} -> {pair['decoded']:.4f}"
