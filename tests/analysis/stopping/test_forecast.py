from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.stopping.calibration import Calibration
from analysis.stopping.forecast import ENOUGH, Course, forecast, recorded_courses

NEVER = math.nan

RECORDED = [Course(100, 100.0 * (2 + n), 10_000) for n in range(19)]
"""Grok steps of 2 to 20 memorisation steps."""


def test_the_ends_and_the_half_are_the_right_ones_of_the_recorded() -> None:
    one = forecast(50, 50, 1_000, recorded=RECORDED)
    assert one.trials == 19
    assert one.earliest_step == 50 * 3  # the second of 19: k = .1 x 20
    assert one.latest_step == 50 * 19  # the second last
    assert one.half_step == 50 * 11
    assert one.further_steps == 50 * 10
    assert one.probability == 1
    assert one.sentence == (
        "A grok before step 150 is unlikely, and if it groks, then by step 950; half of such trials have grokked "
        "after 500 more steps (19 trials of recorded sweeps)."
    )


def test_only_trials_that_were_as_old_without_a_grok_count() -> None:
    later = forecast(500, 50, 1_000, recorded=[*RECORDED, Course(NEVER, NEVER, 10_000), Course(100, NEVER, 900)])
    assert later.trials == 10  # those that grokked at 11 to 20 memorisation steps
    assert later.earliest_step == 550
    assert later.half_step == 750


def test_failures_count_with_the_steps_they_were_followed_to() -> None:
    failures = [Course(100, NEVER, 1_500)] * 81
    one = forecast(100, 100, 1_500, recorded=[*RECORDED, *failures])
    assert one.latest_step is None
    assert one.half_step is None
    assert one.probability < 0.5
    assert one.earliest_step == 1_100  # the tenth of a hundred and one: 2 to 15 grokked before the failures ended
    assert "less than half of such trials grok within the budget" in one.sentence
    # Those that were followed less far say less, and not that groks are late or never.
    short = forecast(100, 100, 2_000, recorded=[*RECORDED, *[Course(100, NEVER, 150)] * 81])
    assert short.probability == pytest.approx(1.0)


def test_a_budget_bounds_the_forecast() -> None:
    one = forecast(50, 50, 120, recorded=RECORDED)
    assert (one.earliest_step, one.latest_step, one.half_step) == (120, None, None)
    assert one.probability == pytest.approx(1 / 19)


def test_trials_of_the_same_sweep_are_used_once_there_are_enough() -> None:
    own = [Course(100, 400, 1_000)] * ENOUGH
    assert forecast(50, 50, 1_000, recorded=RECORDED, same_sweep=own[1:]).trials == 19
    one = forecast(50, 50, 1_000, recorded=RECORDED, same_sweep=own)
    assert (one.own_sweep, one.trials, one.half_step) == (True, ENOUGH, 200)
    assert "20 trials of this sweep" in one.sentence


def test_nothing_known_says_nothing() -> None:
    one = forecast(80, 50, 1_000, recorded=[])
    assert (one.earliest_step, one.latest_step, one.half_step, one.probability) == (80, None, None, 0)


def test_running_trials_of_the_same_sweep_keep_groks_from_looking_early() -> None:
    """Plant the trap: a third of the trials run and have not grokked; only early grokkers have ended."""
    random = np.random.default_rng(0)
    grok = 100 * random.uniform(2, 20, 400)
    now = [Course(100, step if step <= 1_400 else NEVER, 1_400) for step in grok]
    honest = forecast(100, 100, 2_000, recorded=[], same_sweep=now)
    naive = forecast(100, 100, 2_000, recorded=[], same_sweep=[one for one in now if one.grok_step <= 1_400])
    assert honest.half_step == pytest.approx(np.median(grok), rel=0.1)
    assert naive.half_step is not None
    assert naive.half_step < 0.75 * np.median(grok)


