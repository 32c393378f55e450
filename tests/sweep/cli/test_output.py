"""What commands print: control characters of names and messages are shown as text, whoever prints them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import sweep.cli
from sweep.cli import main
from tests.sweep.cli.test_networks import file  # noqa: F401

CLI = Path(sweep.cli.__file__).parent


def test_all_text_goes_through_one_function() -> None:
    """`print_json` writes escapes by itself; a job's log is printed as Ray has it."""
    printing = re.compile(r"click\.(secho|echo)\(|(?<!\w)print\(|sys\.std(out|err)\.write")
    places = [
        f"{path.name}: {line.strip()}"
        for path in sorted(CLI.glob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if printing.search(line) and path.name != "output.py"
    ]
    assert len(places) == 1
    assert "jobs.logs(" in places[0]


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_escapes_in_names_of_files(command: str, file: Path) -> None:  # noqa: F811
    """What is read may be called anything; nothing new is called so."""
    network, packed = file.rename(file.with_name("red\x1b[31m.safetensors")), file.with_name("packed.grok")
    arguments = ["compress", str(network), "--output", str(packed), "--epsilon", "1e6"]
    answers = [CliRunner().invoke(main, arguments, prog_name="sweep")]
    if command == "decompress":
        packed = packed.rename(file.with_name("\x1b]0;title\x07.grok"))
        arguments = ["decompress", str(packed), "--output", str(file.with_name("back.safetensors"))]
        answers.append(CliRunner().invoke(main, arguments, prog_name="sweep"))
    refused = CliRunner().invoke(main, [*arguments[:3], str(file.with_name("\x9b2J.new"))], prog_name="sweep")
    assert [answer.exit_code for answer in answers] == [0] * len(answers)
    assert refused.exit_code == 2
    printed = "".join(answer.stdout + answer.stderr for answer in (*answers, refused))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", printed)
    assert "\\x" in printed
