"""What the pages in docs show is run: Python and commands of docs/complexity.md, the tables of studies."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sweep.cli import main

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "complexity.md").read_text(encoding="utf-8")


def test_the_digits_are_measured_as_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    training, measuring, other_loss = blocks
    assert len(measuring.strip().splitlines()) <= 7  # an import, an empty line, five lines
    exec(training, namespace)
    exec(measuring, namespace)
    printed = capsys.readouterr().out
    printed_rows = re.findall(r"^([\d.]+) nats: ([\d,]+) bytes, (0\.\d+) right$", printed, re.MULTILINE)
    assert [epsilon for epsilon, _, _ in printed_rows] == ["1", "0.125"]
    loose, tight = (int(size.replace(",", "")) for _, size, _ in printed_rows)
    assert 100 < loose < tight < 39_720 / 20
    assert float(printed_rows[1][2]) > 0.8
    exec(other_loss, namespace)
    assert namespace["result"].loss_increase <= 0.05


def test_the_commands_run_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "data").symlink_to(ROOT / "tests" / "data")
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^\$ sweep (.*)\n(.*)$", PAGE, re.MULTILINE)
    assert [line.split()[0] for line, _ in commands] == [
        "measure",
        "measure",
        "decompress",
        "compress",
        "decompress",
    ]
    for line, first_line in commands:
        answer = CliRunner().invoke(main, shlex.split(line), prog_name="sweep")
        assert answer.exit_code == 0, answer.stderr
        digits = re.compile(r"[\d,.]+")
        assert digits.sub("0", answer.stdout.splitlines()[0]) == digits.sub("0", first_line)
    again, decoded = (Path(name).with_suffix(".safetensors").read_bytes() for name in ("again", "decoded"))
    assert len(again) > len(decoded)  # it describes the network, too


@pytest.mark.parametrize(
    ("study", "count"), [("drift", 3), ("label_noise", 1), ("paper", 4), ("tasks", 7), ("regulariser", 5)]
)
def test_the_tables_of_a_study_are_what_its_parquet_says(
    study: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    page = (ROOT / "docs" / f"{study}.md").read_text(encoding="utf-8")
    tables = runpy.run_path(str(ROOT / "benchmarks" / f"{study}.py"))["tables"]()
    assert len(tables) == count
    for title, table in tables.items():
        assert f"<!-- {title} -->\n\n{table}\n\n" in page, f"write it again: python benchmarks/{study}.py --write"


def test_every_page_is_in_the_index_and_every_link_leads_to_a_file() -> None:
    pages = sorted((ROOT / "docs").glob("*.md"))
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert [page.name for page in pages if page.name != "index.md" and f"]({page.name})" not in index] == []
    links = [
        (page, link)
        for page in (ROOT / "README.md", *pages)
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    ]
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_the_arms_of_a_study_are_compared_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "regulariser").symlink_to(ROOT / "docs" / "data" / "regulariser")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "regulariser.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(block, {})
    printed = capsys.readouterr().out
    assert printed.count("grok_step") == 3
