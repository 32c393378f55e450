"""Schedules of evaluation and measuring."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.errors import ConfigError
from trainables.schedule import (
    BLOCK_STEPS,
    PROLOGUE_STEPS,
    MeasuringConfig,
    evaluated_steps,
    measured_steps,
)

RATIOS = st.floats(1.05, 4)


@given(budget=st.integers(1, 100_000), evaluate=RATIOS, measure=RATIOS)
def test_schedules_start_at_0_end_at_the_budget_and_keep_to_blocks(
    budget: int, evaluate: float, measure: float
) -> None:
    config = MeasuringConfig(evaluate_ratio=evaluate, measure_ratio=measure)
    evaluated, measured = evaluated_steps(config, budget), measured_steps(config, budget)
    for steps in (evaluated, measured):
        assert steps[0] == 0
        assert steps[-1] == budget
        assert list(steps) == sorted(set(steps))
        assert all(step % BLOCK_STEPS == 0 for step in steps[:-1] if step > PROLOGUE_STEPS)
    assert set(measured) <= set(evaluated)


@given(short=st.integers(1, 5_000), more=st.integers(1, 5_000))
def test_a_longer_budget_changes_no_earlier_step(short: int, more: int) -> None:
    config = MeasuringConfig()
    before = [step for step in evaluated_steps(config, short) if step < short]
    after = [step for step in evaluated_steps(config, short + more) if step < short]
    assert before == after


def test_the_default_schedule() -> None:
    config = MeasuringConfig()
    assert evaluated_steps(config, 300) == (
        *(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 19, 23, 27, 32, 39, 47, 56, 64),
        *(96, 128, 160, 192, 224, 256, 288, 300),
    )
    assert measured_steps(config, 2000) == (0, 32, 64, 128, 256, 512, 1024, 2000)


def test_the_papers_schedule_is_floor_of_powers() -> None:
    steps = evaluated_steps(MeasuringConfig(schedule="paper"), 20_000)
    assert set(steps) == {0, 20_000} | {math.floor(1.3**k) for k in range(38)}
    assert steps == measured_steps(MeasuringConfig(schedule="paper"), 20_000)


@pytest.mark.parametrize(
    "wrong",
    [{"epsilon": 0}, {"evaluate_ratio": 1.0000001}, {"evaluate_ratio": 1}, {"schedule": "x"}, {"grokked_at": 2}],
)
def test_wrong_values_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong)).removeprefix("extra_")):
        MeasuringConfig(**wrong)  # type: ignore[arg-type]


def test_each_epsilon_counts_once_and_must_mean_something() -> None:
    assert MeasuringConfig(epsilon=0.5, extra_epsilons=(1.0, 0.5)).epsilons == (0.5, 1.0)
    with pytest.raises(ConfigError, match="loss of guessing"):
        MeasuringConfig(epsilon=1.7).check_classes(5)
