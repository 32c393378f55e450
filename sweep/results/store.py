"""The only writer of a results folder, local or in a bucket: tables, attempts, checkpoints, cohorts.

`analysis.files` says how a file is written, `analysis.results_folder` which files count.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import platform
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.checks.findings import FAULTS, Damaged, Finding
from analysis.checks.records import parse_cohort
from analysis.checks.reports import Report, is_cohort_id
from analysis.errors import AnalysisError, ResultsNotFound
from analysis.files import Files
from analysis.results_folder import ResultsFolder
from analysis.schema import SCHEMA_VERSION, TABLES, meanings
from sweep import __version__
from sweep.errors import ResultsGone, StoreError
from sweep.results import attempts
from sweep.results.attempts import Attempt
from sweep.results.cohort import UNREADABLE, Cohort, cohort_from_dict, unreadable
from sweep.results.compaction import compact, due, left_over_findings
from sweep.results.lease import Lease
from sweep.results.outcomes import Outcome, outcomes_of, seconds_taken_in
from sweep.results.repair import FOLDER, set_aside, unreadable_cohorts
from sweep.results.rows import RunContext, parquet, table_rows
from trainables.config.address import checked_address
from trainables.errors import ConfigError, raised

if TYPE_CHECKING:
    from sweep.specification.config import SweepConfig
    from trainables.measurement import Measurement

NEEDED_BYTES = 500 * 2**20
"""Free disk below which no sweep is started."""

DRIVER = "driver"
"""The lease of the process that runs a sweep; its workers write under it."""
REQUEST = "sweep.json"
"""The file with the current request. It is written first, so it also marks a folder in which a sweep has begun."""

COLUMNS = "columns.json"
"""The file that says what the columns of all tables mean, once for the folder."""

CHECKPOINTS_KEPT = 2
"""The newest checkpoint and one more: the newest may be of a process thought dead, whose reports do not count."""


class Store:
    """A results folder.

    Args:
        path: local path, or a URI such as `s3://bucket/results/my-sweep`.
        makes_root: whether writing may make the folder itself. Only the process that begins a sweep may: a worker
            would otherwise make a folder that was moved in the meantime once more, and write half a sweep into it.

    Raises:
        StoreError: the kind of address is not supported.
    """

    def __init__(self, path: str | Path, *, makes_root: bool = True) -> None:
        try:
            path = checked_address("results", path)
        except ConfigError as error:
            raise StoreError(str(error)) from None
        # Absolute: the workers that get this path run in other folders.
        self.path = str(path) if "://" in str(path) else str(Path(path).expanduser().absolute())
        try:
            self._files = Files(self.path, makes_root=makes_root)
        except (ValueError, OSError) as error:
            raise StoreError(f"results must be a local path or an s3:// address, got {path}: {error}") from None

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return type(self), (self.path,)

    @property
    def is_local(self) -> bool:
        """Whether the results are on this machine's disks."""
        return self._files.is_local

    def check_usable(self, nodes: int = 1, needed_bytes: int = NEEDED_BYTES) -> None:
        """Refuse a place that could not hold the results, before any work is done; delete abandoned files there.

        Args:
            nodes: number of machines that will write.
            needed_bytes: required free disk, for a local path.

        Raises:
            StoreError: the place cannot be written, is nearly full, is local to one of several machines, or holds
                links that lead elsewhere.
        """
        if self.is_local and nodes > 1:
            raise StoreError(
                f"results of a sweep on {nodes} machines must be where all can write, got the local path "
                f"{self.path}; use --results s3://BUCKET/PATH"
            )
        for folder in ("", "cohorts", "checkpoints", *(f"tables/{table}" for table in TABLES)):
            self._files.delete_abandoned(folder)
        # Tried out: neither permissions nor a listing say whether a bucket or a full disk takes a file.
        probe = "cohorts/.writable"
        try:
            with _as_store_errors():
                if self.is_local:
                    # A link that leads out of the folder is refused here, and not at the first report.
                    for name in ("checkpoints", "report", *(f"tables/{table}" for table in TABLES)):
                        self._files.own_place(name)
                self._files.write(probe, b"")
                self._files.delete(probe)
        except OSError as error:
            raise StoreError(f"results cannot be written to {self.path}: {error}") from None
        if self.is_local and (free := shutil.disk_usage(self._files.root).free) < needed_bytes:
            raise StoreError(
                f"the disk of {self.path} must have {needed_bytes / 2**20:,.0f} MiB free, it has "
                f"{free / 2**20:,.0f} MiB; make room, or choose another place with --results"
            )

    def driving(self, note: Callable[[str], object]) -> Lease:
        """Return the lease under which one process at a time runs a sweep into this folder.

        Args:
            note: called with a sentence for people where taking it has to wait.
        """
        import pandas  # noqa: F401 PyArrow imports it at its first table; cut short there by Ctrl-C, it stays broken

        return Lease(Files(self.path, makes_root=False), DRIVER, note=note)

    def require_there(self) -> None:
        """Require the folder that the sweep has begun in: it has a `sweep.json`, which a begun sweep never lacks.

        Raises:
            ResultsGone: it was moved, deleted or unmounted.
            OSError: the storage does not say.
        """
        if not self._files.exists(REQUEST):
            raise ResultsGone(
                f"the results folder {self.path} was moved, deleted or unmounted while the sweep ran: it has no "
                f"{REQUEST} now, and nothing more was written there. Move it back to {self.path} and give the same "
                "command again, or give its new place with --results"
            )

    # --- the request and its cohorts -----------------------------------------------------------------------------

    def write_request(self, config: SweepConfig, trial_ids: Sequence[str], imports: Sequence[str] = ()) -> None:
        """Record the current request: the resolved specification, its trials, modules to import, and versions."""
        self._write_json(
            REQUEST,
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
        self._write_json(COLUMNS, meanings())

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
        """Load all cohorts, oldest first; those whose record is damaged are left out, as readers do.

        Raises:
            StoreError: this version cannot read one of them.
        """
        folder = self._folder()
        return [] if folder is None else [self._cohort(file.stated, file.cohort_id) for file in folder.cohorts]

    def cohort(self, cohort_id: str) -> Cohort:
        """Load the cohort with this id.

        Raises:
            StoreError: there is none, or this version cannot read it.
        """
        _require_id(cohort_id)
        try:
            stated = parse_cohort(self._files.read(f"cohorts/{cohort_id}.json"), cohort_id).stated
        except (OSError, Damaged) as error:
            raise StoreError(unreadable(self.path, cohort_id, str(error))) from None
        return self._cohort(stated, cohort_id)

    def _cohort(self, stated: dict[str, Any], cohort_id: str) -> Cohort:
        try:
            return cohort_from_dict(stated)
        except UNREADABLE as error:
            raise StoreError(unreadable(self.path, cohort_id, raised(error))) from None

    def next_index(self) -> int:
        """Return the index of the next new cohort: above all that have left a record or a report."""
        return attempts.next_index(self._files)

    def mark_failed(self, cohort_id: str, reason: str) -> None:
        """Record that a cohort has failed for good: its unfinished trials count as failed."""
        self._write_json(f"cohorts/{cohort_id}.failed.json", {"reason": reason})

    def clear_failed(self, cohort_id: str) -> None:
        """Remove the record of a failure; do nothing if there is none."""
        self._files.delete(f"cohorts/{cohort_id}.failed.json")

    # --- attempts, reports, checkpoints --------------------------------------------------------------------------

    def claim_attempt(self, cohort_id: str) -> Attempt:
        """Begin a new attempt at a cohort, from its newest checkpoint whose report, like all before it, counts.

        Raises:
            StoreError: the id is none that a cohort can have.
        """
        _require_id(cohort_id)
        return attempts.claim(self._files, cohort_id)

    def newest_checkpoint(self, cohort_id: str) -> bytes | None:
        """Return the state after a cohort's newest report that counts; None if there is none."""
        rows = attempts.reports_of(self._files, "rows", cohort_id)
        place = attempts.newest_checkpoint(self._files, cohort_id, rows)
        if place is None:
            return None
        return attempts.read_checkpoint(self._files, attempts.checkpoint_name(cohort_id, *place))

    def set_aside(self, checkpoint_name: str) -> str:
        """Move a checkpoint that cannot be resumed from out of the way, and return its new name.

        The next attempt then begins after the report of the checkpoint before, or else at the beginning.
        """
        aside = f"{FOLDER}/{checkpoint_name.rpartition('/')[2]}"
        self._files.move(checkpoint_name, aside)
        return aside

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
            cohort_id: the cohort of the report.
            attempt: the number from `claim_attempt`.
            report: the report's number, counted from `Attempt.next_report`.
            measurements: all measurements since the last report.
            context: columns of ended trials' rows that do not come from measurements.
        """
        of = Report(cohort_id, attempt, report)
        rows = table_rows(measurements, context)
        sizes: dict[str, int] = {}
        for table in sorted(TABLES, key=lambda name: name == "rows"):
            if rows[table] or table == "rows":
                content = parquet(table, rows[table], of, sizes if table == "rows" else None)
                self._files.write(f"tables/{table}/{of.name}.parquet", content)
                sizes[table] = len(content)

    def write_checkpoint(self, cohort_id: str, attempt: int, report: int, data: bytes) -> None:
        """Write the state after a report, once that is written, and delete checkpoints that are no longer needed.

        Checkpoints of a newer attempt are left alone, because this process may be one thought dead.
        """
        self._files.write(attempts.checkpoint_name(cohort_id, attempt, report), data)
        older = [place for place in attempts.checkpoints_of(self._files, cohort_id) if place < (attempt, report)]
        for place in older[: len(older) - (CHECKPOINTS_KEPT - 1)]:
            self._files.delete(attempts.checkpoint_name(cohort_id, *place))

    def compact(self, cohort_id: str, trial_ids: Collection[str]) -> bool:
        """Put the reports of a cohort into one file in each table if it has ended; return whether they are now."""
        return compact(self._files, cohort_id, trial_ids, self.path)

    def to_compact(self) -> dict[str, Collection[str]]:
        """Return cohort id -> its trials, for cohorts with reports that `compact` can put together or delete."""
        ids = due(self._files)
        folder = self._folder() if ids else None
        return {} if folder is None else {c.cohort_id: c.configs for c in folder.cohorts if c.cohort_id in ids}

    # --- outcomes ------------------------------------------------------------------------------------------------

    def outcomes(self) -> dict[str, Outcome]:
        """Return trial id -> outcome of its newest attempt, for every trial that has rows or has failed.

        What a cohort did from its first report on that is known to be damaged or missing does not count, because it
        must be trained again from there.

        Raises:
            StoreError: the folder cannot be read.
        """
        folder = self._folder()
        with _as_store_errors():
            return {} if folder is None else outcomes_of(folder)

    def checked_outcomes(self) -> tuple[dict[str, Outcome], list[Finding]]:
        """Return the outcomes after looking for damage in all tables, and what costs rows.

        The kept networks, which may be large, are checked by the sizes of their files.

        Raises:
            StoreError: the folder cannot be read.
        """
        folder = self._folder()
        if folder is None:
            return {}, []
        with _as_store_errors():
            findings = folder.check([table for table in TABLES if table != "networks"])
            return outcomes_of(folder), [finding for finding in findings if finding.kind in FAULTS]

    def grokked(self) -> set[str]:
        """Return the ids of all trials whose grok step has been seen, ended or not."""
        from analysis.events import grokked_trials  # pandas is needed for nothing else here

        with _as_store_errors():
            return set() if self._folder() is None else grokked_trials(self.path)

    def decisions(self, trial_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return the rows of the table `decisions` of some trials, as plain values."""
        folder, columns = self._folder(), [column.name for column in TABLES["decisions"]]
        with _as_store_errors():
            return [] if folder is None else list(folder.table("decisions", columns, trial_ids).to_pylist())

    def seconds_taken(self) -> dict[str, tuple[int, float]]:
        """Return trial id -> last step and seconds of training and measuring, for the trials that have ended."""
        folder = self._folder()
        with _as_store_errors():
            return {} if folder is None else seconds_taken_in(folder)

    def check(self) -> list[Finding]:
        """Return what is wrong with the folder, after reading every table file that counts, but no checkpoint.

        Raises:
            StoreError: it cannot be read, or holds no results.
        """
        with _as_store_errors():
            try:
                folder = ResultsFolder(self.path)
            except ResultsNotFound as error:
                raise StoreError(str(error)) from None
            return [*folder.check(TABLES), *unreadable_cohorts(folder), *left_over_findings(self._files)]

    def repair(self, findings: Sequence[Finding]) -> list[str]:
        """Move what cannot be believed to `set-aside/`, to be made again by a run, and return the files' names.

        What an interrupted compaction has left is finished.

        Raises:
            StoreError: the folder cannot be written.
        """
        try:
            with _as_store_errors():
                moved = set_aside(self._files, findings)
                for cohort_id, trial_ids in self.to_compact().items():
                    self.compact(cohort_id, trial_ids)
                return moved
        except OSError as error:
            raise StoreError(f"{self.path} cannot be repaired: {error}") from None

    def _folder(self) -> ResultsFolder | None:
        """Return the results as `analysis` reads them now; None if there are none yet."""
        try:
            with _as_store_errors():
                return ResultsFolder(self.path)
        except ResultsNotFound:
            return None

    def _write_json(self, name: str, values: Mapping[str, Any]) -> None:
        self._files.write(name, (json.dumps(values, indent=1) + "\n").encode())


@contextlib.contextmanager
def _as_store_errors() -> Iterator[None]:
    """Turn what readers refuse into errors of this package, except that there are no results."""
    try:
        yield
    except ResultsNotFound:
        raise
    except AnalysisError as error:
        raise StoreError(str(error)) from None


def _require_id(cohort_id: str) -> None:
    """Require an id that a cohort can have: file names are made of it."""
    if not is_cohort_id(cohort_id):
        raise StoreError(f"the id of a cohort must look like c0000-0123abcd, got {cohort_id!r}")
