"""Forecasts of a whole results folder: real Parquet, loaded as everyone does."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.errors import AnalysisError
from analysis.stopping.calibration import Calibration
from analysis.stopping.evidence import Evidence
from analysis.stopping.forecast import forecast, recorded_courses
from analysis.stopping.forecasts import COLUMNS
from analysis.stopping.parking import ParkingParameters
from tests.analysis.folder import Folder, end, row
from tests.analysis.made_up import Fate, grid, trial, write_sweep

RULE = ParkingParameters(patience=0.2).name
STEPS = (0, 100, 200, 300, 400, 600, 800)


def sweep_of(path: Path, fates: list[Fate]) -> pd.DataFrame:
    return analysis.load(
        write_sweep(path, list(zip([trial(seed) for seed in range(len(fates))], fates, strict=True)))
    )


def test_a_trial_of_a_young_sweep_is_forecast_from_recorded_ones(tmp_path: Path) -> None:
    outcomes = ("running", "planned", "grokked", "failed", "never", "diverged", "budget")
    rows = sweep_of(tmp_path / "sweep", [Fate(outcome=name, grok_step=4_000) for name in outcomes])
    frame = analysis.forecasts(rows.sample(frac=1, random_state=0), price_per_hour=3.6)
    assert list(frame.columns[: len(COLUMNS) + 1]) == ["trial_id", *COLUMNS]
    assert "weight_decay" in frame.columns
    (one,) = frame.to_dict("records")
    stated = forecast(700, one["memorisation_step"], 20_000, recorded=recorded_courses(Calibration.load()))
    assert (one["state"], one["own_sweep"], one["trials"]) == ("unfinished", False, stated.trials)
    assert (one["last_step"], one["budget_steps"]) == (700, 20_000)
    assert one["earliest_step"] == stated.earliest_step
    assert one["chance"] == stated.probability
    # Fewer than half of the recorded trials as old have grokked, so no step is stated by which half have.
    assert stated.half_step is None
    assert all(math.isnan(one[name]) for name in ("half_step", "further_steps", "wait_s", "further_cost"))
    assert math.isnan(analysis.forecasts(rows)["further_cost"].item())


def test_its_own_sweep_tells_once_twenty_were_as_old(tmp_path: Path) -> None:
    ended = [Fate(outcome="grokked", grok_step=1_000 + 100 * n) for n in range(25)]
    running = Fate(outcome="running", grok_step=4_000)
    rows = sweep_of(tmp_path / "sweep", [running, *ended])
    (one,) = analysis.forecasts(rows).to_dict("records")
    assert (one["own_sweep"], one["trials"]) == (True, 25)
    groks = analysis.events(rows)["grok_step"].dropna()
    assert one["half_step"] == pytest.approx(groks.median(), rel=0.2)


def test_what_the_rule_has_stopped_does_not_grok_in_this_sweep(tmp_path: Path) -> None:
    """Of a trial that runs half of its like were stopped; one that was stopped asks recorded sweeps."""
    ended = [Fate(outcome="grokked", grok_step=3_000 + 100 * n) for n in range(20)]
    stopped = [Fate(outcome="stopped", last_step=1_500) for _ in range(20)]
    rows = sweep_of(tmp_path / "sweep", [Fate(outcome="running", grok_step=4_000), *ended, *stopped])
    frame = analysis.forecasts(rows).set_index("state")
    assert frame.loc["unfinished", "chance"] == pytest.approx(0.5, abs=0.05)
    assert len(frame.loc["stopped"]) == 20
    assert not frame.loc["stopped", "own_sweep"].any()
    recorded = recorded_courses(Calibration.load())
    for one in frame.loc["stopped"].to_dict("records"):
        alike = forecast(1_500, one["memorisation_step"], 20_000, recorded=recorded)
        assert one["chance"] == alike.probability


def test_a_trial_that_has_not_memorised_has_no_forecast(tmp_path: Path) -> None:
    rows = sweep_of(tmp_path / "sweep", [Fate(outcome="running", memorisation_step=5_000)])
    (one,) = analysis.forecasts(rows).to_dict("records")
    assert one["state"] == "unfinished"
    assert all(math.isnan(one[name]) for name in ("memorisation_step", "chance", "half_step", "trials", "wait_s"))


@pytest.fixture
def parked(tmp_path: Path) -> pd.DataFrame:
    """Trials under the parking rule: one runs, one waits, one waits given up, one was resumed, one has ended."""
    trials = [trial(seed, steps=8_000) for seed in range(5)]
    folder = Folder(tmp_path / "parked")
    folder.request(trials)
    cohort = folder.cohort(0, trials)
    file = folder.path / "cohorts" / f"{cohort}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"stop_rule": RULE}))
    rows = [
        row(one, step, train_accuracy=1.0 if step >= 100 else 0.0, train_wall_s=0.01 * step)
        for one in trials
        for step in STEPS
    ]

    def decided(seed: int, step: int, decision: str, failed: int = 0) -> dict[str, object]:
        stated = {"stalled_since_step": None, "loss_change": None, "complexity_change": None}
        key = {"trial_id": trials[seed].trial_id, "step": step, "decision": decision}
        return {**key, **stated, "cell_grokked": 0, "cell_failed": failed, "patience": 0.2}

    decisions = [
        decided(1, 800, "parked"),
        decided(2, 600, "parked"),
        decided(2, 600, "resumed"),
        decided(2, 800, "given up", failed=1),
        decided(3, 600, "parked"),  # it has been trained since then
        decided(4, 800, "given up"),
    ]
    ended = end(trials[4], cohort, "stopped", stop_rule=RULE, ended_at_step=800, stop_probability=0.01, parked=True)
    folder.report(cohort, 0, 0, rows=rows, decisions=decisions, trials=[ended])
    return analysis.load(folder.path)


def test_parked_trials_are_told_apart_and_have_the_rules_chance(parked: pd.DataFrame) -> None:
    by_seed = analysis.forecasts(parked).set_index("seed").sort_index()
    assert by_seed["state"].tolist() == ["unfinished", "parked", "parked", "unfinished", "stopped"]
    given_up = Calibration.load().probability_of_grok(Evidence(0, 1))
    assert by_seed["chance"].tolist()[2:] == [given_up, by_seed.loc[3, "chance"], 0.01]
    assert by_seed.loc[0, "chance"] == by_seed.loc[1, "chance"] > given_up
    # Whatever is not likely has no latest end, and the rule's word counts.
    assert by_seed.loc[[2, 4], ["latest_step", "half_step"]].isna().all(axis=None)
    assert by_seed.loc[[1, 2, 4], "wait_s"].isna().all()
    assert parked.groupby("seed")["parked"].first().tolist() == [False, True, True, False, True]


def test_each_phase_of_drift_counts_its_own_steps(tmp_path: Path) -> None:
    rows = sweep_of(tmp_path / "sweep", [Fate(outcome="running", grok_step=4_000)])
    second = rows.assign(phase=1, phase_start_step=20_000, phase_end_step=40_000, step=rows["step"] + 20_000)
    whole = analysis.forecasts(rows).iloc[0]
    both = analysis.forecasts(pd.concat([rows.assign(phase_end_step=20_000), second])).iloc[0]
    for name in ("earliest_step", "half_step", "last_step", "memorisation_step", "budget_steps"):
        assert both[name] == whole[name] + 20_000 or (np.isnan(both[name]) and np.isnan(whole[name]))
    assert both["chance"] == whole["chance"]


def test_missing_columns_are_named_and_no_rows_give_no_forecasts(tmp_path: Path) -> None:
    rows = analysis.load(write_sweep(tmp_path / "sweep", [(one, Fate(outcome="running")) for one in grid(seeds=1)]))
    with pytest.raises(AnalysisError, match="ended_because missing"):
        analysis.forecasts(rows.drop(columns="ended_because"))
    few = rows[["trial_id", "step", "train_accuracy", "val_accuracy", "budget_steps", "ended_because"]]
    assert analysis.forecasts(few)["chance"].notna().all()
    assert list(analysis.forecasts(few.iloc[:0]).columns) == ["trial_id", *COLUMNS]
