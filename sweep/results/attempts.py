"""Attempts at a cohort, and the files that belong to them: marks, reports and checkpoints by name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from analysis.checks.reports import (
    Report,
    before_gap,
    counted_reports,
    index_of,
    parse_cohort_file,
    parse_report,
)
from analysis.files import Files, NotAFile
from analysis.schema import TABLES


@dataclass(frozen=True, slots=True)
class Attempt:
    """One process's turn at a cohort."""

    number: int
    next_report: int
    """Number of the first report that it will write."""
    checkpoint: bytes | None
    """The state to resume from; None: from the beginning."""
    checkpoint_name: str | None = field(default=None, compare=False)
    """The file of that state, for `Store.set_aside`."""


def begin(files: Files, cohort_id: str, at_least: int) -> int:
    """Return the number of an attempt that no other process has, and mark it as taken.

    Otherwise two processes that have not reported yet would share a number and overwrite each other's reports.
    In a bucket this may still happen if they begin at the same instant.
    """
    pattern = re.compile(rf"{re.escape(cohort_id)}-(\d+)\.begun")
    begun = (pattern.fullmatch(name) for name in files.names("checkpoints"))
    number = max([at_least, *(int(match[1]) + 1 for match in begun if match is not None)])
    while True:
        name = f"checkpoints/{cohort_id}-{number:03d}.begun"
        # pyarrow cannot ask a bucket to write only what is not there yet.
        if not files.is_local:
            files.write(name, b"")
            return number
        mark = files.own_place(name)
        files.make_folder(mark.parent)
        try:
            # The file system lets one process make the file, and fails for all others.
            mark.touch(exist_ok=False)
        except FileExistsError:
            number += 1
            continue
        return number


def claim(files: Files, cohort_id: str) -> Attempt:
    """Begin a new attempt at a cohort, from its newest checkpoint whose report, like all before it, counts."""
    reports = {table: reports_of(files, table, cohort_id) for table in TABLES}
    # Of all tables: an attempt that died before its first file in `rows` may have left files in the others.
    newest = max((report.attempt for numbered in reports.values() for report in numbered), default=0)
    number = begin(files, cohort_id, newest + 1)
    place = newest_checkpoint(files, cohort_id, reports["rows"])
    if place is None:
        return Attempt(number, 0, None)
    name = checkpoint_name(cohort_id, *place)
    return Attempt(number, place[1] + 1, read_checkpoint(files, name), name)


def next_index(files: Files) -> int:
    """Return the index of the next new cohort: above all that have left a record or a report."""
    # Also by reports, whose cohort may have lost its record: by rule 3 of `analysis.results_folder` the larger
    # index wins, so none may be given twice.
    recorded = (parse_cohort_file(name) for name in files.names("cohorts"))
    reported = (parse_report(name) for name in files.names("tables/rows"))
    ids = {*recorded, *(report.cohort_id for report in reported if report is not None)}
    return max((index_of(cohort_id) for cohort_id in ids if cohort_id is not None), default=-1) + 1


def reports_of(files: Files, table: str, cohort_id: str) -> list[Report]:
    """List the reports of a cohort that have a file in a table."""
    reports = (parse_report(name) for name in files.names(f"tables/{table}"))
    return [report for report in reports if report is not None and report.cohort_id == cohort_id]


def checkpoints_of(files: Files, cohort_id: str) -> list[tuple[int, int]]:
    """Return the attempts and reports of a cohort after which there is a checkpoint, ascending."""
    pattern = re.compile(rf"{re.escape(cohort_id)}-(\d+)-(\d+)\.safetensors")
    matches = (pattern.fullmatch(name) for name in files.names("checkpoints"))
    return sorted((int(match[1]), int(match[2])) for match in matches if match is not None)


def newest_checkpoint(files: Files, cohort_id: str, rows: Iterable[Report]) -> tuple[int, int] | None:
    """Return attempt and report of the newest checkpoint whose report, like all before it, counts.

    After a gap, reports count but nothing resumes from them: the missing one is trained again.

    Args:
        files: the results folder.
        cohort_id: the cohort.
        rows: its reports in the table `rows`.
    """
    ends = {(report.attempt, report.numbers[-1]) for report in before_gap(counted_reports(rows))}
    places = (place for place in checkpoints_of(files, cohort_id) if place in ends)
    return max(places, key=lambda place: place[1], default=None)


def checkpoint_name(cohort_id: str, attempt: int, report: int) -> str:
    """Return the name of the checkpoint after a report."""
    return f"checkpoints/{Report(cohort_id, attempt, report).name}.safetensors"


def read_checkpoint(files: Files, name: str) -> bytes:
    """Return the content of a checkpoint; empty, which is damaged, if it is no regular file."""
    try:
        return files.read(name)
    except NotAFile:
        return b""
