"""Compaction: the reports of an ended cohort are put into one file in each table, so that readers open few files.

Compaction is an attempt of its own, by rule 4 of `analysis.results_folder`. It can be interrupted anywhere:

1. The checkpoint after the last report is copied under the attempt's number. Nothing refers to it yet.
2. The new files are written, that in `rows` last. As long as it is not there, the old files count.
3. The new files are read back. Now only they count; the old files are left over.
4. The old files are deleted, the last report first: if the new files were damaged before all old ones are gone,
   what is left would be the cohort as it was after some report.

What an interruption leaves is finished by the next run, or by `sweep check --repair`.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from analysis.checks.findings import Damaged, Finding
from analysis.checks.reports import Report, counted_reports, gaps, parse_report
from analysis.checks.tables import ReportTable, read_report_table, sealed
from analysis.files import Files, NotAFile
from analysis.schema import TABLES
from sweep import __version__
from sweep.results import attempts

FEWEST_FILES = 2
"""Files of a cohort in `rows` that are worth compacting."""

MOST_REPORTS = 50_000
"""Reports of one cohort: the number of rows of each is stated in the file's footer, which readers bound."""

FILE_BYTES = 2**27
"""A compacted file of another table than `rows` has about this many bytes at most, a bound on memory; what has more
becomes several files."""

MOST_ROWS_BYTES = 2**28
"""Packed bytes of a cohort's rows beyond which they stay as they are: they must be one file, made in memory."""

_Listed = Mapping[str, Mapping[Report, int]]
"""Table -> report -> bytes of its file."""


def compact(files: Files, cohort_id: str, trial_ids: Collection[str], path: str) -> bool:
    """Put the reports of a cohort into one file in each table, and delete what is left over of an earlier try.

    Nothing happens where trials of the cohort have not ended, or where its files cannot be believed.

    Args:
        files: the results folder.
        cohort_id: the cohort.
        trial_ids: its trials.
        path: the results folder, for messages.

    Returns:
        Whether the cohort is compacted now.

    Raises:
        OSError: the folder cannot be read or written.
        NewerResults: a newer version wrote its files.
    """
    source = _Source(files, cohort_id, trial_ids, path, _listed(files, cohort_id))
    try:
        compacted = source.compacted or source.compact()
        if compacted is None or not source.is_sound(compacted):
            return False
    except (Damaged, FileNotFoundError):
        # It is not for compaction to judge: readers name the damage, and a run trains again what is missing. A file
        # that has gone was compacted by another process.
        return False
    _delete_older(files, cohort_id, compacted.attempt)
    return True


def left_over(files: Files) -> dict[str, list[str]]:
    """Return for each cohort that is compacted the files that its compaction has not deleted yet."""
    listed = {table: _listed_names(files, table) for table in TABLES}
    compacted = {report.cohort_id: report for report in counted_reports(listed["rows"]) if report.is_compacted}
    left: dict[str, list[str]] = {}
    for table, reports in listed.items():
        for report in sorted(reports):
            whole = compacted.get(report.cohort_id)
            if whole is not None and report.attempt < whole.attempt:
                left.setdefault(report.cohort_id, []).append(f"tables/{table}/{report.name}.parquet")
    return left


def left_over_findings(files: Files) -> list[Finding]:
    """Return a finding for each cohort whose compaction was interrupted before all old files were deleted."""
    findings = []
    for names in left_over(files).values():
        others = f" and those of {len(names) - 1:,} more files" if len(names) > 1 else ""
        wrong = f"its rows{others} were compacted into a newer file"
        findings.append(Finding("replaced", names[0], wrong, "`sweep run` and `sweep check --repair` delete them"))
    return findings


def due(files: Files) -> list[str]:
    """Return the cohorts with files that compaction can put together or delete, if they have ended."""
    rows = counted_reports(_listed_names(files, "rows"))
    numbers = Counter(report.cohort_id for report in rows if not report.is_compacted)
    return sorted({*(one for one, number in numbers.items() if number >= FEWEST_FILES), *left_over(files)})


