"""Names in a results folder: ours and no other."""

from __future__ import annotations

import pytest

from analysis.checks.reports import (
    Report,
    before_gap,
    gaps,
    is_cohort_id,
    parse_cohort_file,
    parse_report,
    superseded,
)

COHORT = "c0000-0123abcd"


@pytest.mark.parametrize(
    "name",
    ["", "../evil/x", "c0000-0123abcd/..", "c0000-0123ABCD", "c0000-0123abcd\n", "c١٢٣٤-0123abcd", "c00-0123abcd"],
)
def test_no_path_is_the_id_of_a_cohort(name: str) -> None:
    assert not is_cohort_id(name)
    assert parse_cohort_file(f"{name}.json") is None
    assert parse_report(f"{name}-001-00000.parquet") is None


@pytest.mark.parametrize(
    "copy",
    [
        "{} (conflicted copy)",
        "{} (1)",
        "{}.sync-conflict-20260101-120000-ABCDEFG",
        "{} - Copy",
        "{}~",
        "Copy of {}",
        "{}.orig",
        ".{}.123.part",
    ],
)
def test_copies_are_not_ours(copy: str) -> None:
    report = f"{COHORT}-001-00002"
    assert parse_report(f"{report}.parquet") == Report(COHORT, 1, 2)
    assert parse_cohort_file(f"{COHORT}.json") == COHORT
    assert parse_report(f"{copy.format(report)}.parquet") is None
    assert parse_report(copy.format(f"{report}.parquet")) is None
    assert parse_cohort_file(f"{copy.format(COHORT)}.json") is None
    assert parse_cohort_file(copy.format(f"{COHORT}.json")) is None


def test_a_report_has_one_name() -> None:
    assert parse_report(f"{COHORT}-0001-00002.parquet") is None
    assert parse_report(f"{COHORT}-1000-00002.parquet") == Report(COHORT, 1000, 2)


def test_gaps_are_numbers_below_the_last() -> None:
    def reports(*numbers: int) -> set[Report]:
        return {Report(COHORT, 1, number) for number in numbers}

    assert gaps(reports(0, 1, 2)) == {}
    assert gaps(reports(1, 4)) == {COHORT: [range(1), range(2, 4)]}
    assert before_gap(reports(0, 1, 2)) == reports(0, 1, 2)
    assert before_gap(reports(0, 1, 3)) == reports(0, 1)
    assert before_gap(reports(2)) == set()


def test_a_trial_counts_in_its_newest_cohort_with_rows() -> None:
    rows = {"old": {"a", "b"}, "new": {"b"}, "newest": set[str]()}
    asked: list[str] = []

    def with_rows(cohort_id: str) -> set[str]:
        asked.append(cohort_id)
        return rows[cohort_id]

    trials = {"old": ["a", "b"], "new": ["b", "c"], "newest": ["a", "c"], "alone": ["d"]}
    assert superseded(trials, with_rows) == {"old": {"b"}, "new": {"c"}, "newest": {"a"}}
    assert sorted(asked) == ["new", "newest", "old"]
