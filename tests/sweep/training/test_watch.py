"""The watch of a lane run decides as the analysis does afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.events import Thresholds, trajectory_events
from analysis.stopping.decline import DeclineParameters, first_stop, is_audited
from analysis.trajectory import Trajectory
from sweep.training.watch import TrialWatch, decline_seen, thresholds_of
from tests.sweep import made_up
from trainables.config import TaskConfig, TrialConfig
from trainables.measurement import Ending, Measurement, TrialHistory, Watch
from trainables.schedule import MeasuringConfig

TRIAL = TrialConfig(steps=4096)
STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
HASTY = DeclineParameters(patience=4, memorise_within=0.1, minimum_measurements=2)


def measurement(step: int, train: float, validation: float, complexity: int | None) -> Measurement:
    return dataclasses.replace(
        made_up.measurement(TRIAL, step),
        train_accuracy=train,
        val_accuracy=validation,
        complexity_bytes=complexity,
    )


def ending(watch: Watch, measurements: Sequence[Measurement]) -> tuple[int, Ending] | None:
    """Step and ending, the watch asked after each step as a lane run does."""
    for n in range(1, len(measurements) + 1):
        answer = watch(TrialHistory(TRIAL, measurements[:n]))
        if answer is not None:
            return measurements[n - 1].step, answer
    return None


def run(train_from: int, validation_from: int, *, fall: float = 0.0) -> list[Measurement]:
    """A trial that memorises and generalises at given steps, its complexity falling when it generalises."""
    return [
        measurement(
            step,
            float(step >= train_from),
            float(step >= validation_from),
            round(1000 * (1 - fall * (step >= validation_from))),
        )
        for step in STEPS
    ]


NEVER = 10**9


def test_grokked_and_past_its_tail() -> None:
    watch = TrialWatch(DeclineParameters(), 0.0, Thresholds())
    verdict = ending(watch, run(8, 128, fall=0.5))
    assert len(watch.grokked) == 1
    assert verdict is not None
    assert verdict[0] == 1024  # twice the grok step is 256; the third measurement after it is at 1024
    assert (verdict[1].because, verdict[1].probability) == ("grokked", None)
    assert verdict[1].reason == "Grokked at step 128 and followed to step 1,024."


def test_stopped_by_the_rule_with_its_reason_and_probability() -> None:
    verdict = ending(TrialWatch(HASTY, 0.0, Thresholds()), run(8, NEVER))
    assert verdict is not None
    assert (verdict[0], verdict[1].because) == (32, "stopped")
    assert "Memorised at step 8" in verdict[1].reason
    assert verdict[1].probability is not None
    assert 0 <= verdict[1].probability < 1


def test_one_that_never_memorises_is_stopped() -> None:
    verdict = ending(TrialWatch(HASTY, 0.0, Thresholds()), run(NEVER, NEVER))
    assert verdict is not None
    assert (verdict[0], verdict[1].because) == (512, "stopped")


@pytest.mark.parametrize(("decline", "share"), [(None, 0.0), (HASTY, 1.0)], ids=["no rule", "audited"])
def test_no_rule_and_the_audit_share_never_stop(decline: DeclineParameters | None, share: float) -> None:
    watch = TrialWatch(decline, share, Thresholds())
    assert ending(watch, run(8, NEVER)) is None
    assert not watch.grokked
    grokked = ending(watch, run(8, 128))
    assert grokked is not None
    assert grokked[1].because == "grokked"


def test_thresholds_of_the_task_count() -> None:
    half = [
        measurement(row.step, row.train_accuracy, row.val_accuracy / 2, row.complexity_bytes) for row in run(8, 128)
    ]
    assert ending(TrialWatch(None, 0.0, Thresholds()), half) is None
    verdict = ending(TrialWatch(None, 0.0, Thresholds(grokked_at=0.5)), half)
    assert verdict is not None
    assert verdict[1].because == "grokked"


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.1, 0.5, 1.0]), st.sampled_from([0.1, 0.5, 1.0]), st.integers(500, 1500) | st.none()
        ),
        min_size=len(STEPS),
        max_size=len(STEPS),
    ),
    st.sampled_from([0.0, 1.0]),
)
def test_online_is_offline(values: list[tuple[float, float, int | None]], share: float) -> None:
    """Whatever the trajectory: the ending is where the analysis, replaying it, puts it."""
    measurements = [measurement(step, *row) for step, row in zip(STEPS, values, strict=True)]
    trajectory = Trajectory.from_measurements(measurements)
    stop = None if is_audited(TRIAL.trial_id, share) else first_stop(trajectory, TRIAL.steps, HASTY)
    tails = (trajectory_events(trajectory.prefix(n)).tail_complete for n in range(1, len(STEPS) + 1))
    tail = next((step for step, complete in zip(STEPS, tails, strict=True) if complete), None)

    verdict = ending(TrialWatch(HASTY, share, Thresholds()), measurements)

    expected = min((step for step in (stop, tail) if step is not None), default=None)
    assert (verdict and verdict[0]) == expected
    if verdict is not None:
        assert verdict[1].because == ("grokked" if expected == tail else "stopped")


def declines_at(measurements: Sequence[Measurement], thresholds: Thresholds) -> int | None:
    """The step at which the answer to a lane run turns to yes."""
    asked = decline_seen(thresholds)
    answers = (asked(TrialHistory(TRIAL, measurements[:n])) for n in range(1, len(measurements) + 1))
    return next((m.step for m, yes in zip(measurements, answers, strict=True) if yes), None)


def test_a_decline_is_seen_at_the_second_measurement_that_shows_it() -> None:
    assert declines_at(run(8, 128, fall=0.5), Thresholds()) == 256
    assert declines_at(run(8, 128, fall=0.05), Thresholds()) is None
    assert declines_at(run(NEVER, 128, fall=0.5), Thresholds()) is None, "complexity counts from memorisation on"
    assert declines_at(run(NEVER, 128, fall=0.5), Thresholds(memorised_at=1e-9)) is None
    half = [dataclasses.replace(row, train_accuracy=0.5) for row in run(8, 128, fall=0.5)]
    own = thresholds_of(MeasuringConfig(memorised_at=0.5), TaskConfig(modulus=7))
    assert (own.memorised_at, own.grokked_at) == (0.5, 0.99)
    assert declines_at(half, own) == 256


@given(
    st.lists(
        st.tuples(st.sampled_from([0.5, 1.0]), st.integers(500, 1500) | st.none()),
        min_size=len(STEPS),
        max_size=len(STEPS),
    )
)
def test_a_decline_seen_online_is_an_onset_offline(values: list[tuple[float, int | None]]) -> None:
    rows = zip(STEPS, values, strict=True)
    measurements = [measurement(step, accuracy, 0.0, complexity) for step, (accuracy, complexity) in rows]
    onset = trajectory_events(Trajectory.from_measurements(measurements)).decline_onset_step
    seen = declines_at(measurements, Thresholds())
    measured = [m.step for m in measurements if m.complexity_bytes is not None]
    assert seen == (None if onset is None else measured[measured.index(onset) + 1])


def test_an_audited_trial_is_marked_where_the_rule_would_have_stopped_it() -> None:
    watch = TrialWatch(HASTY, 1.0, Thresholds())
    assert ending(watch, run(8, NEVER)) is None
    assert not watch.grokked
    assert watch.marked_at_step(TRIAL.trial_id) == 32

    # One that would not have been stopped, and one asked about twice.
    assert ending(watch, run(8, 16, fall=0.5)) is not None
    assert watch.marked_at_step(TRIAL.trial_id) is None
    assert watch.marked_at_step(TRIAL.trial_id) is None


def test_a_mark_survives_a_restart() -> None:
    """After a restart the watch is asked about later steps only, with the whole history."""
    measurements = run(8, 4096)
    watch = TrialWatch(HASTY, 1.0, Thresholds())
    assert watch(TrialHistory(TRIAL, measurements)) is None
    assert watch.marked_at_step(TRIAL.trial_id) == 32


def test_without_a_rule_nothing_is_marked() -> None:
    watch = TrialWatch(None, 1.0, Thresholds())
    assert ending(watch, run(8, NEVER)) is None
    assert not watch.grokked
    assert watch.marked_at_step(TRIAL.trial_id) is None
