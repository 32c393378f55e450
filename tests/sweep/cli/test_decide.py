"""`sweep decide`: one line a trial, with the reason and what it takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import analysis
from sweep.cli import main
from tests.analysis.made_up import Fate, trial, write_sweep


def sweep(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="sweep")


def test_every_trial_has_its_advice(tmp_path: Path) -> None:
    outcomes = ["running", "stopped", "diverged", *["grokked"] * 3]
    place = str(write_sweep(tmp_path / "sweep", [(trial(n), Fate(outcome=one)) for n, one in enumerate(outcomes)]))
    stated = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    stated["specification"] = {"price_per_hour": 3.6}
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps(stated))
    answer = sweep("decide", place)
    assert answer.exit_code == 0, answer.stderr
    first, total, *lines = answer.stdout.splitlines()
    assert first == f"{place}: 6 trials, 1 to continue, 3 to compress and 2 to abandon"
    assert [line.split()[0] for line in lines] == ["continue", *["compress"] * 3, *["abandon"] * 2]
    assert [line.split(": ")[0].split("  ")[-1] for line in lines] == [f"seed {n}" for n in order(place)]
    advice = analysis.decide(analysis.load(place), price_per_hour=3.6)
    one = advice[advice["action"].eq("continue")].iloc[0]
    assert total == (
        f"To continue all of these takes at most {one['more_steps']:,.0f} more steps ({one['more_s']:,.0f} "
        f"lane-seconds, cost {one['cost']:,.2f})."
    )
    assert one["reason"] in lines[0]
    plain = json.loads(sweep("decide", place, "--json").stdout)
    assert plain["advice"] == {"continue": 1, "compress": 3, "abandon": 2}
    by_trial = {each["trial_id"]: each for each in plain["by_trial"]}
    assert by_trial[one["trial_id"]]["more_steps"] == one["more_steps"]
    assert by_trial[one["trial_id"]]["chance"] == pytest.approx(one["chance"])
    assert by_trial[one["trial_id"]]["settings"] == {"seed": 0}


def order(place: str) -> list[int]:
    """Seeds by action, then by id, as they are printed."""
    rows = analysis.load(place)
    advice = analysis.decide(rows)
    seeds = rows.drop_duplicates("trial_id").set_index("trial_id")["seed"]
    chosen = [advice[advice["action"].eq(name)]["trial_id"] for name in ("continue", "compress", "abandon")]
    return [int(seeds[trial_id]) for each in chosen for trial_id in each]


def test_no_trial_no_advice(tmp_path: Path) -> None:
    place = str(write_sweep(tmp_path / "sweep", [(trial(), Fate(outcome="planned"))]))
    assert sweep("decide", place).stdout == f"{place}: 0 trials\n"
    assert sweep("decide", str(tmp_path)).exit_code == 1
