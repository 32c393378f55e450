from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import analysis
from analysis.errors import AnalysisError, ResultsNotFound
from analysis.replay.recordings import recordings, results_below
from analysis.stopping.stall import StallParameters, stalls
from tests.analysis.folder import Folder, end, row
from trainables.config import TrialConfig

DATA = Path(__file__).parents[3] / "docs" / "data"


def test_recordings_are_what_the_tables_say() -> None:
    path = DATA / "tasks" / "digits"
    loaded = recordings([path])
    events = analysis.events(analysis.load(path)).set_index("trial_id")
    assert len(loaded.trials) == len(events)
    assert loaded.left_out == {}
    for trial in loaded.trials:
        event = events.loc[trial.trial_id]
        np.testing.assert_equal(trial.grok_step, event["grok_step"])
        assert trial.steps == event["last_step"]
        assert trial.budget_steps == event["budget_steps"]
        assert trial.sweep == str(path)
    assert len({trial.cell for trial in loaded.trials}) == 18
    assert {name for trial in loaded.trials for name in trial.settings} >= {"weight_decay", "data_fraction"}


def test_counts_of_the_recorded_failures() -> None:
    trials = recordings([DATA / "tasks" / "sparse-parity"]).trials
    failures = [trial for trial in trials if not trial.grokked]
    assert (len(trials), len(failures)) == (36, 16)
    assert sum(trial.is_hard_failure for trial in trials) == 11
    assert sum(trial.is_near_miss for trial in trials) == 3


def test_a_grok_is_certain_at_its_third_evaluation_in_a_row() -> None:
    for trial in recordings([DATA / "tasks" / "permutations"]).trials:
        if trial.confirmed_at is not None:
            at = trial.confirmed_at
            assert (trial.trajectory.val_accuracy[at - 2 : at + 1] >= trial.thresholds.grokked_at).all()
            assert trial.trajectory.step[at - 2] == trial.grok_step


def test_stalls_are_kept_for_each_set_of_parameters() -> None:
    trial = recordings([DATA / "tasks" / "mnist"]).trials[0]
    for parameters in (StallParameters(), StallParameters(signal="complexity"), StallParameters()):
        expected = stalls(trial.trajectory, parameters, trial.thresholds)
        assert trial.stalled(parameters).tolist() == expected.tolist()


def test_a_folder_of_results_stands_for_all_of_them() -> None:
    below = results_below(DATA / "tasks")
    assert [Path(path).name for path in below] == [
        "digits",
        "mnist",
        "permutations",
        "sensitive-groups",
        "sparse-parity",
    ]
    assert set(recordings([DATA / "tasks"]).by_sweep()) == set(below)


def test_trials_whose_training_set_was_exchanged_are_left_out_and_counted() -> None:
    loaded = recordings([DATA / "drift"])
    assert loaded.left_out == {"exchanged their training set": 18}
    assert len(loaded.trials) == 3


def test_a_trial_of_several_sweeps_is_in_the_largest_of_them() -> None:
    loaded = recordings([DATA / "noise", DATA / "paper" / "penalty"])
    assert loaded.left_out == {"are in a larger sweep, too": 6}
    ids = [trial.trial_id for trial in loaded.trials]
    assert len(set(ids)) == len(ids) == 48 + 64 - 6


def test_a_place_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsNotFound, match="no results of a sweep at or below"):
        recordings([tmp_path])


def test_a_sweep_that_was_stopped_cannot_be_replayed(tmp_path: Path) -> None:
    trials = [TrialConfig(seed=seed, steps=500) for seed in range(3)]
    folder = Folder(tmp_path / "sweep")
    cohort = folder.cohort(0, trials)
    rows = [row(trial, step) for trial in trials for step in (0, 100, 200)]
    ends = [end(trial, cohort, because) for trial, because in zip(trials, ("stopped", "diverged"), strict=False)]
    folder.report(cohort, 0, 0, rows=rows, trials=ends)
    with pytest.raises(AnalysisError, match=r"\(1 were stopped, 1 diverged, 1 have not ended\); record"):
        recordings([tmp_path])
