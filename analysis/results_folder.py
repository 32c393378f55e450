"""Which files of a results folder count: layout, attempts, cohorts; and what is wrong with them.

A folder, local or in a bucket:

    sweep.json                                              the current request
    cohorts/<cohort_id>.json                                the trials of a cohort and their configurations
    cohorts/<cohort_id>.failed.json                         the cohort has failed for good
    tables/<table>/<cohort_id>-<attempt>-<report>.parquet
    tables/<table>/<cohort_id>-<attempt>-<first report>-<last report>.parquet

Four rules make each row count exactly once:

1. A report exists if its file in `rows` exists, because that file is always written, and written last.
2. An attempt's reports numbered at or above the first report of any newer attempt of its cohort are ignored:
   the newer attempt has done that work again, and a process thought dead may still write.
3. A trial in several cohorts counts in the one with the largest index that has rows for it.
4. Once a cohort has ended, its reports are compacted, by an attempt of its own, into one file in each table (large
   tables: into a few). If that is in `rows`, where it is written last, only files of that attempt count.

No file is believed before it is checked, see `analysis.checks`. One that is damaged costs only its own rows, and
each reader warns of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from analysis.checks.findings import KEEP_ELSEWHERE, SET_ASIDE, TRAIN_AGAIN, Damaged, Finding, Gone, Kind, warn
from analysis.checks.listing import Compacted, Listing, TableFile
from analysis.checks.records import LARGEST_BYTES as LARGEST_RECORD_BYTES
from analysis.checks.records import CohortFile, RequestFile, parse_cohort, parse_failure, parse_request
from analysis.checks.reports import (
    Report,
    gaps,
    is_foreign,
    parse_cohort_file,
    parse_failed_file,
    superseded,
)
from analysis.errors import AnalysisError, ResultsNotFound
from analysis.files import Files, NotAFile

if TYPE_CHECKING:
    import pyarrow as pa

    from analysis.checks.tables import ReportTable

_AT_ONCE = 8
"""Files read at once, by threads in a bucket, where most time is spent waiting; locally threads only cost time."""


_T = TypeVar("_T")


class ResultsFolder:
    """A results folder as it was when this object was made: later reports are not included.

    Args:
        path: a local path, or a URI such as `s3://bucket/results/my-sweep`.
        filesystem: a `pyarrow.fs.FileSystem` that `path` belongs to; by default derived from the path.

    Attributes:
        cohorts: the records of cohorts, oldest first; those that are damaged are left out.

    Raises:
        ResultsNotFound: the path does not exist, or holds no results of a sweep.
        NewerResults: a newer version wrote them.
        AnalysisError: the path cannot be read.
    """

    def __init__(self, path: str | Path, filesystem: Any = None) -> None:
        self.path = str(path)
        self._found: dict[str, Finding] = {}
        self._faults: dict[str, int] = {}
        self._other_tables: dict[Report, Mapping[str, int]] = {}
        try:
            self._files = Files(self.path, filesystem)
            # A bucket has no folders: `cohorts` exists there once there is a file below it.
            has_results = self._files.exists("cohorts") or self._files.exists("sweep.json")
            if not has_results:
                raise ResultsNotFound(
                    f"no results of a sweep in {self.path}: it has neither sweep.json nor cohorts/; "
                    "give the folder that `sweep run` named as its results"
                )
            with self._warning():
                self._open()
        except AnalysisError:
            raise
        # pyarrow raises ValueError for an address of a kind that it does not know.
        except (OSError, ValueError) as error:
            raise AnalysisError(f"{self.path} cannot be read: {error}") from error

    def _open(self) -> None:
        self._request = self._read_request()
        # Cohorts are written before their tables. So list tables first: in the other order, a new cohort's file
        # could be missing while its rows are there.
        self._listing = Listing(self._files, lambda finding: self._note([finding]))
        rows = self._listing.of("rows")
        self.cohorts = self._read_cohorts()
        self._ids = {cohort.cohort_id: cohort.configs.keys() for cohort in self.cohorts}
        for cohort_id in sorted({report.cohort_id for report in rows} - self._ids.keys()):
            self._orphans(cohort_id, sum(report.cohort_id == cohort_id for report in rows))
        for cohort_id, missing in gaps(self._listing.count(self._ids)).items():
            for numbers in missing:
                self._gap(cohort_id, numbers)
        self._superseded = superseded(self._ids, self._trials_with_rows)

    @property
    def findings(self) -> list[Finding]:
        """What is wrong with the files that were read so far."""
        return list(self._found.values())

    @property
    def faults(self) -> Mapping[str, int]:
        """Cohort id -> its first report that is known to be damaged or missing."""
        return self._faults

    def request(self) -> list[str]:
        """Return the ids of the trials requested now; every trial of every cohort without a `sweep.json`."""
        if self._request is not None:
            return self._request.trials
        return list(dict.fromkeys(trial_id for cohort in self.cohorts for trial_id in cohort.configs))

    @property
    def specification(self) -> dict[str, Any]:
        """What was asked for, as plain values that were not checked; empty if it is not known."""
        return {} if self._request is None else self._request.specification

    def cohort_of_trials(self) -> dict[str, CohortFile]:
        """Return trial id -> the cohort it counts in: the newest with rows for it, else the newest that has it."""
        return {
            trial_id: cohort
            for cohort in self.cohorts
            for trial_id in cohort.configs
            if trial_id not in self._superseded.get(cohort.cohort_id, ())
        }

    def table(
        self,
        name: str,
        columns: Sequence[str],
        trial_ids: Collection[str] | None = None,
        *,
        before_faults: bool = False,
    ) -> Any:
        """Read the rows of a table that count, and warn of files that cannot be read.

        Args:
            name: one of `analysis.schema.TABLES`.
            columns: columns to read.
            trial_ids: only these trials; by default all.
            before_faults: leave out what must be trained again: the reports of a cohort from the first one on that
                is known to be damaged or missing.

        Returns:
            A `pyarrow.Table` with these columns.

        Raises:
            NewerResults: a newer version wrote a file.
            AnalysisError: a file cannot be reached.
        """
        import pyarrow as pa

        from analysis.checks.copies import key_of, without_copies
        from analysis.schema import arrow_schema

        needed = list(dict.fromkeys([*columns, *key_of(name)]))

        def read() -> dict[Report, pa.Table]:
            return {
                report: self._counted(part, report.cohort_id, trial_ids)
                for report, part in self._read(name, needed, before_faults=before_faults)
            }

        with self._warning():
            parts = self._whole(read)
            self._compare_sizes([name])
            once, copies = without_copies(name, parts)
            self._note(copies)
        if not once:
            return arrow_schema(name).empty_table().select(list(columns))
        return pa.concat_tables([part.select(list(columns)) for part in once]).unify_dictionaries()

    def check(self, tables: Iterable[str]) -> list[Finding]:
        """Read these tables as a whole, compare the sizes of the files in all others, and return all findings.

        Args:
            tables: names from `analysis.schema.TABLES`; with `rows`, the sizes of all other tables are compared.
        """
        from analysis.checks.copies import key_of, without_copies
        from analysis.schema import TABLES

        with self._warning():
            for name in tables:
                columns = [column.name for column in TABLES[name]]

                def keys(name: str = name, columns: Sequence[str] = columns) -> dict[Report, pa.Table]:
                    return {
                        report: self._counted(part.select(key_of(name)), report.cohort_id, None)
                        for report, part in self._read(name, columns)
                    }

                self._note(without_copies(name, self._whole(keys))[1])
            self._compare_sizes(TABLES)
        return self.findings

    def _whole(self, read: Callable[[], _T]) -> _T:
        """Read a table, once more if files of it were compacted meanwhile: what replaces them is there then."""
        while True:
            try:
                return read()
            except Compacted:
                continue

    def _read(
        self, name: str, columns: Sequence[str], cohort_id: str | None = None, *, before_faults: bool = False
    ) -> Iterator[tuple[Report, pa.Table]]:
        """Read the files of a table that count, one after the other, and note those that cannot be believed."""
        wanted = [
            (report, file)
            for report, file in self._listing.wanted(name, cohort_id)
            if not (before_faults and report.report >= self._faults.get(report.cohort_id, report.report + 1))
        ]
        with ThreadPoolExecutor(1 if self._files.is_local else _AT_ONCE) as pool:
            # In portions: a table may be larger than memory.
            for start in range(0, len(wanted), _AT_ONCE):
                portion = wanted[start : start + _AT_ONCE]
                contents = pool.map(lambda entry: self._read_file(name, entry[0], entry[1], columns), portion)
                for (report, file), content in zip(portion, contents, strict=True):
                    if isinstance(content, Damaged):
                        if isinstance(content, Gone) and self._listing.follow():
                            raise Compacted
                        self._fault(report, Finding("damaged", file.name, str(content), TRAIN_AGAIN))
                        continue
                    if name == "rows":
                        self._other_tables[report] = content.other_tables
                    yield report, content.rows.slice(0, self._listing.rows_seen(report, content.rows_of_reports))

    def _read_file(
        self, name: str, report: Report, file: TableFile, columns: Sequence[str]
    ) -> ReportTable | Damaged:
        from analysis.checks.tables import LARGEST_BYTES, read_report_table

        # By the size as listed, before a byte is read: a huge file under a report's name must not fill the memory.
        if file.size_bytes > LARGEST_BYTES:
            return Damaged(f"it has {file.size_bytes:,} bytes, more than any report")
        try:
            data = self._files.read(file.name)
        except FileNotFoundError:
            # It may have been compacted, or a run that has begun meanwhile may have set it aside.
            return Gone("it has just gone")
        except NotAFile as error:
            return Damaged(f"it is {error.strerror}")
        except OSError as error:
            # Not damage: where the storage does not answer, nothing may be trained again on its account.
            raise AnalysisError(f"{self.path}/{file.name} cannot be read: {error}") from error
        try:
            return read_report_table(
                data, name, report, columns=columns, trial_ids=self._ids[report.cohort_id], path=self.path
            )
        except Damaged as error:
            return error

    def _counted(self, rows: pa.Table, cohort_id: str, trial_ids: Collection[str] | None) -> pa.Table:
        """Keep the rows of trials that count in a cohort, and of these trials."""
        from analysis.checks.tables import is_of

        # A trial that was run anew, under another budget or rule, still has rows in its former cohort.
        if cohort_id in self._superseded:
            rows = rows.filter(~is_of(self._superseded[cohort_id]))
        return rows if trial_ids is None else rows.filter(is_of(trial_ids))

    def _compare_sizes(self, tables: Iterable[str]) -> None:
        """Compare the files of reports in these tables with what their files in `rows` state, as far as read."""
        # A report's file in `rows` states the bytes of its files in other tables. So a file that is missing or cut
        # short is seen from the listing, without reading it.
        for name in tables:
            if name == "rows" or not self._other_tables:
                continue
            for report, stated in self._other_tables.items():
                size, there = stated.get(name), self._listing.sizes(name, report)
                # The report had no rows for that table, so there need not be a file.
                if size is None or sum(there) == size or self._listing.is_replaced(report):
                    continue
                place = f"tables/{name}/{report.name}.parquet"
                if not there:
                    self._fault(report, Finding("missing", place, "it was written and is not there", TRAIN_AGAIN))
                    continue
                wrong = f"it has {sum(there):,} bytes, and {size:,} were written"
                if report.is_compacted:
                    place = f"tables/rows/{report.name}.parquet"
                    wrong = f"its files in {name} have {sum(there):,} bytes, and {size:,} were written"
                self._fault(report, Finding("damaged", place, wrong, TRAIN_AGAIN))

    def _trials_with_rows(self, cohort_id: str) -> set[str]:
        def read() -> set[str]:
            parts = (part for _, part in self._read("rows", ["trial_id"], cohort_id))
            return {str(trial_id) for part in parts for trial_id in part["trial_id"].unique().to_pylist()}

        return self._whole(read)

    def _read_request(self) -> RequestFile | None:
        from analysis.schema import CHECKSUMS_SINCE, SCHEMA_VERSION

        if not self._files.exists("sweep.json"):
            return None
        try:
            record = self._record("sweep.json", self._files.sizes("").get("sweep.json", 0))
            request = parse_request(record, self.path, SCHEMA_VERSION)
        except Damaged as error:
            remedy = "all trials of all cohorts count as requested; the next `sweep run` writes it again"
            self._find("damaged", "sweep.json", str(error), remedy)
            return None
        if request.schema_version < CHECKSUMS_SINCE:
            wrong = f"it was written in results schema {request.schema_version}, whose tables have no checksums"
            self._find("older", "sweep.json", wrong, "it is read, and continued in the present one")
        return request

    def _read_cohorts(self) -> tuple[CohortFile, ...]:
        sizes = self._files.sizes("cohorts")
        failed = {cohort_id: name for name in sizes if (cohort_id := parse_failed_file(name)) is not None}
        cohorts = []
        for name in sorted(sizes):
            cohort_id = parse_cohort_file(name)
            if cohort_id is None:
                if is_foreign(name) and parse_failed_file(name) is None:
                    self._find("ignored", f"cohorts/{name}", "it has no name of a cohort", KEEP_ELSEWHERE)
                continue
            try:
                cohort = parse_cohort(self._record(f"cohorts/{name}", sizes[name]), cohort_id)
            except Damaged as error:
                self._find("damaged", f"cohorts/{name}", str(error), SET_ASIDE)
                continue
            reason = self._read_failure(failed[cohort_id], sizes) if cohort_id in failed else None
            cohorts.append(dataclasses.replace(cohort, failed=reason))
        return tuple(sorted(cohorts, key=lambda cohort: cohort.index))

    def _read_failure(self, name: str, sizes: Mapping[str, int]) -> str | None:
        try:
            return parse_failure(self._record(f"cohorts/{name}", sizes[name]))
        except Damaged as error:
            remedy = "its cohort counts as interrupted, and `sweep run` resumes it"
            self._find("damaged", f"cohorts/{name}", str(error), remedy)
            return None

    def _record(self, name: str, size_bytes: int) -> bytes:
        if size_bytes > LARGEST_RECORD_BYTES:
            raise Damaged(f"it has {size_bytes:,} bytes, more than any record")
        try:
            return self._files.read(name)
        except NotAFile as error:
            raise Damaged(f"it is {error.strerror}") from None

    def _orphans(self, cohort_id: str, reports: int) -> None:
        wrong = f"it is not there, so {reports:,} of its reports cannot be read"
        remedy = "put it back, or let `sweep run` set its reports aside and train its trials again"
        self._find("missing", f"cohorts/{cohort_id}.json", wrong, remedy)

    def _gap(self, cohort_id: str, numbers: range) -> None:
        last = f" to {numbers[-1]:05d}" if len(numbers) > 1 else ""
        file = f"tables/rows/{cohort_id}-*-{numbers[0]:05d}.parquet{last}"
        wrong = "this report is not there, although later ones are"
        self._fault(
            Report(cohort_id, 0, numbers[0]),
            Finding("missing", file, wrong, "rows are missing; `sweep run` trains them again"),
        )

    def _fault(self, report: Report, finding: Finding) -> None:
        """Note a finding that costs rows: the cohort must be trained again from that report on."""
        # Nothing can be resumed within compacted reports.
        number = 0 if self._listing.is_compacted(report.cohort_id) else report.report
        self._faults[report.cohort_id] = min(number, self._faults.get(report.cohort_id, number))
        self._note([finding])

    def _find(self, kind: Kind, file: str, wrong: str, remedy: str) -> None:
        self._note([Finding(kind, file, wrong, remedy)])

    def _note(self, findings: Iterable[Finding]) -> None:
        """Note findings, once for each file."""
        for finding in findings:
            self._found.setdefault(finding.file, finding)

    @contextlib.contextmanager
    def _warning(self) -> Iterator[None]:
        """Warn of what was found meanwhile."""
        before = len(self._found)
        yield
        warn(self.path, self.findings[before:])


def opened(results: str | Path | ResultsFolder) -> ResultsFolder:
    """Return a results folder as it is now, or as it was when it was opened."""
    return results if isinstance(results, ResultsFolder) else ResultsFolder(results)
