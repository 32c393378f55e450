from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analysis
from analysis.errors import AnalysisError
from analysis.events import Events, Thresholds, first_sustained, trajectory_events
from analysis.trajectory import Trajectory

ACCURACY = st.sampled_from([0.0, 0.5, 0.98, 0.99, 1.0, math.nan])


@st.composite
def trajectories(draw: st.DrawFn, longest: int = 24) -> Trajectory:
    gaps = draw(st.lists(st.integers(1, 40), max_size=longest))
    n = len(gaps)
    return Trajectory.of(
        np.cumsum([0, *gaps])[:n],
        draw(st.lists(ACCURACY, min_size=n, max_size=n)),
        draw(st.lists(ACCURACY, min_size=n, max_size=n)),
        draw(st.lists(st.none() | st.integers(80, 120), min_size=n, max_size=n)),
    )


def test_a_trial_that_memorises_and_groks_later() -> None:
    trajectory = Trajectory.of(
        step=[0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 160],
        train_accuracy=[0, 0.99, 0.5, 0.99, 1, 1, 1, 1, 1, 1, 1],
        val_accuracy=[0, 0, 0, 0, 0, 0.99, 0.98, 0.99, 1, 1, 0.5],
        complexity_bytes=[500, None, 100, 150, None, 200, 200, 180, 170, 160, 150],
    )
    assert trajectory_events(trajectory) == Events(
        memorisation_step=30,
        memorisation_after_step=20,
        grok_step=70,
        grok_after_step=60,
        grok_lost_step=160,
        complexity_peak_step=50,
        complexity_peak_bytes=200,
        final_complexity_bytes=150,
        decline=0.25,
        decline_onset_step=70,
        tail_complete=True,
    )


def test_the_first_evaluated_step_has_none_before() -> None:
    seen = trajectory_events(Trajectory.of([0, 1, 2], [1, 1, 1], [1, 1, 1], [None] * 3))
    assert (seen.memorisation_step, seen.memorisation_after_step) == (0, None)
    assert (seen.grok_step, seen.grok_after_step) == (0, None)
    assert seen.complexity_peak_step is None


@pytest.mark.parametrize(
    ("accuracy", "until"),
    [([0, 0, 0, 0], 30), ([0, 0, 1, 1], 10), ([0, 1, 1, 0], 30), ([1, 1], -1), ([0, 1, 1, 1], None)],
)
def test_by_when_no_grok_had_begun(accuracy: list[float], until: int | None) -> None:
    steps = [10 * n for n in range(len(accuracy))]
    seen = trajectory_events(Trajectory.of(steps, accuracy, accuracy, [None] * len(steps)))
    assert seen.ungrokked_step == until


def test_two_at_the_threshold_are_not_yet_an_event() -> None:
    trajectory = Trajectory.of([0, 1, 2, 3], [0, 1, 1, 0], [0, 0, 1, 1], [9, 9, 9, 9])
    seen = trajectory_events(trajectory)
    assert seen == Events(final_complexity_bytes=9, ungrokked_step=1)
    assert trajectory_events(trajectory, Thresholds(sustained=2)).grok_step == 2


def test_nothing_seen() -> None:
    assert trajectory_events(Trajectory.of([], [], [], [])) == Events()


@pytest.mark.parametrize(
    ("last_step", "measured_after", "complete"), [(139, 3, False), (140, 2, False), (140, 3, True)]
)
def test_the_tail_needs_twice_the_grok_step_and_three_measurements(
    last_step: int, measured_after: int, complete: bool
) -> None:
    steps = [0, 70, 80, 90, last_step]
    complexity = [None, 5, *[4] * measured_after, *[None] * (3 - measured_after)]
    accuracy = [0, 1, 1, 1, 1]
    assert trajectory_events(Trajectory.of(steps, accuracy, accuracy, complexity)).tail_complete is complete


def test_a_single_measurement_below_is_no_onset() -> None:
    accuracy = [1] * 5
    trajectory = Trajectory.of(range(5), accuracy, [0] * 5, [100, 90, 95, 89, 88])
    assert trajectory_events(trajectory).decline_onset_step == 3
    assert trajectory_events(trajectory.prefix(4)).decline_onset_step is None
    assert trajectory_events(trajectory, Thresholds(decline_at=0.13)).decline_onset_step is None


