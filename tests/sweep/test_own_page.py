"""What docs/own.md shows is run: the module and its specification by the command, the call in a notebook."""

from __future__ import annotations

import json
import linecache
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import analysis
from sweep.cli import main
from sweep.on_ray.cluster import RaySession
from sweep.training.run_summary import RunSummary

PAGE = (Path(__file__).parents[2] / "docs" / "own.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's files, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for text in (blocks("python")[0], blocks("yaml")[0]):
        place = tmp_path / text.splitlines()[0].removeprefix("# ")
        place.parent.mkdir(exist_ok=True)
        place.write_text(text, encoding="utf-8")
    return tmp_path


def command(*arguments: str) -> Any:
    return CliRunner().invoke(main, arguments, prog_name="sweep")


def test_the_example_is_short() -> None:
    for text in blocks("python"):
        assert len([line for line in text.splitlines() if line.strip()]) < 30


@pytest.mark.slow
def test_the_module_is_planned_and_run_as_the_page_says(lab: Path, ray_session: RaySession) -> None:
    for line in blocks("console")[0].splitlines():
        assert re.match(
            r"\$ sweep (plan|run|submit) digits.yaml --import my_lab.tasks|\$ sweep \w+ results/digits", line
        )
    few = ("--set", "steps=32", "--set", "weight_decay=1", "--set", "model.width=4")
    stated = json.loads(command("plan", "digits.yaml", "--import", "my_lab.tasks", "--json").stdout)
    assert stated["trials"] == 8
    answer = command("run", "digits.yaml", "--import", "my_lab.tasks", *few)
    assert answer.exit_code == 0, answer.output
    rows = analysis.load("results/digits")
    assert set(rows["spectral_entropy_weight"]) == {0.0, 0.1}
    assert set(rows["grokked_at"]) == {0.95}
    trial = rows["trial_id"].iloc[0]
    measured = command("measure", "results/digits", "--trial", trial, "--import", "my_lab.tasks", "--json")
    assert json.loads(measured.stdout)["measurements"][0]["complexity_bytes"] > 0


def test_what_is_refused_is_refused_as_the_page_says(lab: Path) -> None:
    registered = "return nn.Sequential(\n        nn.Conv2d(1, config.width, 3, padding=1),\n"
    text = (lab / "my_lab" / "tasks.py").read_text(encoding="utf-8")
    assert registered in text
    text = text.replace(registered, registered + "        nn.BatchNorm2d(config.width),\n")
    text = text.replace("small-conv", "normalised").replace("my-digits", "my-other-digits")
    (lab / "my_lab" / "normalised.py").write_text(text, encoding="utf-8")
    specification = (lab / "digits.yaml").read_text(encoding="utf-8")
    specification = specification.replace("small-conv", "normalised").replace("my-digits", "my-other-digits")
    (lab / "digits.yaml").write_text(specification, encoding="utf-8")
    shown, *lines = blocks("console")[1].splitlines()
    answer = command(*shown.split()[2:])
    assert answer.exit_code == 2
    assert answer.stderr.splitlines() == lines


def test_the_notebook_runs_as_the_page_says(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = blocks("python")[1]
    assert "steps=2000" in text
    namespace: dict[str, Any] = {"__name__": "__a_notebook__"}
    file = "<ipython-input-of-the-page>"
    text = text.replace("steps=2000", "steps=32")
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    exec(compile(text, file, "exec"), namespace)
    assert isinstance(namespace["summary"], RunSummary)
    assert set(analysis.trials("results/notebook")["seed"]) == {0, 1}
    assert "complexity_bytes" in capsys.readouterr().out
    analysis.grok_map(analysis.events(analysis.load("results/notebook")), x="weight_decay", y="data_fraction")
