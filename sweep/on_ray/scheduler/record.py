"""What a `GrokScheduler` has seen and decided, in a file of Tune's experiment folder.

Tune keeps the state of trials, searchers and callbacks, but not of schedulers, so a scheduler that is restored
knows nothing. This file lies where the driver stages its own files. Tune uploads them with its state of the trials,
and so both are equally old after a fault.
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.files import Files
from analysis.schema import TABLES
from sweep.on_ray.scheduler.reported import Row, Stop, take_in

FILE = "grok-scheduler.jsonl"
"""One line for each result, each decision and each stop."""

_DECISION = frozenset(column.name for column in TABLES["decisions"])


@dataclass(slots=True)
class Seen:
    """What is recorded of one trial."""

    rows: list[Row] = field(default_factory=list)
    """Its results, oldest first."""
    decisions: list[dict[str, Any]] = field(default_factory=list)
    """Rows of the table `decisions`, oldest first."""
    stop: Stop | None = None
    at: int = 0
    """The place of its last decision among those of all trials."""


class Record:
    """The file that a scheduler writes; it begins empty.

    Args:
        folder: where Tune's driver stages its files; None keeps no record.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._path = None if folder is None else Path(folder) / FILE
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_bytes(b"")

    def add(self, trial_id: str, seen: Seen) -> None:
        """Write what is new about a trial, in one piece."""
        if self._path is not None:
            events: list[dict[str, Any]] = [{"row": dataclasses.astuple(row)} for row in seen.rows]
            events += [{"decision": decision, "at": seen.at} for decision in seen.decisions]
            if seen.stop is not None:
                events.append({"stop": dataclasses.astuple(seen.stop)})
            lines = [json.dumps({"trial_id": trial_id, **event}, separators=(",", ":")) for event in events]
            with self._path.open("a", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in lines))


def read(folder: str, filesystem: Any = None) -> dict[str, Seen]:
    """Read a record: Tune's trial id -> what is recorded of it; nothing where there is no record.

    A line that is cut off or damaged is left out: less is known then.

    Args:
        folder: the experiment's folder or URI, such as `ResultGrid.experiment_path`.
        filesystem: a `pyarrow.fs.FileSystem` that it belongs to; by default found from the path.
    """
    try:
        data = Files(folder, filesystem).read(FILE)
    except FileNotFoundError:
        return {}
    trials: dict[str, Seen] = defaultdict(Seen)
    for line in data.splitlines():
        try:
            stated = json.loads(line)
            _take_in(trials[str(stated["trial_id"])], stated)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return dict(trials)


def _take_in(seen: Seen, line: Mapping[str, Any]) -> None:
    if "row" in line:
        row = _typed(Row, line["row"])
        take_in(seen.rows, row)
    elif "decision" in line:
        decision = line["decision"]
        if not isinstance(decision, dict) or decision.keys() != _DECISION:
            raise ValueError("it is no decision")
        seen.decisions.append(decision)
        seen.at = int(line["at"])
    else:
        seen.stop = _typed(Stop, line["stop"])


def _typed(kind: Any, values: Sequence[Any]) -> Any:
    """Make a record of values as they were written."""
    types: dict[str, Any] = {"int": int, "float": (int, float), "str": str, "bool": bool}
    names = dataclasses.fields(kind)
    if not all(isinstance(value, types[str(one.type)]) for one, value in zip(names, values, strict=True)):
        raise ValueError("its values are of other types")
    return kind(*values)