def naive(trajectory: Trajectory, thresholds: Thresholds) -> dict[str, float | None]:
    """The definitions, word for word."""

    def sustained(values: list[bool], length: int) -> int | None:
        return next((i for i in range(len(values) - length + 1) if all(values[i : i + length])), None)

    step = trajectory.step.tolist()
    memorised = sustained([a >= thresholds.memorised_at for a in trajectory.train_accuracy], thresholds.sustained)
    reached = [a >= thresholds.grokked_at for a in trajectory.val_accuracy]
    grokked = sustained(reached, thresholds.sustained)
    result: dict[str, float | None] = {"memorisation_step": None, "grok_step": None, "grok_lost_step": None}
    result |= {"decline_onset_step": None, "complexity_peak_bytes": None, "decline": None}
    if grokked is not None:
        result["grok_step"] = step[grokked]
        result["grok_lost_step"] = next((step[i] for i in range(grokked, len(step)) if not reached[i]), None)
    if memorised is not None:
        result["memorisation_step"] = step[memorised]
        measured = [(step[i], c) for i, c in enumerate(trajectory.complexity_bytes) if i >= memorised and c == c]
        shares = [
            float(1 - Fraction(c) / Fraction(max(size for _, size in measured[: i + 1])))
            for i, (_, c) in enumerate(measured)
        ]
        onset = sustained([share >= thresholds.decline_at for share in shares], 2)
        if measured:
            result["complexity_peak_bytes"] = max(size for _, size in measured)
            result["decline"] = shares[-1]
            result["decline_onset_step"] = None if onset is None else measured[onset][0]
    return result


@given(trajectories(), st.sampled_from([Thresholds(), Thresholds(memorised_at=0.5, sustained=1, decline_at=0.05)]))
def test_events_are_the_definitions(trajectory: Trajectory, thresholds: Thresholds) -> None:
    seen = trajectory_events(trajectory, thresholds)
    expected = naive(trajectory, thresholds)
    assert {name: getattr(seen, name) for name in expected} == pytest.approx(expected)


DETERMINED = (
    "memorisation_step",
    "memorisation_after_step",
    "grok_step",
    "grok_after_step",
    "grok_lost_step",
    "decline_onset_step",
)


@given(trajectories(longest=40))
def test_what_a_prefix_determines_stays(trajectory: Trajectory) -> None:
    """The online answer is the offline answer."""
    thresholds = Thresholds(memorised_at=0.5, grokked_at=0.5)
    seen: dict[str, int] = {}
    peak, complete = 0.0, False
    for n in range(len(trajectory) + 1):
        outcome = trajectory_events(trajectory.prefix(n), thresholds)
        for name in DETERMINED:
            value = getattr(outcome, name)
            if name in seen:
                assert value == seen[name]
            elif value is not None:
                seen[name] = value
        assert (outcome.complexity_peak_bytes or 0) >= peak
        assert outcome.tail_complete >= complete
        peak, complete = outcome.complexity_peak_bytes or 0, outcome.tail_complete


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 4))
def test_first_sustained(reached: list[bool], sustained: int) -> None:
    outcome = first_sustained(np.array(reached, dtype=bool), sustained)
    text = "".join("x" if value else "." for value in reached)
    index = text.find("x" * sustained)
    assert outcome == (None if index < 0 else index)


def test_a_trajectory_must_be_in_order_and_of_one_length() -> None:
    with pytest.raises(AnalysisError, match="strictly increasing"):
        Trajectory.of([0, 2, 2], [0] * 3, [0] * 3, [0] * 3)
    with pytest.raises(AnalysisError, match=r"lengths \[2, 3\]"):
        Trajectory.of([0, 1], [0] * 2, [0] * 2, [0] * 3)
    with pytest.raises(AnalysisError, match=r"grokked_at .* got 1.5"):
        Thresholds(grokked_at=1.5)
    with pytest.raises(AnalysisError, match="sustained must be at least 1"):
        Thresholds(sustained=0)


@dataclass
class Evaluated:
    step: int
    train_accuracy: float
    val_accuracy: float
    complexity_bytes: int | None
    val_loss: float


