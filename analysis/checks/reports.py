"""Names of the files in a results folder: which are ours, and which reports count."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

COHORT_ID = r"c\d{4,9}-[0-9a-f]{8}"
"""What the id of a cohort looks like. No path can come out of it."""

_COHORT_FILE = re.compile(rf"(?P<cohort_id>{COHORT_ID})\.json", re.ASCII)
_FAILED_FILE = re.compile(rf"(?P<cohort_id>{COHORT_ID})\.failed\.json", re.ASCII)
_REPORT_FILE = re.compile(
    rf"(?P<cohort_id>{COHORT_ID})-(?P<attempt>\d{{3,9}})-(?P<report>\d{{5,9}})(-(?P<last>\d{{5,9}}))?\.parquet",
    re.ASCII,
)


class Report(NamedTuple):
    """One report of one attempt of one cohort, or consecutive ones in one file: a file in each table."""

    cohort_id: str
    attempt: int
    report: int
    """Its number; of several, that of the first."""
    last: int = 0
    """The number of the last one, larger than the first; 0 if there is only one."""

    @property
    def name(self) -> str:
        """Its name in each table, without the ending."""
        last = f"-{self.last:05d}" if self.last else ""
        return f"{self.cohort_id}-{self.attempt:03d}-{self.report:05d}{last}"

    @property
    def numbers(self) -> range:
        """The numbers of the reports in it."""
        return range(self.report, (self.last or self.report) + 1)

    @property
    def is_compacted(self) -> bool:
        """Whether several reports were put into one file."""
        return self.last > 0


def is_cohort_id(text: object) -> bool:
    """Check that this is an id that a cohort can have."""
    return isinstance(text, str) and re.fullmatch(COHORT_ID, text, re.ASCII) is not None


def index_of(cohort_id: str) -> int:
    """Return the number in the id of a cohort."""
    return int(cohort_id[1:].partition("-")[0])


def parse_cohort_file(name: str) -> str | None:
    """Return the cohort whose record a file in `cohorts` is by its name; None for any other file."""
    match = _COHORT_FILE.fullmatch(name)
    return None if match is None else match["cohort_id"]


def parse_failed_file(name: str) -> str | None:
    """Return the cohort whose failure a file in `cohorts` records by its name; None for any other file."""
    match = _FAILED_FILE.fullmatch(name)
    return None if match is None else match["cohort_id"]


def parse_report(name: str) -> Report | None:
    """Return the report that a Parquet file belongs to; None for any other file, e.g. an unfinished one."""
    match = _REPORT_FILE.fullmatch(name)
    if match is None:
        return None
    report = Report(match["cohort_id"], int(match["attempt"]), int(match["report"]), int(match["last"] or 0))
    if match["last"] is not None and report.last <= report.report:
        return None
    # 0001 and 001 would be two files of one report.
    return report if name == f"{report.name}.parquet" else None


def is_foreign(name: str) -> bool:
    """Check that a file that has no name of ours is worth a note: hidden files, and unfinished ones, are not."""
    return not name.startswith((".", "_"))


def counted_reports(reports: Iterable[Report]) -> set[Report]:
    """Return the reports that count: none at or above the first report of a newer attempt of its cohort.

    Reports are compacted once their cohort has ended, so they are all of it, and count alone.

    Args:
        reports: all reports in the table `rows`.
    """
    by_cohort: dict[str, list[Report]] = defaultdict(list)
    for report in reports:
        by_cohort[report.cohort_id].append(report)
    counted: set[Report] = set()
    for of_cohort in by_cohort.values():
        compacted = [report for report in of_cohort if report.is_compacted]
        if compacted:
            counted.add(max(compacted))
            continue
        limit: float = float("inf")
        for attempt in sorted({report.attempt for report in of_cohort}, reverse=True):
            own = [report for report in of_cohort if report.attempt == attempt]
            counted.update(report for report in own if report.report < limit)
            limit = min(limit, *(report.report for report in own))
    return counted


def superseded(
    trials_of: Mapping[str, Collection[str]], with_rows: Callable[[str], Collection[str]]
) -> dict[str, set[str]]:
    """Return cohort id -> its trials that count in another cohort; cohorts without such trials are left out.

    Args:
        trials_of: cohort id -> ids of its trials, the oldest cohort first.
        with_rows: cohort id -> ids of its trials that have rows; called for those that share trials.
    """
    holders: dict[str, list[str]] = defaultdict(list)
    for cohort_id, trial_ids in trials_of.items():
        for trial_id in trial_ids:
            holders[trial_id].append(cohort_id)
    shared = {trial_id: cohort_ids for trial_id, cohort_ids in holders.items() if len(cohort_ids) > 1}
    # In most sweeps no cohorts share a trial, and nothing is read.
    there = {cohort_id: with_rows(cohort_id) for cohort_id in {one for ids in shared.values() for one in ids}}
    elsewhere: dict[str, set[str]] = defaultdict(set)
    for trial_id, cohort_ids in shared.items():
        # Before there are rows anywhere, a trial counts in its newest cohort.
        counting = [cohort_id for cohort_id in cohort_ids if trial_id in there[cohort_id]] or cohort_ids
        for cohort_id in cohort_ids:
            if cohort_id != counting[-1]:
                elsewhere[cohort_id].add(trial_id)
    return dict(elsewhere)


def gaps(counted: Iterable[Report]) -> dict[str, list[range]]:
    """Return cohort id -> numbers of the reports that are missing before its last one; nothing for other cohorts.

    Args:
        counted: the reports that count. Numbers begin at 0 and no attempt leaves one out.
    """
    numbers: dict[str, list[int]] = defaultdict(list)
    for report in counted:
        numbers[report.cohort_id] += report.numbers
    missing: dict[str, list[range]] = {}
    for cohort_id, there in numbers.items():
        ordered = [-1, *sorted(there)]
        ranges = [range(a + 1, b) for a, b in itertools.pairwise(ordered) if b > a + 1]
        if ranges:
            missing[cohort_id] = ranges
    return missing


def before_gap(counted: Iterable[Report]) -> set[Report]:
    """Return the reports with all earlier reports of their cohort: only after one of these can training resume."""
    reports = set(counted)
    missing = gaps(reports)
    return {r for r in reports if r.cohort_id not in missing or r.report < missing[r.cohort_id][0].start}
