from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from analysis.stopping.calibration import Calibration
from sweep.cli import main

DATA = Path(__file__).parents[3] / "docs" / "data"
MNIST = str(DATA / "tasks" / "mnist")


def calibrate(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["calibrate", *arguments])


def test_what_is_known_already_is_printed() -> None:
    result = calibrate()
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.output.splitlines()]
    assert lines[0] == ["alpha", "loss", "and", "complexity", "loss", "complexity"]
    assert ["0.01", f"{Calibration.load().patience():g}"] in [line[:2] for line in lines]
    assert "from 295 grokkers of 12 recorded sweeps; for a new task an estimate" in result.output


def test_the_table_and_the_counts_are_those_of_the_documentation() -> None:
    page = (DATA.parent / "stopping.md").read_text(encoding="utf-8")
    rows = [line.split() for line in calibrate().output.splitlines()[1:5]]
    assert rows[0][0] == "0.01"
    for row in rows:
        assert f"| {' | '.join(row)} |" in page
    counts = Calibration.load().given_up
    failed = [counts["one hard failure"], counts["two or more hard failures"]]
    assert (
        f"{counts['a grok'].grokked} of {counts['a grok'].trials} in cells with a grok, "
        f"{counts['nothing'].grokked} of {counts['nothing'].trials} where nothing was known of the cell, "
        f"{sum(one.grokked for one in failed)} of {sum(one.trials for one in failed)} after hard failures"
    ) in " ".join(page.split())


def test_a_ledger_begins_with_the_shipped_one_and_grows(tmp_path: Path) -> None:
    ledger = tmp_path / "mine.json"
    assert calibrate("--ledger", str(ledger)).exit_code == 0
    assert Calibration.load(ledger).trials[0].trial_id == Calibration.load().trials[0].trial_id
    shutil.copytree(MNIST, tmp_path / "results")
    for _ in range(2):  # the second time nothing is counted twice
        result = calibrate(str(tmp_path / "results"), "--ledger", str(ledger), "--json")
        assert result.exit_code == 0, result.output
        values = json.loads(result.stdout, parse_constant=pytest.fail)
        assert (values["grokkers"], values["trials"], len(values["sweeps"])) == (295, 742, 12)
        assert values["notes"] == ["results: 8 trials, 4 grokkers"]
    assert "results" in {one.name for one in Calibration.load(ledger).sweeps}
    assert [row["alpha"] for row in values["calibration"]] == [0.01, 0.025, 0.05, 0.1]
    assert values["given_up"]["nothing"]["trials"] > values["given_up"]["nothing"]["grokked"]


def test_weights_for_a_specification() -> None:
    result = calibrate("--for", "paper", "--json")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert 1 < values["weights"]["effective"] < 295
    assert 0 < values["weights"]["covered"] <= 1
    assert "Weighted by the new settings the 295 recorded grokkers are worth" in values["notes"][-1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nowhere",), 1, "no results of a sweep at or below nowhere"),
        (("--for", "nothing"), 2, "nothing"),
        (("--ledger", str(DATA)), 2, "is a directory"),
    ],
)
def test_mistakes_are_one_line(arguments: tuple[str, ...], code: int, message: str) -> None:
    result = calibrate(*arguments)
    assert result.exit_code == code
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_damaged_ledger_is_one_line(tmp_path: Path) -> None:
    ledger = tmp_path / "mine.json"
    ledger.write_text("{")
    result = calibrate("--ledger", str(ledger))
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "is damaged" in result.output
    assert ledger.read_text() == "{"
