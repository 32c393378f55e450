"""The command: what it prints, what it exits with, what it does not import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from sweep.cli import main
from sweep.cli.sweeps import _Commands

HEAVY = {"torch", "ray", "pandas", "pyarrow", "matplotlib", "numpy", "pydantic", "ruamel"}


def sweep(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="sweep")


def modules_after(*arguments: str) -> tuple[int, set[str]]:
    """Exit code, and the top-level modules a fresh process has imported at the end of a command."""
    script = (
        "import sys\n"
        "from sweep.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as error: print('\\n', error.code, *{name.split('.')[0] for name in sys.modules})\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    ).stdout
    code, *modules = output.splitlines()[-1].split()
    return int(code), set(modules)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("run", "--help"), ("measure", "--help"), ("--version",)])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    code, modules = modules_after(*arguments)
    assert code == 0
    assert not modules & HEAVY


def test_a_typing_error_is_one_message_and_ray_is_never_started() -> None:
    answer = sweep("run", "quickstart", "--set", "weight_decy=1")
    assert answer.exit_code == 2
    assert answer.stderr == (
        "error: --set weight_decy=1: unknown key 'weight_decy'; did you mean 'weight_decay'?\n"
    )
    code, modules = modules_after("run", "quickstart", "--set", "weight_decy=1")
    assert code == 2
    assert "ray" not in modules


def test_alone_it_says_what_to_do_next() -> None:
    lines = sweep().stdout.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("  sweep")] == [
        ["sweep", "plan"],
        ["sweep", "run"],
        ["sweep", "report"],
    ]


def test_the_module_is_the_command() -> None:
    output = subprocess.run(
        [sys.executable, "-m", "sweep", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[0] for line in output.splitlines() if line.startswith("  ")} >= set(main.commands)
    assert "Usage: sweep [OPTIONS] [COMMAND]" in output


@pytest.mark.parametrize(
    ("command", "form"),
    [
        ("plan", "plan [OPTIONS] SPEC"),
        ("run", "run [OPTIONS] SPEC"),
        ("submit", "submit [OPTIONS] SPEC"),
        ("status", "status [OPTIONS] RESULTS"),
        ("report", "report [OPTIONS] RESULTS"),
        ("decide", "decide [OPTIONS] RESULTS"),
        ("logs", "logs [OPTIONS] RESULTS|JOB"),
        ("stop", "stop [OPTIONS] RESULTS|JOB"),
        ("measure", "measure [OPTIONS] NETWORK"),
        ("bound", "bound [OPTIONS] BITSTREAM"),
        ("compress", "compress [OPTIONS] NETWORK"),
        ("decompress", "decompress [OPTIONS] BITSTREAM"),
    ],
)
def test_the_forms_of_the_commands(command: str, form: str) -> None:
    usage = sweep(command, "--help").stdout
    assert f"Usage: sweep {form}" in usage
    assert ("--json" in usage) is (command != "logs")
    assert ("--set KEY=VALUE" in usage) is ("SPEC" in form)


def test_a_misspelt_command_names_the_nearest() -> None:
    answer = sweep("pln")
    assert answer.exit_code == 2
    assert "Did you mean 'plan'?" in answer.stderr


def test_plan(tmp_path: Path) -> None:
    place = str(tmp_path / "results")
    answer = sweep("plan", "tiny", "--results", place, "--set", "price_per_hour=3", "--set", "seeds=3")
    assert answer.exit_code == 0, answer.stderr
    for part in ("6 asked for, 0 there already, 6 to run", "cohorts", "time      at most", "cost"):
        assert part in answer.stdout
    stated = json.loads(sweep("plan", "tiny", "--results", place, "--json").stdout)
    assert (stated["trials"], stated["to_run"], stated["results"]) == (4, 4, place)
    assert not Path(place).exists()


def test_report(results: str) -> None:
    answer = sweep("report", results)
    assert answer.exit_code == 0, answer.stderr
    assert "Median grok step" in answer.stdout
    assert answer.stdout.splitlines()[-1] == f"report    {results}/report/report.html"
    assert Path(results, "report", "report.html").exists()
    stated = json.loads(sweep("report", results, "--json").stdout)
    assert Path(stated["files"]["map_png"]).exists()
    assert stated["sentence"] in answer.stdout


def test_results_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("results/quickstart").mkdir(parents=True)
    for arguments, message in (
        (("status", "quickstart"), "error: there is no folder quickstart; did you mean results/quickstart?\n"),
        (("report", "results/quikstart"), "did you mean results/quickstart?\n"),
        (("status", "results/quickstart"), "error: no results of a sweep in results/quickstart"),
    ):
        answer = sweep(*arguments)
        assert answer.exit_code == 1
        assert message in answer.stderr
        assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    ("place", "code"), [("s3://", 1), ("foo://bucket/results", 2), ("s3://a bucket/results", 1)]
)
def test_addresses_that_are_none(place: str, code: int) -> None:
    for arguments in (("status", place), ("plan", "tiny", "--results", place)):
        answer = sweep(*arguments)
        assert answer.exit_code == code
        assert answer.stderr.startswith("error: ")
        assert place in answer.stderr


def test_an_empty_place_is_refused() -> None:
    answer = sweep("plan", "tiny", "--results", "")
    assert answer.exit_code == 2
    assert answer.stderr == "error: --results '': results must be a folder or an s3:// address, got an empty text\n"


def test_a_place_relative_to_the_home_folder(results: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path(results).parent))
    assert sweep("status", "~/results").exit_code == 0


def test_interrupted_and_unexpected() -> None:
    group = _Commands("group")

    @group.command()
    def interrupted() -> None:
        raise KeyboardInterrupt

    @group.command()
    def broken() -> None:
        raise ZeroDivisionError

    assert CliRunner().invoke(group, ["interrupted"]).exit_code == 130
    assert isinstance(CliRunner().invoke(group, ["broken"]).exception, ZeroDivisionError)


def test_completion_offers_presets_and_files() -> None:
    (spec,) = (p for p in main.commands["run"].params if isinstance(p, click.Argument))
    with click.Context(main.commands["run"]) as context:
        items = spec.shell_complete(context, "qu")
    assert [(item.type, item.value) for item in items] == [("plain", "quickstart"), ("file", "qu")]


@pytest.mark.parametrize("command", ["logs", "stop"])
def test_no_job_server_is_one_message(command: str) -> None:
    answer = sweep(command, "results/tiny", "--address", "http://127.0.0.1:1")
    assert answer.exit_code == 1
    assert answer.stderr.startswith("error: no job server answers at http://127.0.0.1:1")
    assert len(answer.stderr.splitlines()) == 1
