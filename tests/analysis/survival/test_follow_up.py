from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analysis.survival.follow_up import LEVEL, cannot_tell_late_from_never, steps_to_tell


def test_a_last_grok_long_before_the_end_tells() -> None:
    grokked = np.array([300.0, 400, 500, 600, 700])
    assert not cannot_tell_late_from_never(grokked, np.full(5, 20_000.0))
    assert cannot_tell_late_from_never(grokked, np.full(5, 750.0))
    assert cannot_tell_late_from_never(grokked, np.full(5, 600.0))


def test_without_a_grok_it_cannot_be_told_and_without_others_it_need_not() -> None:
    assert cannot_tell_late_from_never(np.zeros(0), np.full(20, 20_000.0))
    assert not cannot_tell_late_from_never(np.array([5.0]), np.zeros(0))
    assert math.isnan(steps_to_tell(np.array([400.0, 500.0]), np.array([900.0])))
    assert steps_to_tell(np.array([400.0, 500.0]), np.zeros(0)) == 0


def probability(groks: list[float], others: int, end: float) -> float:
    """The formula of the module's head, term by term."""
    last = max(groks)
    near = [one for one in groks if one > last**2 / end]
    length = max(math.log(last / min(near)), math.log(1.2))
    return (others / (others + len(near) - 2)) ** (others * math.log(end / last) / length) if len(near) > 2 else 1


groks = st.lists(st.integers(2, 5_000), min_size=1, max_size=12)


@given(groks, st.integers(1, 12), st.integers(1, 200_000))
def test_it_is_the_formula(steps: list[int], others: int, end: int) -> None:
    said = cannot_tell_late_from_never(np.array(steps, dtype=float), np.full(others, float(end)))
    assert said == (end <= max(steps) or probability([float(one) for one in steps], others, end) >= LEVEL)


@given(groks, st.integers(1, 12))
def test_the_steps_that_are_said_to_suffice_do(steps: list[int], others: int) -> None:
    grok_step = np.array(steps, dtype=float)
    needed = steps_to_tell(grok_step, np.full(others, 1.0))
    assert math.isnan(needed) == (len(steps) < 3)
    if needed < 1e12:
        assert not cannot_tell_late_from_never(grok_step, np.full(others, needed))
        assert cannot_tell_late_from_never(grok_step, np.full(others, max(0.9 * needed - 1, 1.0)))


def test_the_check_errs_seldom_where_all_would_grok() -> None:
    generator = np.random.default_rng(5)
    said = 0
    for _ in range(500):
        times = np.exp(generator.normal(7, 1, 20))
        end = math.exp(7.3)
        said += not cannot_tell_late_from_never(times[times <= end], np.full(int((times > end).sum()), end))
    assert 0.02 < said / 500 < 0.1
