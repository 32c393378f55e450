"""What docs/bounds.md shows is run: its Python, its table of sizes, its commands, its list of columns."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from analysis.schema import BOUNDS
from sweep.cli import main
from tests.analysis.made_up import Fate, trial, write_sweep

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "bounds.md").read_text(encoding="utf-8")


def test_its_python_prints_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_hand, sizes, of_a_sweep = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(by_hand, {})
    assert capsys.readouterr().out == "0.8\n"
    exec(sizes, {})
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 5
    assert [row for row in rows if row not in PAGE.splitlines()] == []
    exec(of_a_sweep, {"results": write_sweep(tmp_path / "sweep", [(trial(), Fate(outcome="grokked"))])})
    assert "unseen_error_bound" in capsys.readouterr().out


def test_its_columns_are_those_of_the_schema() -> None:
    assert [f"| `{c.name}` | {c.unit} | {c.meaning} |" for c in BOUNDS] == re.findall(
        r"^\| `\w+` \| [\w/]+ \| .* \|$", PAGE, re.MULTILINE
    )


def test_its_commands_answer_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "data").symlink_to(ROOT / "tests" / "data")
    monkeypatch.chdir(tmp_path)
    console = re.search(r"```console\n(.*?)```", PAGE, re.DOTALL)
    assert console is not None
    commands = re.findall(r"^\$ sweep (.*)$", console[1], re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["measure", "bound"]
    for command in commands:
        answer = CliRunner().invoke(main, shlex.split(command), prog_name="sweep")
        assert answer.exit_code == 0, answer.stderr
    shown = " ".join(console[1].split(commands[-1])[1].split())
    digits = re.compile(r"[\d,.]+")
    assert digits.sub("0", answer.stdout.strip()) == digits.sub("0", shown)