def test_the_lower_end_holds_as_often_as_promised_for_exchangeable_trials() -> None:
    random = np.random.default_rng(0)
    held, n = 0, 2000
    for _ in range(n):
        grok = 100 * np.exp(random.normal(1.5, 1, 30))
        courses = [Course(100, step if step <= 3_000 else NEVER, 3_000) for step in grok]
        age = 150
        if courses[0].grok_step <= age:
            held += 1
            continue
        one = forecast(age, 100, 3_000, recorded=courses[1:])
        held += not courses[0].grok_step < one.earliest_step
    assert held / n > 0.9 - 2 * math.sqrt(0.09 / n)


def planted(random: np.random.Generator, n: int) -> list[Course]:
    """Make trials that memorise at 100, 70 % of which grok, and that have a budget of 3,000 steps."""
    grok = np.where(random.random(n) < 0.7, 100 * np.exp(random.normal(1.5, 1, n)), np.inf)
    return [Course(100, step if step <= 3_000 else NEVER, 3_000) for step in grok]


@pytest.mark.parametrize("seen", [200, 600, 3_000])
def test_ends_hold_and_the_chance_is_right_while_a_sweep_runs_and_after(seen: int) -> None:
    """Trials are exchangeable with recorded ones; those of the same sweep have been followed to one step only."""
    random = np.random.default_rng(seen)
    early, late, chance, came = [], [], [], []
    for _ in range(600):
        mine, *others = planted(random, 60)
        age = 150
        if mine.grok_step <= age:
            continue
        now = [Course(100, at if at <= seen else NEVER, seen) for at in (other.grok_step for other in others)]
        one = forecast(age, 100, 3_000, recorded=planted(random, 200), same_sweep=now)
        assert one.own_sweep
        early.append(not mine.grok_step < one.earliest_step)
        chance.append(one.probability)
        came.append(not math.isnan(mine.grok_step))
        if one.latest_step is not None and came[-1]:
            late.append(mine.grok_step <= one.latest_step)
    for held in (early, late):
        assert len(held) > 300
        assert np.mean(held) > 0.9 - 3 * math.sqrt(0.09 / len(held))
    assert np.mean(chance) == pytest.approx(np.mean(came), abs=3 * math.sqrt(0.25 / len(came)))


def test_what_a_running_sweep_cannot_know_yet_the_recorded_ones_tell() -> None:
    young = [Course(100, NEVER, 250)] * 30
    one = forecast(200, 100, 2_000, recorded=RECORDED, same_sweep=young)
    assert (one.trials, one.own_until_step) == (30, 250)
    assert one.probability == pytest.approx(1.0)  # all 18 recorded ones that are as old grok
    assert one.half_step == 1_100  # the ninth of those of 3 to 20 memorisation steps
    assert "(30 trials of this sweep to step 250, and recorded ones beyond)" in one.sentence


@given(
    st.lists(st.tuples(st.floats(0, 500), st.floats(1, 5_000) | st.just(NEVER), st.integers(1, 5_000))), st.data()
)
def test_numbers_are_in_order(rows: list[tuple[float, float, int]], data: st.DataObject) -> None:
    courses = [Course(m, g, f) for m, g, f in rows]
    step = data.draw(st.integers(0, 1_000))
    one = forecast(step, data.draw(st.integers(0, step)), 1_000, recorded=courses)
    assert step <= one.earliest_step <= 1_000 or step == 0
    assert 0 <= one.probability <= 1
    for later in (one.latest_step, one.half_step):
        assert later is None or step <= later <= 1_000


@pytest.mark.parametrize(("memorised", "missed"), [(NEVER, 0.1), (600, 0.1), (100, 0), (100, 1)])
def test_impossible_questions_are_refused(memorised: float, missed: float) -> None:
    with pytest.raises(AnalysisError, match=r"memorised by step 500|must lie in"):
        forecast(500, memorised, 1_000, recorded=RECORDED, missed=missed)


def test_the_shipped_ledger_forecasts() -> None:
    courses = recorded_courses(Calibration.load())
    assert len(courses.ratio) == 636  # of 742, those that memorised
    one = forecast(1_000, 300, 10_000, recorded=courses)
    assert one.trials > 100
    assert 1_000 < one.earliest_step < 2_000
