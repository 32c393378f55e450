from __future__ import annotations

import math

import pytest

from analysis.intervals import wilson
from analysis.replay.lanes import alone, unstopped
from analysis.replay.score import score, total
from tests.analysis.replay.made import recording

TRIALS = [
    recording("early", grok=100),  # 200 steps
    recording("late", grok=400, seed=1),  # 800 steps
    recording("hard", seed=2),  # 1000 steps
    recording("near", seed=3, accuracy=0.95),  # 1000 steps
]


def test_shares_and_losses() -> None:
    stop_at = {"late": 300, "hard": 500}
    one = score(TRIALS, alone(lambda trial: stop_at.get(trial.trial_id))(TRIALS, 1), unstopped(TRIALS, 1))
    assert (one.trials, one.grokkers, one.lost) == (4, 2, ("late",))
    assert one.saved == (500 + 500) / 3000
    assert one.of_oracle == 1000 / 2000
    assert one.of_hard_oracle == 1000 / 1000
    assert one.saved_makespan == 1000 / 3000
    assert one.lost_interval == wilson(1, 2)


def test_a_grokker_that_is_stopped_after_its_grok_was_certain_is_not_lost() -> None:
    certain = 400 + 2 * 50
    for step, lost in ((certain - 50, ("late",)), (certain, ())):
        stopped = alone(lambda trial, to={"late": step}: to.get(trial.trial_id))(TRIALS, 2)
        assert score(TRIALS, stopped, unstopped(TRIALS, 2)).lost == lost


def test_scores_of_sweeps_add_up() -> None:
    stop_at = {"hard": 500}
    one = score(TRIALS, alone(lambda trial: stop_at.get(trial.trial_id))(TRIALS, 1), unstopped(TRIALS, 1))
    both = total([one, one])
    assert (both.trials, both.grokkers, both.saved) == (8, 4, one.saved)


def test_there_is_nothing_to_save_where_all_grok() -> None:
    one = score(TRIALS[:2], alone(lambda _: None)(TRIALS[:2], 1), unstopped(TRIALS[:2], 1))
    assert math.isnan(one.of_oracle)
    assert math.isnan(one.of_hard_oracle)
    assert one.saved == pytest.approx(0)