@dataclass(frozen=True, slots=True)
class _Source:
    """The files of a cohort."""

    files: Files
    cohort_id: str
    trial_ids: Collection[str]
    path: str
    listed: _Listed

    @property
    def counted(self) -> list[Report]:
        return sorted(counted_reports(self.listed["rows"]), key=lambda report: report.report)

    @property
    def compacted(self) -> Report | None:
        return next((report for report in self.counted if report.is_compacted), None)

    def read(self, table: str, report: Report, columns: Sequence[str] | None = None) -> ReportTable:
        """Read a file of a table as a whole, or some of its columns.

        Raises:
            Damaged: it cannot be believed, or has no checksum.
        """
        try:
            data = self.files.read(f"tables/{table}/{report.name}.parquet")
        except NotAFile as error:
            raise Damaged(f"it is {error.strerror}") from None
        content = read_report_table(
            data,
            table,
            report,
            columns=[column.name for column in TABLES[table]] if columns is None else columns,
            trial_ids=self.trial_ids,
            path=self.path,
        )
        if not content.is_sealed:
            raise Damaged("it was written without a checksum, and must not get one now")
        return content

    def compact(self) -> Report | None:
        """Write the compacted files; return what counts now, or None where nothing is to be compacted."""
        reports = self.counted
        packed_bytes = sum(self.listed["rows"][report] for report in reports)
        if not FEWEST_FILES <= len(reports) <= MOST_REPORTS or packed_bytes > MOST_ROWS_BYTES or gaps(reports):
            return None
        checkpoint = attempts.newest_checkpoint(self.files, self.cohort_id, reports)
        # Trials that were parked continue from the state after the last report.
        if not self._has_ended(reports) or (checkpoint is not None and checkpoint[1] != reports[-1].report):
            return None
        number = attempts.begin(self.files, self.cohort_id, self._newest() + 1)
        whole = Report(self.cohort_id, number, 0, reports[-1].report)
        written: list[str] = []
        try:
            self._write(whole, reports, checkpoint, written)
        except BaseException:
            # A full disk would otherwise become fuller with each try.
            with contextlib.suppress(OSError):
                for name in reversed(written):
                    self.files.delete(name)
            raise
        return whole

    def _write(
        self, whole: Report, reports: Sequence[Report], checkpoint: tuple[int, int] | None, written: list[str]
    ) -> None:
        """Write the compacted files, that in `rows` last, and add their names to `written` beforehand."""
        if checkpoint is not None:
            state = attempts.read_checkpoint(self.files, attempts.checkpoint_name(self.cohort_id, *checkpoint))
            written.append(attempts.checkpoint_name(self.cohort_id, whole.attempt, whole.last))
            self.files.write(written[-1], state)
        sizes: dict[str, int] = {}
        for table in sorted(TABLES, key=lambda name: name == "rows"):
            for part in self._parts(table, reports):
                target = _spanning(whole, part)
                content = self._content(table, target, part, sizes)
                written.append(f"tables/{table}/{target.name}.parquet")
                self.files.write(written[-1], content)
                sizes[table] = sizes.get(table, 0) + len(content)

    def is_sound(self, compacted: Report) -> bool:
        """Read the compacted files back; return whether all are there.

        Raises:
            Damaged: one of them cannot be believed.
        """
        stated = self.read("rows", compacted, ["trial_id"]).other_tables
        listed = _listed(self.files, self.cohort_id)
        for table, size_bytes in stated.items():
            own = {report: size for report, size in listed[table].items() if report[:2] == compacted[:2]}
            if sum(own.values()) != size_bytes:
                return False
            for report in own:
                self.read(table, report, ["trial_id"])
        return True

    def _has_ended(self, reports: Sequence[Report]) -> bool:
        with_ends = [report for report in reports if report in self.listed["trials"]]
        ended = {
            name for report in with_ends for name in self.read("trials", report, ["trial_id"]).rows[0].to_pylist()
        }
        return ended == set(self.trial_ids)

    def _newest(self) -> int:
        """Return the newest attempt with a file in any table."""
        return max(report.attempt for reports in self.listed.values() for report in reports)

    def _parts(self, table: str, reports: Sequence[Report]) -> Iterator[list[Report]]:
        """Cut reports into parts, each of which becomes a file of bounded size; none for a table without files."""
        sizes = self.listed[table]
        if not any(report in sizes for report in reports):
            return
        part: list[Report] = []
        part_bytes = 0
        for report in reports:
            own_bytes = sizes.get(report, 0)
            if part_bytes and table != "rows" and part_bytes + own_bytes > FILE_BYTES:
                yield part
                part, part_bytes = [], 0
            part.append(report)
            part_bytes += own_bytes
        yield part

    def _content(self, table: str, target: Report, part: Sequence[Report], sizes: Mapping[str, int]) -> bytes:
        """Return the content of the file that takes the place of some reports' files in a table."""
        tables, counts = [], []
        for report in part:
            if report not in self.listed[table]:
                counts.append(0)
                continue
            content = self.read(table, report)
            # What is incomplete now must not be taken for complete later.
            for other, size_bytes in content.other_tables.items():
                if self.listed[other].get(report) != size_bytes:
                    raise Damaged(f"its file in {other} is not the one that was written")
            tables.append(content.rows)
            counts.append(content.rows.num_rows)
        rows = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
        return sealed(rows, target, __version__, sizes if table == "rows" else {}, counts)


def _delete_older(files: Files, cohort_id: str, attempt: int) -> None:
    """Delete the files and checkpoints of attempts before a compaction, in an order that can be cut short."""
    listed = _listed(files, cohort_id)
    older = [report for report in listed["rows"] if report.attempt < attempt]
    counted = counted_reports(older)
    # Those first that other reports keep from counting.
    older.sort(key=lambda report: (report in counted, -report.report))
    rest = {report: None for reports in listed.values() for report in reports if report.attempt < attempt}
    for report in dict.fromkeys([*older, *rest]):
        # A report is gone once its file in `rows` is.
        for table in sorted(TABLES, key=lambda name: name != "rows"):
            if report in listed[table]:
                files.delete(f"tables/{table}/{report.name}.parquet")
    for place in attempts.checkpoints_of(files, cohort_id):
        if place[0] < attempt:
            files.delete(attempts.checkpoint_name(cohort_id, *place))


def _spanning(whole: Report, part: Sequence[Report]) -> Report:
    """Return the name of the file that takes the place of some reports."""
    first, last = part[0].report, part[-1].report
    return whole._replace(report=first, last=last if last > first else 0)


def _listed(files: Files, cohort_id: str) -> _Listed:
    """List the files of a cohort in all tables; rows first, whose file is written last."""
    return {
        table: {
            report: size for report, size in _listed_sizes(files, table).items() if report.cohort_id == cohort_id
        }
        for table in sorted(TABLES, key=lambda name: name != "rows")
    }


def _listed_sizes(files: Files, table: str) -> dict[Report, int]:
    sizes = ((parse_report(name), size) for name, size in files.sizes(f"tables/{table}").items())
    return {report: size for report, size in sizes if report is not None}


def _listed_names(files: Files, table: str) -> list[Report]:
    return list(_listed_sizes(files, table))
