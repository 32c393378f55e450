"""The best bound of a sweep as a sentence, and bounds along training as a picture."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.bounds import DELTA
from analysis.bounds.pictures import best_bound, bounds_figure, bounds_sentence, joint_bounds, shown_trials
from analysis.pictures import svg
from tests.analysis.made_up import Fate, grid, trial, usual_fate, write_sweep


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    running = (trial(9, weight_decay=0.1), Fate(outcome="running"))
    fates = [(one, usual_fate(one)) for one in grid(weight_decay=(0.1, 1.0))]
    return write_sweep(tmp_path_factory.mktemp("proven") / "sweep", [*fates, running])


def shorter(path: Path, by: int = 25) -> pd.DataFrame:
    """The table `complexity`, with streams so short that they prove something."""
    measured = analysis.complexity(path)
    return measured.assign(complexity_bytes=measured["complexity_bytes"] // by)


def test_bounds_hold_for_all_training_sets_together(path: Path) -> None:
    ended = analysis.trials(path)
    bounds, draws = joint_bounds(shorter(path), ended)
    assert draws == 2 * 3  # data fractions, seeds; weight decay draws nothing
    assert set(bounds["trial_id"]) == set(ended["trial_id"])  # not the one that runs
    alone = analysis.generalisation_bounds(shorter(path), ended, DELTA / draws)
    pd.testing.assert_frame_equal(bounds, alone[alone["unseen_error_bound"].notna()])


def test_tasks_that_differ_in_any_setting_of_theirs_are_draws_of_their_own(path: Path) -> None:
    ended = analysis.trials(path)
    bits = ended["weight_decay"].map({0.1: 30, 1.0: 40})
    assert joint_bounds(shorter(path), ended.assign(bits=bits))[1] == 2 * joint_bounds(shorter(path), ended)[1]


def test_the_sentence_names_the_lowest_bound_beside_its_rivals(path: Path) -> None:
    bounds, draws = joint_bounds(shorter(path), analysis.trials(path))
    best = best_bound(bounds)
    assert best is not None
    assert best["unseen_error_bound"] == bounds["unseen_error_bound"].min() < best["chance_error"]
    sentence = bounds_sentence(bounds, draws)
    for part in (
        "With probability 0.95 over the draw of 6 training sets",
        f"trial {best['trial_id']} at step {best['step']:,}",
        f"at most {best['unseen_error_bound']:.3f}",
        f"{best['complexity_bytes']:,} bytes",
        "Chance is 0.983",
        "whose bound is 1.000",
    ):
        assert part in sentence


def test_a_sweep_that_proves_nothing_says_so(path: Path) -> None:
    bounds, draws = joint_bounds(analysis.complexity(path), analysis.trials(path))
    assert best_bound(bounds) is None
    assert "is below chance, 0.983; the lowest is 1.000" in bounds_sentence(bounds, draws)
    assert "has ended yet" in bounds_sentence(bounds.iloc[:0], 0)


def test_the_picture_draws_the_lowest_bound_of_all_epsilons(path: Path) -> None:
    measured = shorter(path)
    both = pd.concat(
        [measured.assign(epsilon=0.5, complexity_bytes=2 * measured["complexity_bytes"]), measured],
        ignore_index=True,
    )
    bounds, _ = joint_bounds(both, analysis.trials(path))
    events = analysis.events(analysis.load(path))
    chosen = shown_trials(bounds, events)
    best = best_bound(bounds)
    assert best is not None
    assert chosen[0] == best["trial_id"]
    assert 1 < len(chosen) == len(set(chosen)) <= 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = bounds_figure(bounds, events)
        drawing = svg(figure)
    assert len(figure.axes) == len(chosen)
    bound, errors, chance, table = (line.get_ydata() for line in figure.axes[0].lines)
    of_best = bounds[(bounds["trial_id"] == chosen[0]) & (bounds["epsilon"] == 1)].sort_values("step")
    np.testing.assert_allclose(bound, 100 * of_best["unseen_error_bound"])
    np.testing.assert_allclose(errors, 100 * of_best["unseen_error"])
    assert set(np.asarray(chance)) == {100 * of_best["chance_error"].iloc[0]}
    assert set(np.asarray(table)) == {100.0}
    for words in ("wrong unseen answers (%)", "bound of a look-up table", "Grokked"):
        assert words in drawing


def test_a_trial_without_bounds_is_named(path: Path) -> None:
    bounds, _ = joint_bounds(shorter(path), analysis.trials(path))
    events = analysis.events(analysis.load(path))
    running = trial(9, weight_decay=0.1).trial_id
    with pytest.raises(KeyError, match=f"no bounds of trial {running}"):
        bounds_figure(bounds, events, [running])