def test_a_trajectory_from_measurements() -> None:
    trajectory = Trajectory.from_measurements([Evaluated(0, 0.1, 0.2, None, 4.0), Evaluated(5, 0.3, 0.4, 7, 3.5)])
    assert trajectory.step.tolist() == [0, 5]
    assert trajectory.val_accuracy.tolist() == [0.2, 0.4]
    np.testing.assert_array_equal(trajectory.complexity_bytes, [np.nan, 7])
    assert trajectory.val_loss.tolist() == [4.0, 3.5]
    assert len(Trajectory.from_measurements([])) == 0


def frame(trajectory: Trajectory, trial_id: str, **own: object) -> pd.DataFrame:
    columns = {name: getattr(trajectory, name) for name in Trajectory.__slots__}
    return pd.DataFrame({"trial_id": trial_id, **columns, **own})


@settings(max_examples=30)
@given(st.lists(trajectories().filter(len), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_the_frame_says_of_each_trial_what_its_trajectory_says_in_any_order(outcome, random) -> None:
    df = pd.concat([frame(one, f"t{i}", weight_decay=float(i), l2_norm=0.0) for i, one in enumerate(outcome)])
    order = list(range(len(df)))
    random.shuffle(order)
    table = analysis.events(df.iloc[order])
    assert table["trial_id"].to_list() == [f"t{i}" for i in range(len(outcome))]
    assert table["weight_decay"].to_list() == list(range(len(outcome)))
    assert "l2_norm" not in table
    for record, trajectory in zip(table.to_dict("records"), outcome, strict=True):
        expected = trajectory_events(trajectory)
        for name in Events.__slots__:
            value = getattr(expected, name)
            assert record[name] == value or (value is None and math.isnan(record[name]))
        assert record["last_step"] == trajectory.step[-1]
        assert record["censored"] == (expected.grok_step is None)
        assert record["delay"] == pytest.approx(record["grok_step"] - record["memorisation_step"], nan_ok=True)


def test_each_trial_by_its_own_recorded_thresholds() -> None:
    trajectory = Trajectory.of([0, 1, 2, 3], [0, 0.95, 0.95, 0.95], [0, 0.9, 0.9, 0.9], [None] * 4)
    df = pd.concat(
        [
            frame(trajectory, "strict", memorised_at=0.99, grokked_at=0.99),
            frame(trajectory, "lenient", memorised_at=0.9, grokked_at=0.8),
            frame(trajectory, "unknown", memorised_at=math.nan, grokked_at=math.nan),
        ]
    )
    own = analysis.events(df).set_index("trial_id")
    assert own["grok_step"].dropna().to_dict() == {"lenient": 1}
    assert own["memorisation_step"].dropna().to_dict() == {"lenient": 1}
    alike = analysis.events(df, Thresholds(grokked_at=0.85))
    assert alike["grok_step"].to_list() == [1, 1, 1]


def test_missing_columns_are_named() -> None:
    with pytest.raises(AnalysisError, match="complexity_bytes missing"):
        analysis.events(pd.DataFrame({"trial_id": [], "step": [], "train_accuracy": [], "val_accuracy": []}))


def test_a_grok_is_lost_where_the_last_evaluation_is_below_the_threshold() -> None:
    def ending(name: str, *after: float) -> pd.DataFrame:
        accuracy = [0.1, 1.0, 1.0, 1.0, *after]
        steps = [10 * n for n in range(len(accuracy))]
        return frame(Trajectory.of(steps, [1.0] * len(steps), accuracy, [None] * len(steps)), name)

    never = ending("none").iloc[:2]
    parts = [
        ending("kept", 1.0),
        ending("back", 0.5, 1.0),
        ending("lost", 1.0, 0.5),
        ending("nan", math.nan),
        never,
    ]
    ended = analysis.events(pd.concat(parts)).set_index("trial_id")
    assert ended["grok_lost"].to_dict() == {"back": False, "kept": False, "lost": True, "nan": True, "none": False}
    assert ended.loc["lost", "final_val_accuracy"] == 0.5
    assert ended["grok_lost_step"].notna().to_dict() == {
        "back": True, "kept": False, "lost": True, "nan": True, "none": False,
    }  # fmt: skip
