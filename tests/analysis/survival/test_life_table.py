from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import beta, binom

from analysis.survival.life_table import BetaProduct, life_table

Floats = NDArray[np.float64]


@st.composite
def followed_trials(draw: st.DrawFn) -> tuple[Floats, Floats, Floats, Floats]:
    n = draw(st.integers(1, 15))

    def numbers(strategy: st.SearchStrategy[float]) -> Floats:
        return np.array(draw(st.lists(strategy, min_size=n, max_size=n)), dtype=float)

    end = numbers(st.integers(1, 9))
    at = np.where(numbers(st.sampled_from([0, 1])) > 0, end, np.inf)
    return at, end, numbers(st.sampled_from([0.5, 1, 2])), np.minimum(numbers(st.integers(-1, 8)), end - 1)


@given(followed_trials())
def test_counts_are_those_of_a_plain_loop(trials: tuple[Floats, Floats, Floats, Floats]) -> None:
    at, end, weight, entry = trials
    table = life_table(at, end, weight, entry)
    survival = 1.0
    for step, events, at_risk, past in zip(table.step, table.events, table.at_risk, table.survival, strict=True):
        risk = sum(w for e, w, b in zip(end, weight, entry, strict=True) if b < step <= e)
        dead = sum(w for t, w in zip(at, weight, strict=True) if t == step)
        assert (events, at_risk) == pytest.approx((dead, risk))
        survival *= 1 - (dead / risk if risk else 0)
        assert past == pytest.approx(survival)


@pytest.mark.parametrize("n", [1, 3, 20])
def test_without_censoring_the_interval_is_clopper_and_pearsons_with_mid_p(n: int) -> None:
    for groks in range(n + 1):
        at = np.where(np.arange(n) < groks, 1 + np.arange(n) // 3, np.inf)
        table = life_table(np.append(at, np.inf), np.full(n + 1, 10.0), np.append(np.ones(n), 0))
        low, high = (ends[-1] for ends in BetaProduct.of(table).interval())
        left = n - groks
        for end, tail in ((low, "above"), (high, "below")):
            if 0 < end < 1:
                half = binom.pmf(left, n, end) / 2
                beyond = binom.sf(left, n, end) if tail == "above" else binom.cdf(left - 1, n, end)
                assert beyond + half == pytest.approx(0.025, abs=1e-8)
        assert low == (0 if left == 0 else pytest.approx(low))
        assert high == (1 if groks == 0 else pytest.approx(high))
        assert beta.ppf(0.025, max(left, 1e-9), groks + 1) <= low + 1e-9  # the exact interval holds it


def test_fewer_at_risk_make_a_wider_interval_and_none_tell_nothing() -> None:
    at, followed = np.array([1.0, np.inf, np.inf, np.inf]), np.array([1.0, 9, 9, 9])
    full = [ends[-1] for ends in BetaProduct.of(life_table(at, followed)).interval()]
    followed = np.array([1.0, 9, 2, 2])
    less = [ends[-1] for ends in BetaProduct.of(life_table(at, followed)).interval()]
    assert less[0] < full[0]
    nobody = life_table(np.append(at, np.inf), np.append(followed, 20.0), np.array([1.0, 1, 1, 1, 0]))
    assert BetaProduct.of(nobody).interval()[0][-1] == 0


def test_variance_of_what_was_estimated_makes_the_interval_wider() -> None:
    table = life_table(np.array([1.0, 1, np.inf, np.inf]), np.full(4, 9.0))
    width = [float(np.diff([ends[-1] for ends in BetaProduct.of(table, v).interval()])[0]) for v in (0, 0.01, 0.1)]
    assert width == sorted(width)
    assert width[0] < width[2] < 1
