"""Drift from end to end: what the watch decides in each phase is what the tables say of it afterwards."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.bounds.pictures import joint_bounds
from analysis.cells import sweep_map
from analysis.errors import AnalysisError
from analysis.events import Thresholds, trajectory_events
from analysis.pictures import curves_figure, settings_figure, trajectory_figure
from analysis.report import write_report
from analysis.report.summary import compute, result_sentence, text_map
from analysis.stopping.decline import DeclineParameters
from analysis.trajectory import Trajectory
from sweep.on_ray.runner import run
from sweep.specification.config import SweepConfig
from sweep.training.watch import TrialWatch, decline_seen
from tests.sweep import made_up
from trainables.config import TrialConfig
from trainables.config.drift import Drift
from trainables.measurement import Measurement, TrialHistory

DRIFTING = TrialConfig(steps=2000, drift=Drift.of({992: {"split": 1}}))
EARLY = Thresholds()
HASTY = DeclineParameters(patience=4, memorise_within=0.1, minimum_measurements=2)
AGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 992)


def measurement(phase: int, age: int, train: float, validation: float, complexity: int) -> Measurement:
    start, end = DRIFTING.phases[phase]
    return dataclasses.replace(
        made_up.measurement(DRIFTING, start + age),
        train_accuracy=train,
        val_accuracy=validation,
        complexity_bytes=complexity,
        phase=phase,
        phase_start_step=start,
        phase_end_step=end,
    )


def course(phase: int, memorised: float, grokked: float) -> list[Measurement]:
    """A phase that memorises and groks at these ages, its complexity falling by half with the latter."""
    return [
        measurement(phase, age, float(age >= memorised), float(age >= grokked), 500 if age >= grokked else 1000)
        for age in AGES
    ]


def first_ending(watch: TrialWatch, rows: list[Measurement]) -> tuple[int, str, str] | None:
    for n in range(1, len(rows) + 1):
        ending = watch(TrialHistory(DRIFTING, rows[:n]))
        if ending is not None:
            return rows[n - 1].step, ending.because, ending.reason
    return None


def test_a_grok_ends_a_trial_in_its_last_phase_only() -> None:
    watch = TrialWatch(None, 0.0, EARLY)
    assert first_ending(watch, course(0, 8, 64)) is None
    assert watch.grokked == {DRIFTING.trial_id}
    rows = course(0, 8, 64) + course(1, 8, 64)
    # Past twice its age of 64 and three measurements later: at age 512, not where the trial's steps have doubled.
    assert first_ending(TrialWatch(None, 0.0, EARLY), rows) == (
        992 + 512,
        "grokked",
        "Grokked at step 1,056 and followed to step 1,504.",
    )


def test_the_rule_judges_the_phase_with_its_own_steps() -> None:
    never = math.inf
    stopped = first_ending(TrialWatch(HASTY, 0.0, EARLY), course(0, 8, 16) + course(1, 16, never))
    assert stopped is not None
    step, because, reason = stopped
    assert (step, because) == (992 + 64, "stopped")
    assert "Memorised at step 16 " in reason
    assert reason.endswith(" Steps are those of phase 1, which began at step 992.")
    stopped = first_ending(TrialWatch(HASTY, 0.0, EARLY), course(0, 16, never))
    assert stopped is not None
    assert stopped[0] == 64, "in any phase"


def test_an_audited_trial_is_marked_in_the_phase_in_which_it_would_have_been_stopped() -> None:
    watch = TrialWatch(HASTY, 1.0, EARLY)
    assert first_ending(watch, course(0, 8, 16) + course(1, 16, math.inf)) is None
    assert watch.marked_at_step(DRIFTING.trial_id) == 992 + 64
    assert watch.marked_at_step(DRIFTING.trial_id) is None


def test_a_penalty_at_the_decline_waits_for_one_on_the_present_training_set() -> None:
    declined = decline_seen(EARLY)
    rows = course(0, 8, 64)
    assert declined(TrialHistory(DRIFTING, rows))
    assert not declined(TrialHistory(DRIFTING, [*rows, *course(1, 8, math.inf)]))
    assert declined(TrialHistory(DRIFTING, [*rows, *course(1, 8, 64)]))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four trials modulo 7, two of them with exchanges."""
    path = tmp_path_factory.mktemp("drift") / "results"
    config = SweepConfig(
        name="drift",
        task={"modulus": 7},
        model={"width": 8, "heads": 2},
        drift=[{}, {160: {"family": "subtraction"}, 320: {}}],
        weight_decay=[0, 1],
        data_fraction=0.6,
        learning_rate=1e-2,
        grokked_at=0.5,
        stop="none",
        steps=480,
        results=str(path),
        processes=1,
    )
    run(config)
    return path


