"""The table files of a results folder that count, as they were when it was opened, also while others compact them.

When the reports of an ended cohort are compacted, the file that takes their place is written first, and they are
deleted afterwards. So a listing may lack files that were deleted meanwhile, and a file may be gone when it is read.
The file that took their place is in every later listing: tables are listed until none has come, and a reader that
misses a file looks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from analysis.checks.findings import KEEP_ELSEWHERE, Finding
from analysis.checks.reports import Report, counted_reports, is_foreign, parse_report
from analysis.files import Files


class TableFile(NamedTuple):
    """A file as it was listed."""

    name: str
    """Relative to the results folder."""
    size_bytes: int


class Compacted(Exception):
    """Files of a cohort were compacted while they were read: what was read of the table must be read anew."""


class Listing:
    """The files of all tables; a table is listed when it is needed.

    Args:
        files: the results folder.
        find: called with a finding for each file that has no name of a report.
    """

    def __init__(self, files: Files, find: Callable[[Finding], None]) -> None:
        self._files, self._find = files, find
        self._counted: set[Report] = set()
        self._cohort_ids: Collection[str] = ()
        self._compacted: dict[str, Report] = {}
        """Cohort -> the reports in one file that are all of it."""
        self._seen: dict[str, int] = {}
        """Cohorts that were compacted since the folder was opened -> the number of reports that they had then."""
        rows = self._list("rows")
        while self._compacted_now() - rows.keys():
            rows = self._list("rows")
        self._tables: dict[str, Mapping[Report, TableFile]] = {"rows": rows}

    def count(self, cohort_ids: Collection[str]) -> set[Report]:
        """Let only these cohorts count, and return their reports that do."""
        self._cohort_ids = cohort_ids
        rows = self._tables["rows"]
        self._counted = {report for report in counted_reports(rows) if report.cohort_id in cohort_ids}
        self._compacted = {report.cohort_id: report for report in self._counted if report.is_compacted}
        return self._counted

    def wanted(self, table: str, cohort_id: str | None = None) -> list[tuple[Report, TableFile]]:
        """Return the files of a table that count, of one cohort or of all, in the order of reports.

        A file system or a bucket lists in an order of its own, and rows must not depend on it.
        """
        listed = self.of(table).items()
        return sorted(
            (report, file)
            for report, file in listed
            if (cohort_id is None or report.cohort_id == cohort_id) and self._counts(report)
        )

    def of(self, table: str) -> Mapping[Report, TableFile]:
        """Return all files of a table, whether or not they count."""
        while table not in self._tables:
            self._tables[table] = self._list(table)
            self.follow()
        return self._tables[table]

    def sizes(self, table: str, report: Report) -> list[int]:
        """Return the bytes of a report's files in a table, of which there may be several if it is compacted."""
        listed = self.of(table)
        if report.is_compacted:
            return [file.size_bytes for of, file in listed.items() if of[:2] == report[:2]]
        return [listed[report].size_bytes] if report in listed else []

    def is_compacted(self, cohort_id: str) -> bool:
        """Return whether a cohort's reports are compacted, as far as it is known."""
        return cohort_id in self._compacted

    def is_replaced(self, report: Report) -> bool:
        """Return whether the files of a report were compacted, by which they do not count any more."""
        compacted = self._compacted.get(report.cohort_id)
        return compacted is not None and report[:2] != compacted[:2]

    def rows_seen(self, report: Report, rows_of_reports: tuple[int, ...]) -> int | None:
        """Return the number of rows in a file whose reports were there when the folder was opened; None for all."""
        seen = self._seen.get(report.cohort_id)
        return None if seen is None else sum(rows_of_reports[: max(0, seen - report.report)])

    def follow(self) -> bool:
        """Look for cohorts that were compacted since the last look; return whether there are some."""
        if all(report.is_compacted for report in self._counted):
            return False
        now = (one for one in self._compacted_now() if one.cohort_id in self._cohort_ids)
        new = {one.cohort_id: one for one in now if self._compacted.get(one.cohort_id) != one}
        for cohort_id in new:
            before = (report for report in self._counted if report.cohort_id == cohort_id)
            count = max((number + 1 for report in before for number in report.numbers), default=0)
            self._seen.setdefault(cohort_id, count)
        self._compacted |= new
        if new:
            self._tables = {}
        return bool(new)

    def _counts(self, report: Report) -> bool:
        compacted = self._compacted.get(report.cohort_id)
        return report in self._counted if compacted is None else report[:2] == compacted[:2]

    def _compacted_now(self) -> set[Report]:
        """Return for each cohort that is compacted now what counts of it."""
        reports = (parse_report(name) for name in self._files.names("tables/rows"))
        return counted_reports(report for report in reports if report is not None and report.is_compacted)

    def _list(self, table: str) -> dict[Report, TableFile]:
        folder = f"tables/{table}"
        files: dict[Report, TableFile] = {}
        for name, size in self._files.sizes(folder).items():
            report = parse_report(name)
            if report is not None:
                files[report] = TableFile(f"{folder}/{name}", size)
            elif is_foreign(name):
                self._find(Finding("ignored", f"{folder}/{name}", "it has no name of a report", KEEP_ELSEWHERE))
        return files
