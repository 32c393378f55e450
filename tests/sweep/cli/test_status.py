"""`sweep status`: how trials stand, which will grok next, and how often the tables are read."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from analysis.results_folder import ResultsFolder
from sweep.cli import main
from tests.analysis.made_up import Fate, trial, write_sweep


def sweep(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="sweep")


def made_up(path: Path) -> str:
    ended = [Fate(outcome="grokked", grok_step=1_000 + 100 * n) for n in range(25)]
    running = [Fate(outcome="running", grok_step=9_000, last_step=600 + 100 * n) for n in range(4)]
    fates = [*running, Fate(outcome="stopped", last_step=1_500), Fate(outcome="failed"), *ended]
    return str(write_sweep(path / "sweep", [(trial(seed), fate) for seed, fate in enumerate(fates)]))


def test_which_trials_will_grok_and_how_long_to_wait(tmp_path: Path) -> None:
    place = made_up(tmp_path)
    answer = sweep("status", place)
    assert answer.exit_code == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert lines[:6] == [
        f"{place}: 31 trials",
        "       4  unfinished",
        "      25  grokked, and followed through the tail",
        "       1  stopped by the rule",
        "       1  failed",
        "25 of 31 trials have grokked, whichever way they ended.",
    ]
    assert lines[6].startswith("4 running trials have not grokked: 4 are likely to grok within the budget, ")
    assert len(lines) == 7 + 3 + 2
    stated = json.loads(sweep("status", place, "--json").stdout)
    ahead = stated["forecast"]
    assert (ahead["running"], ahead["parked"], ahead["memorised"], ahead["likely"]) == (4, 0, 4, 4)
    by_trial = {one["trial_id"]: one for one in stated["by_trial"]}
    assert sum("forecast" in one for one in stated["by_trial"]) == 5  # the stopped one, too
    for line, trial_id in zip(lines[7:10], ahead["next"], strict=True):
        forecast = by_trial[trial_id]["forecast"]
        assert line.startswith(f"  {trial_id}  seed ")
        assert f"half of such trials grok within {forecast['further_steps']:,.0f} more steps" in line
        assert line.endswith("at most")
        assert forecast["wait_s"] == pytest.approx(8 * forecast["further_s"])
        assert forecast["state"] == "unfinished"


def test_the_tables_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, read = made_up(tmp_path), Counter[str]()
    table = ResultsFolder.table

    def counted(folder: ResultsFolder, name: str, *arguments: Any, **options: Any) -> Any:
        read[name] += 1
        return table(folder, name, *arguments, **options)

    monkeypatch.setattr(ResultsFolder, "table", counted)
    assert sweep("status", place).exit_code == 0
    assert read == {"rows": 1, "trials": 1, "decisions": 1}


def test_endings_are_counted_and_failures_named(results: str) -> None:
    answer = sweep("status", results)
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout.splitlines() == [
        f"{results}: 4 trials",
        "       1  grokked, and followed through the tail",
        "       2  budget ended",
        "       1  failed",
        "0 of 4 trials have grokked, whichever way they ended.",
        "1 trial failed: no memory",
        "`sweep run SPEC --retry-failed` tries them again.",
    ]
    stated = json.loads(sweep("status", results, "--json").stdout)
    assert (stated["grokked"], stated["grok_lost"]) == (0, {})
    assert stated["status"] == {"grokked": 1, "budget": 2, "failed": 1}
    assert [trial["ended_reason"] for trial in stated["by_trial"] if trial["status"] == "failed"] == ["no memory"]
