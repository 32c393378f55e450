"""`sweep check`, and what the other commands say of a damaged folder."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from analysis.files import Files
from analysis.schema import SCHEMA_VERSION
from sweep.cli import main
from sweep.specification.config import load_specification
from tests.sweep.made_up import finished_sweep


@pytest.fixture(autouse=True)
def _as_in_a_new_process() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A finished sweep with one report in each of two cohorts."""
    config = load_specification("tiny", results=str(tmp_path / "results"))
    finished_sweep(config)
    return Path(config.results_path)


def sweep(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="sweep")


def cut(results: Path) -> Path:
    file = min(results.glob("tables/rows/*.parquet"))
    file.write_bytes(file.read_bytes()[:500])
    return file


def test_a_whole_folder(results: Path) -> None:
    shown = sweep("check", results)
    assert (shown.exit_code, shown.stdout) == (0, f"{results}: nothing is damaged or missing\n")
    assert json.loads(sweep("check", results, "--json").stdout)["faults"] == 0


def test_damage_is_listed_and_set_aside(results: Path) -> None:
    file = cut(results)
    copy = shutil.copy(next(results.glob("cohorts/*.json")), results / "cohorts" / "x (1).json")
    shown = sweep("check", results)
    assert shown.exit_code == 1
    assert f"damaged   tables/rows/{file.name}: it is no readable Parquet file, perhaps cut short; " in shown.stdout
    assert "ignored   cohorts/x (1).json: it has no name of a cohort" in shown.stdout
    assert "1 file damaged or missing" in shown.stdout
    assert shown.stderr == ""
    stated = json.loads(sweep("check", results, "--json").stdout)
    assert (stated["faults"], len(stated["findings"]), stated["set_aside"]) == (1, 2, [])

    repaired = sweep("check", results, "--repair")
    assert f"moved     tables/rows/{file.name} to set-aside/" in repaired.stdout
    assert not file.exists()
    assert (results / "set-aside" / "tables" / "rows" / file.name).exists()
    assert copy.exists()
    assert sweep("check", results).exit_code == 0


@pytest.mark.parametrize("command", ["status", "report"])
def test_commands_say_it_once_and_show_the_rest(results: Path, command: str) -> None:
    file = cut(results)
    shown = sweep(command, results)
    assert shown.exit_code == 0
    (note,) = shown.stderr.splitlines()
    assert note.startswith(f"note: {results}: tables/rows/{file.name}: it is no readable Parquet file")


def test_plan_says_what_is_trained_again(results: Path) -> None:
    file = cut(results)
    shown = sweep("plan", "tiny", "--results", results)
    assert shown.exit_code == 0
    assert file.name in shown.stderr
    assert "damaged or missing in the results folder: 1 file; a run moves" in shown.stdout


def test_a_newer_schema_is_one_line(results: Path) -> None:
    file = results / "sweep.json"
    file.write_text(file.read_text().replace(f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 99'))
    for arguments in (
        ("status", results),
        ("report", results),
        ("check", results),
        ("plan", "tiny", "--results", results),
    ):
        shown = sweep(*arguments)
        assert shown.exit_code == 1
        (line,) = shown.stderr.splitlines()
        assert line.startswith(f"error: {results} was written by a newer version, in results schema 99")


def test_a_report_elsewhere(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Files.write

    def read_only(self: Files, name: str, data: bytes) -> None:
        if self.root == str(results):
            raise PermissionError(13, "Permission denied", name)
        write(self, name, data)

    monkeypatch.setattr(Files, "write", read_only)
    shown = sweep("report", results)
    assert shown.exit_code == 1
    (line,) = shown.stderr.splitlines()
    assert line.endswith("(Permission denied); name another place with --output PATH")
    assert sweep("report", results, "--output", tmp_path / "elsewhere").exit_code == 0
    assert (tmp_path / "elsewhere" / "report.html").exists()
