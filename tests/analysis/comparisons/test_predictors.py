"""Which numbers tell how a network generalises: against scipy, and on trials made so that the answer is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.stats import mannwhitneyu, spearmanr

import analysis
from analysis.comparisons.predictors import FEWEST_STEPS, ProbabilitiesSmaller, RankCorrelations
from analysis.errors import AnalysisError
from tests.analysis.made_up import Fate, grid, trial, write_sweep

numbers = st.integers(-5, 5).map(float)


def table(trials: dict[str, tuple[int | None, str, list[tuple[int, float, float | None]]]]) -> pd.DataFrame:
    """Trial -> (memorised from, ended because, its rows of step, validation accuracy, number); the number is both
    complexity and L2 norm, None where it is not measured."""
    rows = [
        {
            "trial_id": name,
            "step": step,
            "train_accuracy": float(memorised is not None and step >= memorised),
            "val_accuracy": accuracy,
            "complexity_bytes": value,
            "l2_norm": -1.0 if value is None else value,
            "ended_because": because,
        }
        for name, (memorised, because, steps) in trials.items()
        for step, accuracy, value in steps
    ]
    return pd.DataFrame(rows)


def value_of(table: pd.DataFrame, question: str, predictor: str = "complexity_bytes") -> tuple[float, int]:
    row = table[(table["question"] == question) & (table["predictor"] == predictor)].iloc[0]
    return float(row["value"]), int(row["trials"])


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    return float(RankCorrelations(x[:, None], y)(np.ones((1, len(x))))[0, 0])


def probability_smaller(x: np.ndarray, outcome: np.ndarray) -> float:
    return float(ProbabilitiesSmaller(x[:, None], outcome)(np.ones((1, len(x))))[0, 0])


@given(st.integers(1, 12).flatmap(lambda n: st.lists(st.tuples(numbers, numbers, st.integers(0, 3)), min_size=n)))
def test_a_resample_given_by_counts_is_that_of_its_values(drawn: list[tuple[float, float, int]]) -> None:
    x, y, times = (np.array(column, dtype=float) for column in zip(*drawn, strict=True))
    assume(times.sum() > 0)
    long_x, long_y = np.repeat(x, times.astype(int)), np.repeat(y, times.astype(int))
    if np.ptp(long_x) and np.ptp(long_y):
        assert RankCorrelations(x[:, None], y)(times[None])[0, 0] == pytest.approx(
            spearmanr(long_x, long_y).statistic, abs=1e-12
        )


def test_an_unknown_number_has_no_correlation() -> None:
    assert math.isnan(rank_correlation(np.array([1.0, math.nan, 2.0]), np.arange(3.0)))
    assert math.isnan(probability_smaller(np.array([1.0, math.nan, 2.0]), np.array([0.0, 1.0, 1.0])))


@given(npst.arrays(float, st.integers(3, 12), elements=numbers), st.data())
def test_the_rank_correlation_is_scipys(x: np.ndarray, data: st.DataObject) -> None:
    y = data.draw(npst.arrays(float, len(x), elements=numbers))
    if np.ptp(x) and np.ptp(y):
        assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
    elif np.ptp(y):
        assert rank_correlation(x, y) == 0
    else:
        assert math.isnan(rank_correlation(x, y))


@given(*[npst.arrays(float, st.integers(1, 9), elements=numbers) for _ in range(2)])
def test_the_probability_is_mann_and_whitneys(yes: np.ndarray, no: np.ndarray) -> None:
    expected = mannwhitneyu(no, yes).statistic / (len(yes) * len(no))
    outcome = np.repeat([1.0, 0.0], [len(yes), len(no)])
    assert probability_smaller(np.concatenate([yes, no]), outcome) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(probability_smaller(yes, np.ones(len(yes))))


def test_within_a_trial_only_measured_steps_from_memorisation_on_count() -> None:
    steps = [(0, 0.9, 1.0), (1, 0.1, 5.0), (2, 0.2, None), (3, 0.3, 3.0), (4, 0.35, 2.0), (5, 0.4, 1.0)]
    still = [(step, 0.5, float(step)) for step in range(9)]
    short = [(step, step / 9, float(step)) for step in range(FEWEST_STEPS - 1)]
    never = [(step, step / 9, float(step)) for step in range(9)]
    frame = table(
        {
            "falls": (1, "budget", steps),
            "accuracy stands still": (0, "budget", still),
            "too short": (0, "budget", short),
            "never memorised": (None, "budget", never),
        }
    )
    assert value_of(analysis.predictors(frame, ["complexity_bytes"]), "within") == (-1.0, 1)


def test_across_trials_the_last_measurement_counts() -> None:
    ends = [(0.1, 30.0), (0.5, 20.0), (0.4, 25.0), (0.9, 40.0)]
    frame = table(
        {
            str(index): (0, "budget", [(0, 0.5, 1.0), (8, accuracy, number), (9, 0.0, None)])
            for index, (accuracy, number) in enumerate(ends)
        }
    )
    expected = spearmanr(*zip(*ends, strict=True)).statistic
    value, trials = value_of(analysis.predictors(frame, ["complexity_bytes"]), "across")
    assert (value, trials) == (pytest.approx(expected), 4)


def test_early_is_asked_of_those_whose_future_is_open_and_known() -> None:
    def steps(early: float, grok: int | None) -> list[tuple[int, float, float | None]]:
        return [(s, float(grok is not None and s >= grok), early if s == 20 else 9.0) for s in range(0, 100, 10)]

    frame = table(
        {
            "will": (10, "grokked", steps(1.0, 50)),
            "will, too": (10, "grokked", steps(3.0, 30)),
            "has": (10, "grokked", steps(100.0, 20)),
            "will not": (10, "budget", steps(2.0, None)),
            "will not either": (10, "diverged", steps(5.0, None)),
            "stopped": (10, "stopped", steps(-1.0, None)),
            "failed": (10, "failed", steps(-1.0, None)),
            "runs": (10, None, steps(-1.0, None)),  # type: ignore[dict-item]
        }
    )
    assert value_of(analysis.predictors(frame, ["complexity_bytes"]), "early") == (3 / 4, 4)


def test_intervals_hold_the_value_and_depend_on_the_seed_alone(tmp_path: Path) -> None:
    fates = [
        (one, Fate(outcome="grokked" if one.weight_decay else "budget", grok_step=1000 + 400 * one.seed))
        for one in grid(weight_decay=(0.0, 1.0), data_fraction=(0.3,), seeds=5)
    ]
    rows = analysis.load(write_sweep(tmp_path / "sweep", fates))
    table = analysis.predictors(rows)
    known = table.dropna()
    assert set(known["question"]) == {"within", "across", "early"}
    assert (known["low"] <= known["value"] + 1e-12).all()
    assert (known["value"] <= known["high"] + 1e-12).all()
    pd.testing.assert_frame_equal(table, analysis.predictors(rows))
    assert value_of(table, "across", "complexity_bytes")[0] < -0.5
    assert value_of(table, "across", "zstd_bytes") == (0, 10)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    rows = analysis.load(write_sweep(tmp_path / "sweep", [(trial(), Fate(outcome="grokked"))]))
    with pytest.raises(AnalysisError, match="width varies"):
        analysis.predictors(pd.concat([rows, rows.assign(trial_id="other", width=7)]))
    with pytest.raises(AnalysisError, match="the columns l2_norm, too"):
        analysis.predictors(rows.drop(columns="l2_norm"))
