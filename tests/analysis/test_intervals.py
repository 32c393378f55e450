"""Resampling against scipy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from analysis.intervals import RESAMPLES, bootstrap


def test_the_bootstrap_is_the_percentile_bootstrap() -> None:
    values = np.random.default_rng(0).exponential(size=40)
    low, high = bootstrap(lambda x: x.mean(axis=-1), (values,), np.random.default_rng(1))
    expected = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20 * RESAMPLES, rng=np.random.default_rng(2)
    ).confidence_interval
    width = expected.high - expected.low
    assert low == pytest.approx(expected.low, abs=0.1 * width)
    assert high == pytest.approx(expected.high, abs=0.1 * width)


def test_arrays_are_resampled_together() -> None:
    x = np.arange(9.0)
    assert bootstrap(lambda a, b: (a - b).max(axis=-1), (x, x), np.random.default_rng(0)) == (0, 0)


def test_one_value_has_no_interval() -> None:
    assert all(
        math.isnan(end) for end in bootstrap(lambda x: x.mean(axis=-1), (np.ones(1),), np.random.default_rng(0))
    )
