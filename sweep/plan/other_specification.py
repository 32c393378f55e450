"""The note in a plan that another specification has been run in the same results folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sweep.specification.config import SweepConfig
from sweep.specification.settings import TrialAxes
from trainables.config import TrialConfig
from trainables.errors import shown

if TYPE_CHECKING:
    from sweep.results.cohort import Cohort

_MOST_NAMED = 4
"""Largest number of settings that the note names."""

_OF_TRIALS = frozenset({*TrialAxes.model_fields, "seeds", "cases", "case"})
"""Keys of a specification that say which trials it has."""


def other_specification(
    config: SweepConfig, requested: Iterable[TrialConfig], recorded: Sequence[Cohort], results: str
) -> list[str]:
    """Say that the folder has trials that are not requested: how many, what they were planned with, what differs.

    Args:
        config: the specification.
        requested: its trials.
        recorded: the cohorts that are in the folder.
        results: the address of the results folder.

    Returns:
        One sentence, or none if every trial that is there is requested.
    """
    asked = {trial.trial_id for trial in requested}
    others = {trial_id for cohort in recorded for trial_id in cohort.trial_ids} - asked
    if not others:
        return []
    there = _recorded(results)
    differing = list(_differences(there.get("specification", {}), config.model_dump(mode="json")))
    what = f", planned from {there['name']!r}" if "name" in there else ""
    listed = ", ".join(differing[:_MOST_NAMED]) + (" and more" if len(differing) > _MOST_NAMED else "")
    trials = "1 trial" if len(others) == 1 else f"{len(others):,} trials"
    return [
        f"the folder has {trials} of another specification{what}{f', with {listed}' if listed else ''}; both are "
        "kept, and maps and reports show both; use --results for a folder of its own"
    ]


def _recorded(results: str) -> dict[str, Any]:
    """Return the request that the folder was last planned for; empty if it cannot be read."""
    from analysis.files import Files

    try:
        values = json.loads(Files(results).read("sweep.json"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) and isinstance(values.get("specification", {}), dict) else {}


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield `setting: what it was` for the settings of trials that differ."""
    for name in before:
        if (not prefix and name not in _OF_TRIALS) or name not in now or before[name] == now[name]:
            continue
        if isinstance(before[name], Mapping) and isinstance(now[name], Mapping) and name in ("task", "model"):
            yield from _differences(before[name], now[name], f"{name}.")
        else:
            yield f"{prefix}{name}: {shown(before[name])}"
