from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sweep.cli import main

DATA = Path(__file__).parents[3] / "docs" / "data"
PARITY = str(DATA / "tasks" / "sparse-parity")
MNIST = str(DATA / "tasks" / "mnist")


def replay(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["replay", *arguments])


def test_the_table_of_a_few_rules() -> None:
    result = replay(
        PARITY, MNIST, "--rule", "decline(patience=10)", "--rule", "stall", "--alpha", "0.1", "--by-sweep"
    )
    assert result.exit_code == 0, result.output
    assert (
        f"{PARITY}: 36 trials in 12 cells, 20 grokked, 16 did not (11 never came near, 3 touched" in result.output
    )
    lines = [line.split() for line in result.output.splitlines() if line.strip().startswith("decline(patience=10)")]
    assert len(lines) == 3  # in all, and for each sweep
    assert "0 of 24" in " ".join(lines[0])


def test_json_has_every_number_and_no_nan() -> None:
    result = replay(MNIST, "--rule", "median", "--rule", "park", "--json", "--signals")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout, parse_constant=pytest.fail)
    assert [rule["rule"] for rule in values["rules"]] == ["median"] + ["park"] * 4
    assert values["rules"][0]["grokkers"] == 4
    assert values["rules"][1]["patience"] is None
    assert {signal["signal"] for signal in values["signals"]} >= {"validation loss", "complexity"}
    assert any("needs 99 grokkers" in note for note in values["notes"])


@pytest.mark.parametrize(("name", "begins"), [("p.png", b"\x89PNG"), ("p.svg", b"<?xml")])
def test_the_picture_is_written(tmp_path: Path, name: str, begins: bytes) -> None:
    file = tmp_path / name
    result = replay(MNIST, "--rule", "decline", "--picture", str(file))
    assert result.exit_code == 0, result.output
    assert file.read_bytes().startswith(begins)


def test_a_function_of_ones_own_is_a_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rules_for_replay.py").write_text("def early(trial):\n    return trial.budget_steps // 10\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    result = replay(MNIST, "--rule", "my_rules_for_replay:early")
    assert result.exit_code == 0, result.output
    assert "4 of 4" in result.output
    result = replay(MNIST, "--rule", "my_rules_for_replay:earliest")
    assert result.exit_code == 2
    assert "must name a function of my_rules_for_replay; did you mean my_rules_for_replay.early?" in result.output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((MNIST, "--rule", "nonsense"), 1, "a rule must be one of decline, stall, park, got 'nonsense'"),
        ((MNIST, "--picture", "p.gif", "--rule", "decline"), 2, "must end in .png or .svg, got p.gif"),
        ((MNIST, "--alpha", "0"), 2, "not in the range"),
        ((), 2, "Missing argument"),
        (("nowhere",), 1, "no results of a sweep at or below nowhere"),
    ],
)
def test_mistakes_are_one_line(arguments: tuple[str, ...], code: int, message: str) -> None:
    result = replay(*arguments)
    assert result.exit_code == code
    assert message in result.output
    assert "Traceback" not in result.output
