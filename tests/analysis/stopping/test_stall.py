from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.events import Thresholds
from analysis.stopping.stall import StallParameters, stalls
from analysis.trajectory import Trajectory

STEPS = [0, *(round(1.2**n) for n in range(10, 48))]


def trajectory(
    val_loss: list[float] | None = None,
    complexity: list[float | None] | None = None,
    val_accuracy: list[float] | None = None,
    steps: list[int] = STEPS,
) -> Trajectory:
    n = len(steps)
    measured: list[float | None] = [100.0 if place % 4 == 0 else None for place in range(n)]
    return Trajectory.of(
        steps,
        [1.0] * n,
        val_accuracy or [0.1] * n,
        [math.nan if size is None else size for size in complexity or measured],
        val_loss or [5.0] * n,
    )


def by_definition(history: Trajectory, at: int, p: StallParameters) -> bool:
    """Judge the last step of a prefix with loops and interpolation written out: the slow obvious version."""
    if (history.val_accuracy[: at + 1] >= Thresholds().grokked_at).any():
        return False
    if (~np.isnan(history.complexity_bytes[: at + 1])).sum() < p.minimum_measurements:
        return False
    if p.signal != "complexity" and not math.isfinite(history.val_loss[at]):
        return False
    earlier = [k for k in range(at + 1) if history.step[k] <= history.step[at] / p.apart]
    if not earlier:
        return False
    return not any(progresses(history, k, p) for k in range(earlier[-1], at + 1))


def progresses(history: Trajectory, at: int, p: StallParameters) -> bool:
    now = int(history.step[at])
    falls = False
    if p.signal != "complexity":
        points = [
            (math.log(step), math.log(max(loss, 1e-300)))
            for step, loss in zip(history.step, history.val_loss, strict=True)
            if step > 0 and math.isfinite(loss)
        ]
        if now == 0 or not math.isfinite(history.val_loss[at]):
            return True
        then = math.log(now) - math.log(p.loss_factor)
        before = [point for point in points if point[0] <= then]
        if not before:
            return True
        left = before[-1]
        right = next((point for point in points if point[0] > then), left)
        weight = 0.0 if right[0] == left[0] else (then - left[0]) / (right[0] - left[0])
        value = left[1] + weight * (right[1] - left[1])
        falls = value - math.log(max(history.val_loss[at], 1e-300)) >= p.loss_fall - 1e-12
    if p.signal != "loss" and not falls:
        measured = [k for k in range(at + 1) if history.step[k] > 0 and history.complexity_bytes[k] > 0]
        if measured:
            last = math.log(history.step[measured[-1]])
            used = [k for k in measured if math.log(history.step[k]) >= last - math.log(p.complexity_factor)]
            if len(used) > 1:
                x, y = np.log(history.step[used]), np.log(history.complexity_bytes[used])
                falls = bool(np.polyfit(x, y, 1)[0] <= -p.complexity_fall + 1e-12)
    return falls


LOSSES = st.sampled_from([5.0, 4.9, 4.0, 2.0, 7.5, 0.0, math.nan, math.inf])
SIZES = st.one_of(st.none(), st.sampled_from([100.0, 90.0, 50.0, 200.0]))


@st.composite
def histories(draw: st.DrawFn) -> Trajectory:
    steps = sorted(draw(st.sets(st.integers(0, 500), max_size=14)))
    n = len(steps)
    lists = {name: draw(st.lists(kind, min_size=n, max_size=n)) for name, kind in (("l", LOSSES), ("c", SIZES))}
    accuracy = draw(st.lists(st.sampled_from([0.1, 0.5, 0.98, 0.98, 0.99]), min_size=n, max_size=n))
    return Trajectory.of(
        steps, [1.0] * n, accuracy, [math.nan if size is None else size for size in lists["c"]], lists["l"]
    )


