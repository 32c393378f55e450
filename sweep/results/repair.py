"""Setting aside what cannot be believed, so that the next run makes it again. Nothing is deleted.

A file goes to `set-aside/` in the results folder, under the name that it had, so that it can be moved back.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from analysis.checks.findings import FAULTS, SET_ASIDE, Finding
from analysis.checks.reports import Report, counted_reports, parse_cohort_file, parse_report
from analysis.files import Files
from analysis.results_folder import ResultsFolder
from analysis.schema import TABLES
from sweep import __version__
from sweep.results.cohort import UNREADABLE, cohort_from_dict
from trainables.errors import raised

FOLDER = "set-aside"


def unreadable_cohorts(folder: ResultsFolder) -> list[Finding]:
    """Return the records of cohorts that readers can use, and that this version cannot train."""
    findings = []
    for file in folder.cohorts:
        try:
            cohort_from_dict(file.stated)
        except UNREADABLE as error:
            wrong = f"it must be readable by version {__version__} ({raised(error)})"
            findings.append(Finding("damaged", f"cohorts/{file.cohort_id}.json", wrong, SET_ASIDE))
    return findings


def set_aside(files: Files, findings: Iterable[Finding]) -> list[str]:
    """Move damaged files to `set-aside/`; return their names.

    A report is one thing: with a damaged file go its files in all tables, so that a gap remains which readers and
    the next run see. With it go the reports of older attempts that do not count: without the damaged report, which
    had replaced them, they would count again. Reports that were compacted go together, without the files that they
    were compacted from: where these are not deleted yet, they count again. With the record of a cohort go its
    reports.

    Args:
        files: the results folder.
        findings: what is wrong, of any kind.

    Raises:
        OSError: the folder cannot be written.
        LinkRefused: a link in it would lead out of it.
    """
    listed = {table: files.names(f"tables/{table}") for table in TABLES}
    rows = [report for name in listed["rows"] if (report := parse_report(name)) is not None]
    counted = counted_reports(rows)
    compacted = {report[:2] for report in rows if report.is_compacted}
    names: list[str] = []
    reports: set[Report] = set()
    whole: set[tuple[str, int]] = set()
    """Cohort and attempt of what goes as a whole."""
    for finding in findings:
        if finding.kind not in FAULTS:
            continue
        base = PurePosixPath(finding.file).name
        report, cohort_id = parse_report(base), parse_cohort_file(base)
        if report is not None and report[:2] in compacted:
            whole.add(report[:2])
        elif report is not None:
            reports.add(report)
            # Those of older attempts, which the damaged report had replaced.
            reports |= {r for r in rows if r.cohort_id == report.cohort_id and r not in counted}
        elif cohort_id is not None:
            whole |= {r[:2] for r in rows if r.cohort_id == cohort_id}
        # Of a record that is missing there is nothing to move.
        if report is None and finding.kind == "damaged":
            names.append(finding.file)
    # Rows last: a report exists as long as its file in `rows` does, see `analysis.results_folder`.
    for table in sorted(TABLES, key=lambda name: name == "rows"):
        there = ((name, parse_report(name)) for name in sorted(listed[table]))
        own = (name for name, report in there if report is not None and (report in reports or report[:2] in whole))
        names += [f"tables/{table}/{name}" for name in own]
    # What was set aside before stays; a file of the same name gets a number.
    taken = {f"{folder}/{name}" for folder in _folders(names) for name in files.names(f"{FOLDER}/{folder}")}
    for name in names:
        files.move(name, f"{FOLDER}/{_free(name, taken)}")
    return names


def _folders(names: Iterable[str]) -> set[str]:
    return {str(PurePosixPath(name).parent) for name in names}


def _free(name: str, there: set[str]) -> str:
    """Return the name, with a number if a file of that name was set aside before."""
    path, number = PurePosixPath(name), 1
    free = str(path)
    # A file at the top of the folder has the parent `.`.
    while f"{path.parent}/{PurePosixPath(free).name}" in there:
        number += 1
        free = f"{name}.{number}"
    there.add(f"{path.parent}/{PurePosixPath(free).name}")
    return free