def test_online_and_offline_are_one(results: Path) -> None:
    rows, ended = analysis.load(results), analysis.trials(results).set_index("trial_id")
    events = analysis.events(rows)
    assert not events[["trial_id", "phase"]].duplicated().any()
    assert not rows[["trial_id", "step"]].duplicated().any()
    assert set(rows["phase"]) == {0, 1, 2}
    for _, of_trial in events.groupby("trial_id", observed=True):
        last = of_trial.iloc[-1]
        end = ended.loc[last["trial_id"]]
        assert (last["last_step"], last["ended_because"]) == (end["ended_at_step"], end["ended_because"])
        assert set(of_trial["ended_because"].iloc[:-1]) <= {"budget"}
        if end["ended_because"] == "grokked":
            assert end["ended_reason"] == (
                f"Grokked at step {last['grok_step']:,.0f} and followed to step {last['last_step']:,.0f}."
            )
            assert last["tail_complete"]
    for (trial, phase), own in rows.groupby(["trial_id", "phase"], observed=True):
        start = own["phase_start_step"].iloc[0]
        by_hand = trajectory_events(
            Trajectory.of(own["step"] - start, own["train_accuracy"], own["val_accuracy"], own["complexity_bytes"]),
            Thresholds(grokked_at=0.5),
        )
        (row,) = events[(events["trial_id"] == trial) & (events["phase"] == phase)].to_dict("records")
        for name in ("memorisation_step", "grok_step", "decline_onset_step", "complexity_peak_step"):
            expected = getattr(by_hand, name)
            assert row[name] == start + expected if expected is not None else math.isnan(row[name])


def test_nothing_pools_phases(results: Path) -> None:
    rows, planned = analysis.load(results), analysis.status(results)
    events = analysis.events(rows)
    grid = sweep_map(events, planned)
    assert {"drift", "phase"} <= set(grid.columns)
    assert grid["n"].max() == 1
    assert "phase 1" in text_map(grid)
    assert grid.loc[grid["phase"] == 1, "budget_steps"].unique().tolist() == [320]
    sentence = result_sentence(events)
    assert sentence.startswith("Phase 0: ")
    assert " Phase 1: " in sentence
    assert compute(events).steps_run == rows.groupby("trial_id", observed=True)["step"].max().sum()
    with pytest.raises(AnalysisError, match="pool the phases"):
        analysis.paired_arms(rows, {"weight_decay": 0}, {"weight_decay": 1})
    phases = analysis.regimes(rows)
    assert len(phases) == len(events)
    assert "training_phase" in phases.columns
    assert "training_phase" not in analysis.regimes(rows[rows["phase"] == 0]).columns
    advice = analysis.decide(rows)
    assert not advice["trial_id"].duplicated().any()
    _, draws = joint_bounds(analysis.complexity(results), analysis.trials(results))
    assert draws == 1 + 3


def test_rows_that_do_not_say_where_phases_begin_are_refused(results: Path) -> None:
    rows = analysis.load(results, ["train_accuracy", "val_accuracy", "complexity_bytes"])
    with pytest.raises(AnalysisError, match="phase_start_step"):
        analysis.events(rows)


def test_the_settings_say_what_is_exchanged(results: Path) -> None:
    words = sorted(set(analysis.load(results)["drift"]))
    assert words == ["", "160: {family: subtraction}, 320: {}"]
    assert set(analysis.status(results)["drift"]) == set(analysis.trials(results)["drift"]) == set(words)


def test_pictures_and_the_report_show_the_exchanges(results: Path, tmp_path: Path) -> None:
    rows = analysis.load(results)
    drifting = rows[rows["drift"] != ""]
    for figure in (trajectory_figure(drifting), curves_figure(rows), settings_figure(rows)):
        labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
        assert "training set exchanged" in labels
    without = rows[rows["drift"] == ""]
    labels = [text.get_text() for text in trajectory_figure(without).legends[0].get_texts()]
    assert "training set exchanged" not in labels
    page = Path(write_report(results, tmp_path).report).read_text()
    assert "on training set 1" in page


def test_a_phase_by_itself_keeps_its_events(results: Path) -> None:
    rows = analysis.load(results)
    every = analysis.events(rows)
    later = analysis.events(rows[rows["phase"] == 1])
    columns = ["trial_id", "grok_step", "memorisation_step", "last_step", "phase_start_step"]
    expected = every.loc[every["phase"] == 1, columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(later[columns], expected, check_categorical=False)


def test_a_history_knows_its_phase() -> None:
    rows = course(0, 8, 64) + course(1, 8, 64)[:2]
    history = TrialHistory(DRIFTING, rows)
    assert list(history.of_phase) == rows[-2:]
    assert history.in_last_phase
    assert not TrialHistory(DRIFTING, rows[:3]).in_last_phase
    assert TrialHistory(dataclasses.replace(DRIFTING, drift=Drift()), rows[:3]).in_last_phase
