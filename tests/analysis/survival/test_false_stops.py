from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.survival.blind import blind_logits
from analysis.survival.false_stops import Situation, false_stops
from analysis.survival.observed import Observed


def situation(cell: NDArray[np.intp], ratio: NDArray[np.float64] | None = None, blind: float = 0.0) -> Situation:
    """Trials of cells along one setting."""
    setting = np.linspace(-1, 1, 10)[cell][:, None]
    return Situation(setting, np.zeros(len(cell)) if ratio is None else ratio, cell, np.full(len(cell), blind))


EVERY = np.arange(10)


def test_without_an_audited_trial_it_is_what_a_blind_rule_would_do_and_unsure() -> None:
    none = situation(np.zeros(0, dtype=np.intp))
    said = []
    for blind in (-3.0, 0.0, 3.0):
        told = false_stops(none, np.zeros(0, dtype=bool), situation(EVERY, blind=blind))
        assert (told.sd > 0.1).all()
        said.append(told.probability[0])
    assert said == sorted(said)


def test_many_audited_trials_tell_each_cell_its_own_share() -> None:
    generator = np.random.default_rng(1)
    truth = np.array([0.1, 0.1, 0.5, 0.2, 0.3, 0.1, 0.8, 0.6, 0.7, 0.9])
    cell = np.repeat(EVERY, 300)
    told = false_stops(situation(cell), generator.random(len(cell)) < truth[cell], situation(EVERY))
    assert told.probability == pytest.approx(truth, abs=0.07)
    assert (told.sd < 0.04).all()


def test_few_audited_trials_borrow_from_the_sweep() -> None:
    """Two audited trials in a cell; errors are less than with its own share, and within the stated sd."""
    generator = np.random.default_rng(2)
    truth = 1 / (1 + np.exp(-(-1 + 1.5 * np.linspace(-1, 1, 10))))
    mine, own, inside = [], [], []
    for _ in range(40):
        cell = np.repeat(EVERY, 2)
        grokked = generator.random(20) < truth[cell]
        told = false_stops(situation(cell), grokked, situation(EVERY))
        mine.append(((told.probability - truth) ** 2).mean())
        own.append(((np.bincount(cell, grokked) / 2 - truth) ** 2).mean())
        inside.append(np.abs(told.probability - truth) < 1.96 * told.sd)
    assert np.mean(mine) < 0.4 * np.mean(own)
    assert 0.92 < np.mean(inside) <= 1


def test_later_stops_are_less_often_wrong_if_audited_trials_say_so() -> None:
    ratio = np.linspace(-1, 1, 200)
    grokked = np.random.default_rng(3).random(200) < 1 / (1 + np.exp(3 * ratio))
    cell = np.zeros(200, dtype=np.intp)
    early, late = false_stops(
        situation(cell, ratio), grokked, situation(np.zeros(2, dtype=np.intp), np.array([-1.0, 1.0]))
    ).probability
    assert early > late + 0.4


def test_a_blind_rule_is_extrapolated_from_what_was_seen_before() -> None:
    """Half of the networks grok, at log-normal multiples of their memorisation step, and a rule stops at ten."""
    generator = np.random.default_rng(4)
    n, budget = 4_000, 20_000.0
    memorised = np.exp(generator.normal(5.3, 0.4, n))
    grok = np.where(generator.random(n) < 0.5, memorised * np.exp(generator.normal(2, 0.9, n)), np.inf)
    mark = 10 * memorised
    stopped = grok > mark
    grid = np.array([0.0, *(32 * 1.1 ** np.arange(69))])
    place = np.searchsorted(grid, np.minimum(grok, 20_000))
    trials = Observed(
        after=np.where(stopped, mark, grid[place - 1]),
        at=np.where(stopped, np.inf, grid[place]),
        over=np.zeros(n, dtype=bool),
        stopped=stopped,
        marked=np.zeros(n, dtype=bool),
        mark=np.where(stopped, mark, np.nan),
        followed_probability=np.where(stopped, 0.1, 1.0),
    )
    logits = blind_logits(trials, memorised, np.full(n, budget), np.zeros(n, dtype=np.intp), np.zeros((1, 0)))
    said = 1 / (1 + np.exp(-logits[stopped]))
    assert said.mean() == pytest.approx((grok[stopped] <= budget).mean(), abs=0.05)
    assert (logits[~stopped] == 0).all()
