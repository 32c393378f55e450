"""Intervals against scipy's, and against published ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from analysis import intervals
from analysis.intervals import CONFIDENCE, RESAMPLES, bootstrap, median_interval, paired_difference, wilson


def test_the_bootstrap_is_the_percentile_bootstrap() -> None:
    values = np.random.default_rng(0).exponential(size=40)
    low, high = bootstrap(lambda times: times @ values / 40, 40, np.random.default_rng(1))
    expected = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20 * RESAMPLES, rng=np.random.default_rng(2)
    ).confidence_interval
    width = expected.high - expected.low
    assert low == pytest.approx(expected.low, abs=0.1 * width)
    assert high == pytest.approx(expected.high, abs=0.1 * width)


def test_resamples_are_those_drawn_by_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the same resamples as by indexing, whatever the size of the chunks."""
    values = np.random.default_rng(3).normal(size=23)
    draws = np.random.default_rng(4).integers(23, size=(RESAMPLES, 23))
    expected = np.quantile(np.median(values[draws], axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])

    def median(times: np.ndarray) -> np.ndarray:
        return np.array([np.median(np.repeat(values, row.astype(int))) for row in times])

    for chunk in (23, 100, 1_000_000):
        monkeypatch.setattr(intervals, "_CHUNK_VALUES", chunk)
        assert bootstrap(median, 23, np.random.default_rng(4)) == pytest.approx(expected, abs=0)


def test_resamples_without_a_statistic_are_left_out() -> None:
    low, high = bootstrap(lambda times: np.where(times[:, 0] > 0, 5.0, math.nan), 4, np.random.default_rng(0))
    assert (low, high) == (5, 5)
    nothing = bootstrap(lambda times: np.full(len(times), math.nan), 4, np.random.default_rng(0))
    assert all(math.isnan(end) for end in nothing)


def test_one_value_has_no_interval() -> None:
    assert all(math.isnan(end) for end in bootstrap(lambda times: times[:, 0], 1, np.random.default_rng(0)))


def test_a_paired_difference_has_the_published_interval() -> None:
    # Complete response before and after consolidation therapy (Cavo et al. 2012) as in Fagerland, Lydersen and
    # Laake, Statistical Analysis of Contingency Tables, chapter 8: second less first is 0.0621 (0.0046 to 0.1186).
    assert paired_difference(59, 6, 16, 80) == pytest.approx((0.0046, 0.1186), abs=5e-5)


def test_a_paired_difference_is_that_of_its_mirror_and_stays_in_range() -> None:
    for counts in ((1, 1, 7, 12), (9, 0, 0, 0), (0, 5, 0, 0), (3, 0, 0, 4), (0, 3, 3, 0), (0, 0, 0, 0)):
        both, first, second, neither = counts
        low, high = paired_difference(*counts)
        assert -1 <= low <= (second - first) / max(sum(counts), 1) <= high <= 1
        assert paired_difference(both, second, first, neither) == pytest.approx((-high, -low))
        assert paired_difference(neither, first, second, both) == pytest.approx((low, high))


def test_pairs_that_agree_make_the_interval_narrower() -> None:
    def width(*counts: int) -> float:
        low, high = paired_difference(*counts)
        return high - low

    # 20 of 40 in each: agreeing always, as chance has it, never.
    assert width(20, 0, 0, 20) < width(10, 10, 10, 10) < width(0, 20, 20, 0)
    low, high = wilson(20, 40)
    assert width(10, 10, 10, 10) == pytest.approx(math.sqrt(2) * (high - low))


def test_the_interval_of_a_median_is_that_of_the_sign_test() -> None:
    generator = np.random.default_rng(0)
    for count in (6, 7, 20, 21, 60):
        values = generator.exponential(size=count)
        test = scipy.stats.quantile_test(values, p=0.5)
        assert median_interval(values) == tuple(test.confidence_interval(CONFIDENCE))
    assert median_interval(np.arange(6.0)) == (0, 5)


def test_five_values_are_too_few_for_a_median() -> None:
    for count in range(6):
        assert all(math.isnan(end) for end in median_interval(np.arange(float(count))))
