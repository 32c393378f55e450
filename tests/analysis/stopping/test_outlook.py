from __future__ import annotations

from pathlib import Path

import pytest

import analysis
from analysis.stopping.outlook import NEXT_SHOWN, outlook
from tests.analysis.made_up import Fate, trial, write_sweep


def test_running_trials_are_summed_up_and_the_next_ones_named(tmp_path: Path) -> None:
    ended = [Fate(outcome="grokked", grok_step=1_000 + 100 * n) for n in range(25)]
    running = [Fate(outcome="running", grok_step=9_000, last_step=600 + 100 * n) for n in range(4)]
    young = Fate(outcome="running", memorisation_step=5_000)
    fates = [*running, young, Fate(outcome="stopped", last_step=1_500), *ended]
    path = write_sweep(tmp_path / "sweep", [(trial(seed), fate) for seed, fate in enumerate(fates)])
    frame = analysis.forecasts(analysis.load(path))
    ahead = outlook(frame)
    assert (ahead.running, ahead.parked, ahead.memorised, ahead.likely) == (5, 0, 4, 4)
    alive = frame[frame["state"].eq("unfinished")]
    assert ahead.expected_groks == pytest.approx(alive["chance"].sum())
    assert len(ahead.next) == NEXT_SHOWN
    assert ahead.next["further_steps"].is_monotonic_increasing
    assert ahead.next["further_steps"].iloc[0] == alive["further_steps"].min()
    assert ahead.sentence == (
        "5 running trials have not grokked: 4 are likely to grok within the budget, and about 4 groks can be "
        "expected "
        "in all. 1 of them has not memorised and has no forecast."
    )


def test_nothing_ahead_says_nothing(tmp_path: Path) -> None:
    path = write_sweep(tmp_path / "sweep", [(trial(), Fate(outcome="grokked"))])
    assert outlook(analysis.forecasts(analysis.load(path))).sentence == ""
    young = write_sweep(tmp_path / "young", [(trial(), Fate(outcome="running", memorisation_step=5_000))])
    sentence = outlook(analysis.forecasts(analysis.load(young))).sentence
    assert sentence == "1 running trial has not grokked, nor memorised, so nothing can be forecast yet."
