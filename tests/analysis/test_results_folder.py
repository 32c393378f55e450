"""A damaged file costs only itself, and is named; copies and links do no harm; what is newer is refused."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis.errors import AnalysisError, LinkRefused, NewerResults, OlderResults, ResultsWarning
from analysis.files import Files
from analysis.report import write_report
from analysis.results_folder import ResultsFolder
from analysis.schema import TABLES
from tests.analysis.folder import Folder, row
from trainables.config import TrialConfig

TRIALS = [TrialConfig(seed=seed, steps=100) for seed in range(3)]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Three reports of one cohort, with a step each."""
    made = Folder(tmp_path / "results")
    made.reports(TRIALS, (0, 32, 64), attempt=1, ended={place: [trial] for place, trial in enumerate(TRIALS)})
    return made


def file_of(folder: Folder, report: int, table: str = "rows") -> Path:
    (file,) = folder.path.glob(f"tables/{table}/*-{report:05d}.parquet")
    return file


def said(ask: Callable[[], Any]) -> tuple[Any, list[str]]:
    """An answer, and the warnings about the results folder; there must be no others."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", OlderResults)
        answer = ask()
    assert all(issubclass(warning.category, ResultsWarning) for warning in caught)
    return answer, [str(warning.message) for warning in caught]


def steps(folder: Folder) -> list[int]:
    return sorted(set(analysis.load(folder.path)["step"]))


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "cut short": lambda file: file.write_bytes(file.read_bytes()[:500]),
    "empty": lambda file: file.write_bytes(b""),
    "altered": lambda file: file.write_bytes(file.read_bytes().replace(b"PAR1", b"PAR2", 1)),
    "foreign": lambda file: file.write_bytes(b"PAR1 of something else PAR1"),
    "of another report": lambda file: shutil.copy(file.with_name(file.name.replace("00001.", "00002.")), file),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_costs_only_itself(folder: Folder, damage: str, tmp_path: Path) -> None:
    assert said(lambda: steps(folder)) == ([0, 32, 64], [])
    file = file_of(folder, 1)
    DAMAGE[damage](file)
    rows, of_rows = said(lambda: steps(folder))
    status, of_status = said(lambda: analysis.status(folder.path))
    assert rows == [0, 64]
    assert list(status["status"]) == ["budget"] * 3
    for warning in (*of_rows, *of_status):
        assert f"tables/rows/{file.name}: " in warning
        assert warning.endswith("`sweep run` sets the report aside and trains it again")
    assert len(of_rows) == len(of_status) == 1
    files, warned = said(lambda: write_report(folder.path, tmp_path / "report"))
    assert warned
    assert all(file.name in text for text in warned)
    assert Path(files.report).exists()


@pytest.mark.parametrize("table", ["complexity", "trials"])
def test_damage_in_another_table_leaves_the_rows(folder: Folder, table: str) -> None:
    DAMAGE["cut short"](file_of(folder, 1, table))
    answer, (warning,) = said(lambda: steps(folder))
    assert answer == [0, 32, 64]
    assert f"tables/{table}/" in warning


def test_everything_damaged_is_not_nothing(folder: Folder) -> None:
    for file in folder.path.glob("tables/rows/*"):
        DAMAGE["empty"](file)
    answer, (warning,) = said(lambda: analysis.load(folder.path))
    assert len(answer) == 0
    assert warning.count(".parquet") == 3


def test_many_damaged_files_are_one_warning(folder: Folder) -> None:
    cohort = folder.cohort(1, TRIALS)
    for report in range(9):
        folder.report(cohort, 1, report, rows=[row(TRIALS[0], report)])
        DAMAGE["empty"](folder.path / "tables" / "rows" / f"{cohort}-001-{report:05d}.parquet")
    _, (warning,) = said(lambda: analysis.load(folder.path))
    assert "and 4 more: it is empty" in warning


def test_a_gap_in_the_reports_is_said(folder: Folder) -> None:
    file_of(folder, 1).unlink()
    answer, (warning,) = said(lambda: steps(folder))
    assert answer == [0, 64]
    assert "-*-00001.parquet: this report is not there, although later ones are" in warning
    assert ResultsFolder(folder.path).faults == {"c0000-00000000": 1}


def test_a_cohort_without_its_record_costs_only_its_rows(folder: Folder) -> None:
    other = TrialConfig(seed=9, steps=100)
    cohort = folder.cohort(1, [other])
    folder.report(cohort, 1, 0, rows=[row(other, 0)])
    (folder.path / "cohorts" / "c0000-00000000.json").unlink()
    answer, (warning,) = said(lambda: analysis.load(folder.path))
    assert list(answer["trial_id"]) == [other.trial_id]
    assert "cohorts/c0000-00000000.json: it is not there, so 3 of its reports cannot be read; put" in warning


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"cohort_id": "c0000-00000000"}', '{"cohort_id": "../evil/x", "index": 0, "trials": []}'],
)
def test_a_damaged_record_is_named(folder: Folder, content: str) -> None:
    (folder.path / "cohorts" / "c0000-00000000.json").write_text(content)
    answer, (warning,) = said(lambda: analysis.load(folder.path))
    assert len(answer) == 0
    assert "cohorts/c0000-00000000.json: its " in warning or "cohorts/c0000-00000000.json: it " in warning


def test_a_damaged_failure_is_an_interruption(folder: Folder) -> None:
    folder.fail("c0000-00000000", "no memory")
    (folder.path / "cohorts" / "c0000-00000000.failed.json").write_text('{"reason": 7}')
    answer, (warning,) = said(lambda: analysis.status(folder.path))
    assert "failed" not in set(answer["status"])
    assert "c0000-00000000.failed.json: its reason must be a text, got 7" in warning


def test_copies_are_ignored_and_named(folder: Folder) -> None:
    before = analysis.load(folder.path)
    for file in [*folder.path.glob("cohorts/*.json"), *folder.path.glob("tables/rows/*.parquet")]:
        shutil.copy(file, file.with_name(f"{file.stem} (conflicted copy){file.suffix}"))
        shutil.copy(file, file.with_name(f"{file.stem}.sync-conflict-20260101-120000-ABCDEFG{file.suffix}"))
        shutil.copy(file, file.with_name(f"{file.name}~"))
    answer, warned = said(lambda: analysis.load(folder.path))
    assert before.equals(answer)
    assert len(warned) == 2
    assert all("(conflicted copy)" in text and "it is ignored; delete it" in text for text in warned)


def test_a_newer_schema_is_refused_and_an_older_one_said(folder: Folder) -> None:
    file = folder.path / "sweep.json"
    stated = json.loads(file.read_text())
    file.write_text(json.dumps({**stated, "schema_version": 99, "package_version": "9.0.0"}))
    for ask in (analysis.load, analysis.status, write_report):
        with pytest.raises(NewerResults, match=r"install grokking-sweep >= 9\.0\.0"):
            ask(folder.path)
    file.write_text(json.dumps({**stated, "schema_version": 1}))
    with pytest.warns(OlderResults, match="results schema 1.*it is read"):
        assert len(analysis.load(folder.path)) == 9
    for damaged in ({**stated, "schema_version": "99"}, {"trials": 7}, []):
        file.write_text(json.dumps(damaged))
        answer, (warning,) = said(lambda: analysis.status(folder.path))
        assert len(answer) == 3
        assert "sweep.json: it" in warning


def test_sizes_tell_of_files_that_are_gone(folder: Folder) -> None:
    from analysis.checks.reports import parse_report
    from analysis.checks.tables import sealed
    from analysis.schema import arrow_schema

    file = file_of(folder, 1)
    report = parse_report(file.name)
    assert report is not None
    file.write_bytes(sealed(arrow_schema("rows").empty_table(), report, "0.1.0", {"networks": 10, "complexity": 7}))
    _, warned = said(lambda: ResultsFolder(folder.path).check(["rows"]))
    assert len(warned) == 2
    assert "networks/c0000-00000000-001-00001.parquet: it was written and is not there" in " ".join(warned)
    assert "bytes, and 7 were written" in " ".join(warned)


@pytest.mark.parametrize("place", ["report", "report/report.html", "cohorts/x/y"])
def test_links_are_never_written_through(folder: Folder, place: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    link = folder.path / place
    if place != "report":
        link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside / "precious" if place.endswith("html") else outside)
    with pytest.raises(LinkRefused, match="must be a file or folder of its own"):
        Files(str(folder.path)).write(f"{place}/a" if not place.endswith("html") else place, b"overwritten")
    if place.startswith("report"):
        with pytest.raises(LinkRefused):
            write_report(folder.path)
    assert [(file.name, file.read_text()) for file in outside.iterdir()] == [("precious", "precious")]


def test_a_link_at_the_temporary_name_is_not_followed(tmp_path: Path) -> None:
    import os

    (tmp_path / "results").mkdir()
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "results" / f".file.{os.getpid()}.part").symlink_to(tmp_path / "precious")
    Files(str(tmp_path / "results")).write("file", b"new")
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "results" / "file").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x"])
def test_no_name_leads_out(tmp_path: Path, name: str) -> None:
    (tmp_path / "results").mkdir()
    for ask in (lambda f: f.write(name, b""), lambda f: f.delete(name), lambda f: f.move("a", name)):
        with pytest.raises(LinkRefused):
            ask(Files(str(tmp_path / "results")))
    assert [file.name for file in tmp_path.iterdir()] == ["results"]


def test_a_results_folder_may_itself_be_a_link(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder.path)
    assert Path(write_report(tmp_path / "link").report).exists()


def test_a_report_that_cannot_be_written_says_where_else(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(AnalysisError, match=r"cannot be written to .*Permission denied.*--output PATH"):
        write_report(folder.path)


def test_a_fault_of_the_disk_is_no_damage(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    made = ResultsFolder(folder.path)
    monkeypatch.setattr(Files, "read", refuse)
    with pytest.raises(AnalysisError, match=r"cannot be read: .*Input/output error"):
        made.table("rows", ["trial_id"])
    assert made.findings == []


def test_every_table_of_a_whole_folder_is_checked_without_a_word(folder: Folder) -> None:
    assert said(lambda: ResultsFolder(folder.path).check(TABLES)) == ([], [])


def test_names_that_are_no_text_are_ignored_and_shown_as_text(folder: Folder) -> None:
    (folder.path / "tables" / "rows" / os.fsdecode(b"not \xe9 \x1b[31m.parquet")).touch()
    (folder.path / "tables" / "rows" / "gone.parquet").symlink_to("nowhere")
    answer, warned = said(lambda: steps(folder))
    assert answer == [0, 32, 64]
    (warning,) = warned
    assert "not \\udce9 \\x1b[31m.parquet" in warning
    assert "gone.parquet" in warning
    assert "it has no name of a report; it is ignored" in warning


@pytest.mark.parametrize("kind", ["pipe", "folder"])
@pytest.mark.parametrize("name", ["sweep.json", "cohorts", "tables/rows"])
def test_what_is_no_file_is_not_waited_for(folder: Folder, name: str, kind: str) -> None:
    place = folder.path / name
    if place.is_dir():
        place = sorted(place.iterdir())[-1]
    place.unlink()
    os.mkfifo(place) if kind == "pipe" else place.mkdir()
    answer, warned = said(lambda: steps(folder))
    assert answer == {"sweep.json": [0, 32, 64], "cohorts": [], "tables/rows": [0, 32]}[name]
    assert f"/{place.name}: it is a {kind} in the place of a file" in warned[0].replace(": ", "/", 1)


def test_an_opened_folder_is_read_in_one_state(folder: Folder) -> None:
    opened = ResultsFolder(folder.path)
    folder.report("c0000-00000000", 1, 3, rows=[row(TRIALS[0], 96)])
    assert sorted(set(analysis.load(opened)["step"])) == [0, 32, 64]
    assert steps(folder) == [0, 32, 64, 96]
    assert len(analysis.trials(opened)) == 3
    assert sorted(set(analysis.complexity(opened)["step"])) == [0, 32, 64]
