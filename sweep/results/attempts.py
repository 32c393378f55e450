"""Attempts at a cohort, and the files that belong to them: marks, reports and checkpoints by name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from analysis.checks.reports import Report, parse_report
from analysis.files import Files


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


def reports_of(files: Files, table: str, cohort_id: str) -> list[Report]:
    """List the reports of a cohort that have a file in a table."""
    reports = (parse_report(name) for name in files.names(f"tables/{table}"))
    return [report for report in reports if report is not None and report.cohort_id == cohort_id]


def checkpoints_of(files: Files, cohort_id: str) -> list[tuple[int, int]]:
    """Return the attempts and reports of a cohort after which there is a checkpoint, ascending."""
    pattern = re.compile(rf"{re.escape(cohort_id)}-(\d+)-(\d+)\.safetensors")
    matches = (pattern.fullmatch(name) for name in files.names("checkpoints"))
    return sorted((int(match[1]), int(match[2])) for match in matches if match is not None)


def checkpoint_name(cohort_id: str, attempt: int, report: int) -> str:
    """Return the name of the checkpoint after a report."""
    return f"checkpoints/{Report(cohort_id, attempt, report).name}.safetensors"
