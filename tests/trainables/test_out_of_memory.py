"""Memory runs out: fewer lanes, the same measurements."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.trainables.comparing import comparable
from tests.trainables.little_room import Room, of_python, of_torch, on_a_gpu
from trainables import scoring
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.errors import OutOfMemory
from trainables.lanes import Counts, LaneRun, step, train
from trainables.out_of_memory import fewer_lanes, is_out_of_memory
from trainables.schedule import MeasuringConfig

RARELY = MeasuringConfig(measure_ratio=1e6)

TRIALS = [
    TrialConfig(
        task=TaskConfig(modulus=7),
        model=ModelConfig(width=6, heads=2),
        batch_size=9,
        spectral_entropy_weight=0.1,
        weight_noise=1e-2,
        steps=30 + 20 * seed,
        seed=seed,
    )
    for seed in range(7)
]


@pytest.mark.parametrize("fail", [on_a_gpu, of_torch, of_python])
def test_errors_that_say_so(fail: Callable[[], None]) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        fail()
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("not enough memory"))


def test_half_and_half_again_until_there_is_one_lane() -> None:
    assert [fewer_lanes(9), fewer_lanes(4), fewer_lanes(2)] == [4, 2, 1]
    with pytest.raises(OutOfMemory, match="with a single lane; choose a smaller network, batch or task"):
        fewer_lanes(1)


@pytest.fixture(scope="module")
def undisturbed() -> list[str]:
    return sorted(comparable(m) for m in train(TRIALS, measuring=RARELY, lanes=6))


@pytest.mark.parametrize(
    ("where", "fail"),
    [("training", on_a_gpu), ("training", of_torch), ("evaluating", on_a_gpu), ("evaluating", of_python)],
)
def test_no_measurement_is_lost_doubled_or_another(
    where: str, fail: Callable[[], None], undisturbed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "training":
        monkeypatch.setattr(step, "loss_gradient", Room(step.loss_gradient, 2, 2, fail, 40))
    else:
        monkeypatch.setattr(scoring, "table_outcomes", Room(scoring.table_outcomes, 1, 3, fail, 40))
    with pytest.warns(RuntimeWarning, match="memory ran out with [63] lanes") as said:
        listed = [comparable(m) for m in train(TRIALS, measuring=RARELY, lanes=6)]
    expected = [(6, 3), (3, 1)] if where == "training" else [(6, 3)]
    # Whatever else is collected meanwhile may warn, too, of a file that it had not closed, say.
    assert [str(warning.message) for warning in said if warning.category is not ResourceWarning] == [
        f"memory ran out with {before} lanes; continuing with {after}" for before, after in expected
    ]
    assert sorted(listed) == undisturbed


def test_with_one_lane_it_ends_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "loss_gradient", Room(step.loss_gradient, 2, 0, of_torch, 0))
    with pytest.warns(RuntimeWarning), pytest.raises(OutOfMemory, match="single lane"):
        list(train(TRIALS, measuring=RARELY, lanes=6))


def test_other_errors_are_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(step, "loss_gradient", broken)
    with warnings.catch_warnings(action="error"), pytest.raises(RuntimeError, match="something else"):
        list(train(TRIALS, measuring=RARELY))


def test_a_run_restored_with_fewer_lanes_has_the_same_rows_and_keeps_them_few(undisturbed: list[str]) -> None:
    run = LaneRun(TRIALS, measuring=RARELY, lanes=6)
    rows = run.advance(1)
    ages = run.ages
    assert len(ages) == 5, "one of six has ended, and its lane is empty until the next block"
    for wanted in (2, None):
        run = LaneRun.restore(run.save(), TRIALS, measuring=RARELY, lanes=wanted)
        assert (run.lanes, run.counts, run.ages) == (2, Counts(done=1, running=5, queued=1), ages)
    rows += run.advance(1)
    run = LaneRun.restore(run.save(), TRIALS, measuring=RARELY)
    assert len(run.ages) >= 4, "three wait"
    while not run.finished:
        rows += run.advance(1)
    assert sorted(comparable(m) for m in rows) == undisturbed


def test_a_record_is_a_copy() -> None:
    run = LaneRun(TRIALS, measuring=RARELY, lanes=3)
    first = run.advance(1)
    record = run.record()
    copy = dataclasses.replace(record, tensors={name: rows.clone() for name, rows in record.tensors.items()})
    histories = [len(lane.history) for lane in record.running]
    later = [comparable(m) for m in run.advance(2)]
    assert all(torch.equal(record.tensors[name], rows) for name, rows in copy.tensors.items())
    assert [len(lane.history) for lane in record.running] == histories
    run.go_back(record, 3)
    assert [comparable(m) for m in run.advance(2)] == later
    assert first