@given(histories(), st.sampled_from(["loss and complexity", "loss", "complexity"]), st.integers(1, 3))
def test_every_evaluation_is_judged_as_by_the_definition(history: Trajectory, signal: str, least: int) -> None:
    parameters = StallParameters(signal=signal, minimum_measurements=least)  # type: ignore[arg-type]
    expected = [by_definition(history, at, parameters) for at in range(len(history))]
    assert stalls(history, parameters).tolist() == expected


@given(histories())
def test_what_comes_later_does_not_matter(history: Trajectory) -> None:
    whole = stalls(history)
    for n in range(len(history) + 1):
        assert stalls(history.prefix(n)).tolist() == whole[:n].tolist()


def test_a_flat_trial_stalls_once_there_is_enough_to_judge_by() -> None:
    marks = stalls(trajectory())
    assert not marks[:8].any()
    assert marks[12:].all()


def test_a_falling_loss_spares_a_trial_while_it_falls_and_no_longer() -> None:
    losses = [5.0 if step < 500 else max(5.0 * (500 / step) ** 0.5, 2.5) for step in STEPS]
    marks = dict(zip(STEPS, stalls(trajectory(losses)).tolist(), strict=True))
    assert marks[max(step for step in STEPS if step < 500)]
    assert not any(mark for step, mark in marks.items() if 800 < step < 2000)
    assert all(mark for step, mark in marks.items() if step > 3000)


def test_a_falling_complexity_spares_a_trial_while_it_falls_and_no_longer() -> None:
    sizes: list[float | None] = [
        (1000.0 if step < 300 else max(1000 * 300 / step, 250)) if place % 4 == 0 else None
        for place, step in enumerate(STEPS)
    ]
    marks = dict(zip(STEPS, stalls(trajectory(complexity=sizes)).tolist(), strict=True))
    assert not any(mark for step, mark in marks.items() if 800 < step < 1200)
    assert all(mark for step, mark in marks.items() if step > 4000)


def test_one_evaluation_without_progress_is_not_a_stall() -> None:
    losses = [5.0 * 0.9**place for place in range(len(STEPS))]
    losses[20] = losses[18]
    assert not stalls(trajectory(losses)).any()


def test_validation_data_is_not_looked_at_with_complexity_alone() -> None:
    sizes: list[float | None] = [1000.0 / 1.2**place if place % 4 == 0 else None for place in range(len(STEPS))]
    unknown = [math.nan] * len(STEPS)
    alone = StallParameters(signal="complexity")
    assert not stalls(trajectory(unknown, sizes), alone).any()
    assert stalls(trajectory(unknown), alone)[-1]


def test_a_trial_that_touched_the_grok_threshold_never_stalls_again() -> None:
    accuracy = [0.1] * len(STEPS)
    accuracy[20] = 0.99
    marks = stalls(trajectory(val_accuracy=accuracy))
    assert marks[19]
    assert not marks[20:].any()


@pytest.mark.parametrize("steps", [[], [0], [5], [0, 100]])
def test_too_few_points_are_no_stall(steps: list[int]) -> None:
    assert not stalls(trajectory(steps=steps)).any()


def test_two_points_far_apart_are_judged() -> None:
    assert stalls(
        replace(trajectory(steps=[10, 1000]), complexity_bytes=np.array([9.0, 9.0])),
        StallParameters(minimum_measurements=1),
    ).tolist() == [False, False]  # at step 10 it is too early to say, which counts as progress
    assert stalls(
        replace(trajectory(steps=[10, 100, 1000]), complexity_bytes=np.array([9.0, 9.0, 9.0])),
        StallParameters(minimum_measurements=1),
    ).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("signal", "accuracy", "must be one of loss and complexity, loss, complexity, got 'accuracy'"),
        ("loss_factor", 1.0, "stall.loss_factor must be finite and above 1, got 1.0"),
        ("apart", math.inf, "stall.apart must be finite and above 1"),
        ("complexity_fall", 0.0, "stall.complexity_fall must be finite and above 0"),
        ("minimum_measurements", 0, "stall.minimum_measurements must be finite and at least 1, got 0"),
    ],
)
def test_impossible_parameters_are_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(AnalysisError, match=message):
        StallParameters(**{name: value})  # type: ignore[arg-type]
