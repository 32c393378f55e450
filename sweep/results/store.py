"""The only writer of a results folder, local or in a bucket: tables, attempts, checkpoints, cohorts.

`analysis.files` says how a file is written, `analysis.results_folder` which files count.
"""

from __future__ import annotations

import datetime
import json
import platform
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.errors import AnalysisError, ResultsNotFound
from analysis.files import Files
from analysis.results_folder import (
    Report,
    ResultsFolder,
    counted_reports,
    parse_report,
)
from analysis.schema import SCHEMA_VERSION, TABLES
from sweep import __version__
from sweep.errors import StoreError
from sweep.results.cohort import Cohort, cohort_from_dict
from sweep.results.rows import RunContext, parquet, table_rows

if TYPE_CHECKING:
    from sweep.specification.config import SweepConfig
    from trainables.measurement import Measurement

NEEDED_BYTES = 500 * 2**20
"""Free disk below which no sweep is started."""

CHECKPOINTS_KEPT = 2
"""The newest checkpoint and one more: the newest may be of a process thought dead, whose reports do not count."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One process's turn at a cohort."""

    number: int
    next_report: int
    """Number of the first report that it will write."""
    checkpoint: bytes | None
    """The state to resume from; None: from the beginning."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state of a trial that has rows or has failed, in its newest attempt."""

    trial_id: str
    cohort_id: str
    ended_because: str
    """`grokked budget stopped diverged failed`, or `interrupted` for a trial that has not ended."""
    ended_at_step: int | None
    """Last evaluated step; None if it has not ended."""
    budget_steps: int
    stop_rule: str | None
    epsilon: float | None
    complexity_method: str | None
    reproducible: str | None = None
    """What held for its bits; None if it has not ended, or in results of earlier versions."""


