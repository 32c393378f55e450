"""The record of `sweep behaviour`: one entry for each network that was compressed and compared with itself."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.errors import ResultsWarning
from analysis.files import Files

RECORD = "report/behaviour.json"
"""The record's name in a results folder."""

_VERSION = 1

_NUMBERS = ("step", "epsilon", "raw_bytes", "zstd_bytes", "file_bytes", "stream_bytes")
_PAIRS = ("accuracy", "worst_accuracy", "calibration_error")


def write_record(path: str | Path, networks: Sequence[dict[str, Any]]) -> str:
    """Write the record of a results folder, in place of an older one, and return its address.

    Args:
        path: the results folder, local or `s3://...`.
        networks: entries as `sweep.results.compressions` makes them.

    Raises:
        OSError: it cannot be written.
    """
    text = json.dumps({"version": _VERSION, "networks": list(networks)}, indent=1, allow_nan=False)
    Files(str(path)).write(RECORD, f"{text}\n".encode())
    return f"{str(path).rstrip('/')}/{RECORD}"


def read_record(path: str | Path) -> list[dict[str, Any]]:
    """Read the entries of the record of a results folder; none without a record.

    A record that is damaged, or that another version wrote, is left out with a `ResultsWarning`.
    """
    files = Files(str(path))
    if not files.exists(RECORD):
        return []
    try:
        values = json.loads(files.read(RECORD))
        if values["version"] != _VERSION:
            raise ValueError(f"version {values['version']}")
        networks: list[dict[str, Any]] = values["networks"]
        for entry in networks:
            _check(entry)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        warnings.warn(
            f"{path}: {RECORD} is not read ({type(error).__name__}: {error}); `sweep behaviour` writes it again",
            ResultsWarning,
            stacklevel=2,
        )
        return []
    return networks


def _check(entry: dict[str, Any]) -> None:
    """Raise ValueError, TypeError or KeyError unless an entry has the fields that are read, of the right types."""
    numbers = [entry[name] for name in _NUMBERS]
    behaviour = entry["behaviour"]
    for name in _PAIRS:
        numbers += [behaviour[name]["original"], behaviour[name]["decoded"]]
    numbers += [behaviour["changed"], behaviour["largest_fall"]]
    if passing := entry["passing"]:
        numbers += [passing["epsilon"], passing["stream_bytes"]]
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        raise TypeError("a number is none")
    texts = [
        entry["trial_id"],
        entry["bound"],
        passing["bound"] if passing else "",
        behaviour["worst_part"],
        behaviour["largest_fall_part"],
        *entry["exceeded"],
    ]
    if cost := entry["cost"]:
        texts.append(cost["currency"])
        if not all(
            isinstance(cost[name][kind], int | float) for name in _SIZES for kind in ("storage", "transfer")
        ):
            raise TypeError("a cost is no number")
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a text is none")


_SIZES = ("raw", "zstd", "file")
