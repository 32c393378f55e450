"""What cohorts tell each other about the cells that they share: which seeds have grokked, which have failed by far.

Each cohort writes one small file, with its report, and reads those of the cohorts that train other seeds of its
settings. What comes late is missing for a while, and never wrong: a trial that has grokked will have grokked.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any, get_args

from analysis.checks.reports import is_cohort_id
from analysis.files import Files
from analysis.stopping.evidence import Fate, Fates
from sweep.results.cohort import Cohort

FOLDER = "evidence"
_SUSPENDED = f"{FOLDER}/suspended.json"
_SHARED = f"{FOLDER}/shared-cells.json"


class EvidenceBook:
    """The evidence in a results folder.

    Args:
        path: the results folder.
    """

    def __init__(self, path: str) -> None:
        self._files = Files(path, makes_root=False)

    def write_shared(self, cells: Mapping[str, Iterable[Hashable]]) -> None:
        """Record which cohorts share cells.

        Args:
            cells: cohort id -> its cells, as `Cohort.comparable` tells them apart, of all cohorts.
        """
        cohorts = defaultdict(set)
        for cohort_id, ids in cells.items():
            for cell in ids:
                cohorts[cell].add(cohort_id)
        shared: dict[str, set[str]] = defaultdict(set)
        for together in cohorts.values():
            for cohort_id in together if len(together) > 1 else ():
                shared[cohort_id] |= together - {cohort_id}
        self._write(_SHARED, {cohort_id: sorted(others) for cohort_id, others in sorted(shared.items())})

    def shared_with(self, cohort_id: str) -> list[str]:
        """Return the cohorts that share a cell with this one."""
        others = self._read(_SHARED).get(cohort_id)
        return [name for name in others if is_cohort_id(name)] if isinstance(others, list) else []

    def write(self, cohort_id: str, fates: Fates) -> None:
        """Write what a cohort knows of its own trials."""
        self._write(f"{FOLDER}/{cohort_id}.json", fates)

    def write_grokked(self, cohort: Cohort, grokked: Collection[str]) -> None:
        """Write which of a cohort's trials have grokked."""
        fates: Fates = defaultdict(dict)
        for trial in cohort.trials:
            if trial.trial_id in grokked:
                fates[trial.cell_id][trial.trial_id] = "grokked"
        self.write(cohort.cohort_id, fates)

    def read(self, cohort_ids: Sequence[str], without: Collection[str] = ()) -> Fates:
        """Return what cohorts have written, later ones last; what is missing or damaged is not known.

        Args:
            cohort_ids: the cohorts.
            without: ids of trials to leave out.
        """
        fates: Fates = {}
        for cohort_id in sorted(cohort_ids):
            for cell, of_cell in self._read(f"{FOLDER}/{cohort_id}.json").items():
                if isinstance(of_cell, dict):
                    known = {
                        trial: fate
                        for trial, fate in of_cell.items()
                        if fate in get_args(Fate) and trial not in without
                    }
                    fates.setdefault(cell, {}).update(known)
        return fates

    def suspend(self, rule: str) -> None:
        """Record that a parking rule only marks trials from now on."""
        self._write(_SUSPENDED, {"rule": rule})

    def is_suspended(self, rule: str) -> bool:
        """Check whether a parking rule only marks trials."""
        return self._read(_SUSPENDED).get("rule") == rule

    def _write(self, name: str, values: Mapping[str, Any]) -> None:
        self._files.write(name, json.dumps(values, separators=(",", ":")).encode())

    def _read(self, name: str) -> dict[str, Any]:
        try:
            values = json.loads(self._files.read(name))
        except (FileNotFoundError, ValueError, RecursionError):
            return {}
        return values if isinstance(values, dict) else {}