class Store:
    """A results folder.

    Args:
        path: Local path, or a URI such as `s3://bucket/results/my-sweep`.

    Raises:
        StoreError: the kind of address is not supported.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path) if "://" in str(path) else str(Path(path).expanduser().absolute())
        try:
            self._files = Files(self.path)
        except (ValueError, OSError) as error:
            raise StoreError(f"results must be a local path or an s3:// address, got {path}: {error}") from None

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return type(self), (self.path,)

    @property
    def is_local(self) -> bool:
        """Whether the results are on this machine's disks."""
        return self._files.is_local

    def check_usable(self, nodes: int = 1, needed_bytes: int = NEEDED_BYTES) -> None:
        """Refuse a place that could not hold the results, before any work is done.

        Args:
            nodes: Number of machines that will write.
            needed_bytes: Required free disk, for a local path.

        Raises:
            StoreError: the place cannot be written, is nearly full, or is local to one of several machines.
        """
        if self.is_local and nodes > 1:
            raise StoreError(
                f"results of a sweep on {nodes} machines must be where all can write, got the local path "
                f"{self.path}; use --results s3://BUCKET/PATH"
            )
        probe = "cohorts/.writable"
        try:
            self._files.write(probe, b"")
            self._files.delete(probe)
        except OSError as error:
            raise StoreError(f"results cannot be written to {self.path}: {error}") from None
        if self.is_local and (free := shutil.disk_usage(self._files.root).free) < needed_bytes:
            raise StoreError(
                f"the disk of {self.path} must have {_mebibytes(needed_bytes)} free, it has {_mebibytes(free)}; "
                "make room, or choose another place with --results"
            )

    # --- the request and its cohorts -----------------------------------------------------------------------------

    def write_request(self, config: SweepConfig, trial_ids: Sequence[str], imports: Sequence[str] = ()) -> None:
        """Record the current request: the resolved specification, its trials, modules to import, and versions."""
        self._write_json(
            "sweep.json",
            {
                "name": config.name,
                "specification": config.model_dump(mode="json"),
                "trials": list(trial_ids),
                "imports": list(imports),
                "schema_version": SCHEMA_VERSION,
                "package_version": __version__,
                "python_version": platform.python_version(),
                "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            },
        )

    def add_cohorts(self, cohorts: Sequence[Cohort]) -> None:
        """Record which trials belong together. An existing cohort is never changed.

        Raises:
            StoreError: a cohort with that id exists.
        """
        there = set(self._files.names("cohorts"))
        for cohort in cohorts:
            name = f"{cohort.cohort_id}.json"
            if name in there:
                raise StoreError(f"cohort {cohort.cohort_id} is in {self.path} already and is never changed")
            self._write_json(f"cohorts/{name}", cohort.as_dict())

    def cohorts(self) -> list[Cohort]:
        """Load all cohorts, oldest first."""
        names = (name for name in self._files.names("cohorts") if name.endswith(".json"))
        ids = (name.removesuffix(".json") for name in names if not name.startswith("."))
        loaded = [self.cohort(cohort_id) for cohort_id in ids if not cohort_id.endswith(".failed")]
        return sorted(loaded, key=lambda cohort: cohort.index)

    def cohort(self, cohort_id: str) -> Cohort:
        """Load the cohort with this id.

        Raises:
            StoreError: there is none, or this version cannot read it.
        """
        try:
            return cohort_from_dict(json.loads(self._files.read(f"cohorts/{cohort_id}.json")))
        except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"cohorts/{cohort_id}.json in {self.path} must be readable by version {__version__}: "
                f"{type(error).__name__}: {error}"
            ) from None

    def mark_failed(self, cohort_id: str, reason: str) -> None:
        """Record that a cohort has failed for good: its unfinished trials count as failed."""
        self._write_json(f"cohorts/{cohort_id}.failed.json", {"reason": reason})

    def clear_failed(self, cohort_id: str) -> None:
        """Remove the record of a failure; do nothing if there is none."""
        self._files.delete(f"cohorts/{cohort_id}.failed.json")

    # --- attempts, reports, checkpoints --------------------------------------------------------------------------

    def claim_attempt(self, cohort_id: str) -> Attempt:
        """Begin a new attempt at a cohort, from its newest checkpoint whose report, like all before it, counts."""
        reports = {table: self._reports(table, cohort_id) for table in TABLES}
        newest = max((report.attempt for numbered in reports.values() for report in numbered), default=0)
        number = self._begin_attempt(cohort_id, newest + 1)
        counted = counted_reports(reports["rows"])
        usable = [place for place in self._checkpoints(cohort_id) if Report(cohort_id, *place) in counted]
        if not usable:
            return Attempt(number, 0, None)
        attempt, report = max(usable, key=lambda place: place[1])
        return Attempt(number, report + 1, self._files.read(_checkpoint_name(cohort_id, attempt, report)))

    def _begin_attempt(self, cohort_id: str, at_least: int) -> int:
        """Return the number of an attempt that no other process has, and mark it as taken.

        Otherwise two processes that have not reported yet would share a number and overwrite each other's reports.
        In a bucket this may still happen if they begin at the same instant.
        """
        pattern = re.compile(rf"{re.escape(cohort_id)}-(\d+)\.begun")
        begun = (pattern.fullmatch(name) for name in self._files.names("checkpoints"))
        number = max([at_least, *(int(match[1]) + 1 for match in begun if match is not None)])
        while True:
            name = f"checkpoints/{cohort_id}-{number:03d}.begun"
            if not self.is_local:
                self._files.write(name, b"")
                return number
            mark = Path(self._files.place(name))
            mark.parent.mkdir(parents=True, exist_ok=True)
            try:
                mark.touch(exist_ok=False)
            except FileExistsError:
                number += 1
                continue
            return number

    def add_report(
        self,
        cohort_id: str,
        attempt: int,
        report: int,
        measurements: Sequence[Measurement],
        context: RunContext,
    ) -> None:
        """Write one report: a file in each table that has rows, and always one in `rows`, written last.

        Args:
            cohort_id: The cohort of the report.
            attempt: The number from `claim_attempt`.
            report: The report's number, counted from `Attempt.next_report`.
            measurements: All measurements since the last report.
            context: Columns of ended trials' rows that do not come from measurements.
        """
        rows = table_rows(measurements, context)
        for table in sorted(TABLES, key=lambda name: name == "rows"):
            if rows[table] or table == "rows":
                name = f"tables/{table}/{_report_name(cohort_id, attempt, report)}.parquet"
                self._files.write(name, parquet(table, rows[table]))

    def write_checkpoint(self, cohort_id: str, attempt: int, report: int, data: bytes) -> None:
        """Write the state after a report, once that is written, and delete checkpoints that are no longer needed.

        Checkpoints of a newer attempt are left alone, because this process may be one thought dead.
        """
        self._files.write(_checkpoint_name(cohort_id, attempt, report), data)
        older = [place for place in self._checkpoints(cohort_id) if place < (attempt, report)]
        for place in older[: len(older) - (CHECKPOINTS_KEPT - 1)]:
            self._files.delete(_checkpoint_name(cohort_id, *place))

    # --- outcomes ------------------------------------------------------------------------------------------------

    def outcomes(self) -> dict[str, Outcome]:
        """Return trial id -> outcome of its newest attempt, for every trial that has rows or has failed.

        Raises:
            StoreError: the folder cannot be read or its files contradict each other.
        """
        folder = self._folder()
        if folder is None:
            return {}
        names = ["trial_id", "ended_because", "ended_at_step", "stop_rule", "epsilon", "complexity_method"]
        names.append("reproducible")
        ended = {row["trial_id"]: row for row in folder.table("trials", names).to_pylist()}
        begun = set(folder.table("rows", ["trial_id"])["trial_id"].unique().to_pylist())
        outcome_of: dict[str, Outcome] = {}
        for trial_id, cohort in folder.cohort_of_trials().items():
            row = ended.get(trial_id)
            if row is None and trial_id not in begun and cohort.failed is None:
                continue
            row = row or {"ended_because": "interrupted" if cohort.failed is None else "failed"}
            outcome_of[trial_id] = Outcome(
                trial_id=trial_id,
                cohort_id=cohort.cohort_id,
                ended_because=row["ended_because"],
                ended_at_step=row.get("ended_at_step"),
                budget_steps=cohort.configs[trial_id]["steps"],
                stop_rule=row.get("stop_rule"),
                epsilon=row.get("epsilon"),
                complexity_method=row.get("complexity_method"),
                reproducible=row.get("reproducible"),
            )
        return outcome_of

    def grokked(self) -> set[str]:
        """Return the ids of all trials whose grok step has been seen, ended or not."""
        from analysis.events import events
        from analysis.load import load

        columns = ["train_accuracy", "val_accuracy", "complexity_bytes", "memorised_at", "grokked_at"]
        columns += ["phase_start_step"]
        try:
            trials = events(load(self.path, columns, mix_methods=True))
        except ResultsNotFound:
            return set()
        return set(trials.loc[~trials["censored"], "trial_id"].astype(str))

    def seconds_taken(self) -> dict[str, tuple[int, float]]:
        """Return trial id -> last step and seconds of training and measuring, for the trials that have ended."""
        folder = self._folder()
        if folder is None:
            return {}
        rows = folder.table("trials", ["trial_id", "ended_at_step", "train_wall_s", "measure_wall_s"]).to_pylist()
        return {
            row["trial_id"]: (row["ended_at_step"], row["train_wall_s"] + row["measure_wall_s"]) for row in rows
        }

    def _folder(self) -> ResultsFolder | None:
        """Return the results as `analysis` reads them now; None if there are none yet."""
        try:
            return ResultsFolder(self.path)
        except ResultsNotFound:
            return None
        except AnalysisError as error:
            raise StoreError(str(error)) from None

    # --- files ---------------------------------------------------------------------------------------------------

    def _write_json(self, name: str, values: Mapping[str, Any]) -> None:
        self._files.write(name, (json.dumps(values, indent=1) + "\n").encode())

    def _reports(self, table: str, cohort_id: str) -> list[Report]:
        reports = (parse_report(name) for name in self._files.names(f"tables/{table}"))
        return [report for report in reports if report is not None and report.cohort_id == cohort_id]

    def _checkpoints(self, cohort_id: str) -> list[tuple[int, int]]:
        """Return the attempts and reports after which there is a checkpoint, ascending."""
        pattern = re.compile(rf"{re.escape(cohort_id)}-(\d+)-(\d+)\.safetensors")
        matches = (pattern.fullmatch(name) for name in self._files.names("checkpoints"))
        return sorted((int(match[1]), int(match[2])) for match in matches if match is not None)


def _report_name(cohort_id: str, attempt: int, report: int) -> str:
    return f"{cohort_id}-{attempt:03d}-{report:05d}"


def _checkpoint_name(cohort_id: str, attempt: int, report: int) -> str:
    return f"checkpoints/{_report_name(cohort_id, attempt, report)}.safetensors"


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
