"""Parked trials: their rows are those of trials that were never parked, to the last bit, whatever was decided."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import pytest

from tests.trainables.lanes.small import RARELY, trial
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.lanes import LaneRun
from trainables.lanes.checkpoint import decode
from trainables.measurement import Ending, Measurement, TrialHistory
from trainables.schedule import BLOCK_STEPS, MeasuringConfig

STEPS = 9 * BLOCK_STEPS


def trials(count: int, steps: int = STEPS) -> list[TrialConfig]:
    return [small(seed, steps) for seed in range(count)]


def small(seed: int, steps: int = STEPS) -> TrialConfig:
    model = ModelConfig(kind="mlp", width=4, hidden_width=4)
    return trial(task=TaskConfig(modulus=5), model=model, batch_size=5, seed=seed, steps=steps)


class Whim:
    """Parks and resumes at random."""

    def __init__(self, seed: int, parks: float = 0.4, resumes: float = 0.7) -> None:
        self.random, self.park, self.resume = random.Random(seed), parks, resumes
        self.parkings = 0
        self.parked_at: list[int] = []

    def parks(self, history: TrialHistory) -> bool:
        self.parked_at.append(history.measurements[-1].step)
        parks = self.random.random() < self.park
        self.parkings += parks
        return parks

    def resumes(self, parked: Sequence[TrialHistory], running: Sequence[TrialConfig]) -> int | None:
        return self.random.randrange(len(parked)) if self.random.random() < self.resume else None

    def ending(self, history: TrialHistory) -> Ending:
        return Ending(because="stopped", reason="it stays parked", probability=0.1)

    def record(self) -> dict[str, Any]:
        return {"parkings": self.parkings}

    def go_back(self, record: dict[str, Any]) -> None:
        self.parkings = record["parkings"]


class Never(Whim):
    """Parks every trial at its first chance, and resumes none."""

    def __init__(self) -> None:
        super().__init__(0, parks=1, resumes=0)


def trained(run: LaneRun) -> list[Measurement]:
    measurements = []
    while not run.finished:
        measurements += run.advance(1)
    return measurements


def rows(measurements: Sequence[Measurement]) -> dict[tuple[str, int], Measurement]:
    """The rows without seconds; each step of a trial is there once."""
    plain = [
        dataclasses.replace(
            row,
            train_wall_s=0,
            measure_wall_s=0,
            network=None,
            end=None,
            complexities=tuple(dataclasses.replace(one, wall_s=0) for one in row.complexities),
        )
        for row in measurements
        if row.end is None or not row.end.parked
    ]
    result = {(row.trial_id, row.step): row for row in plain}
    assert len(result) == len(plain)
    return result


@pytest.fixture(scope="module")
def undisturbed() -> dict[tuple[str, int], Measurement]:
    return rows(trained(LaneRun(trials(6), measuring=RARELY, lanes=3)))


@pytest.mark.parametrize("seed", range(3))
def test_rows_do_not_depend_on_how_often_a_trial_is_parked(
    seed: int, undisturbed: dict[tuple[str, int], Measurement]
) -> None:
    whim = Whim(seed)
    run = LaneRun(trials(6), measuring=RARELY, lanes=3, parking=whim)
    measurements = trained(run)
    assert whim.parkings > 3
    assert {key: undisturbed[key] for key in rows(measurements)} == rows(measurements)
    assert sorted(row.trial_id for row in measurements if row.end) == sorted(one.trial_id for one in trials(6))
    assert all(step % BLOCK_STEPS == 0 for step in whim.parked_at)


def test_nor_on_restarts_while_trials_are_parked(undisturbed: dict[tuple[str, int], Measurement]) -> None:
    whim, measurements = Whim(1), list[Measurement]()
    run = LaneRun(trials(6), measuring=RARELY, lanes=3, parking=whim)
    were_parked = 0
    while not run.finished:
        measurements += run.advance(1)
        data = run.save()
        were_parked += len(decode(data).parked)
        run = LaneRun.restore(data, trials(6), measuring=RARELY, parking=whim)
        assert len(run.save()) == len(data)
    assert were_parked > 3
    assert {key: undisturbed[key] for key in rows(measurements)} == rows(measurements)


def test_a_trial_that_stays_parked_ends_once_nothing_is_left_to_train() -> None:
    run = LaneRun(trials(4), measuring=RARELY, lanes=2, parking=Never())
    measurements = trained(run)
    ends = [row for row in measurements if row.end]
    assert [row.end.ending.because for row in ends if row.end] == ["stopped"] * 4
    for row in ends:
        assert row.end is not None
        assert row.end.parked
        before = [one for one in measurements if (one.trial_id, one.step) == (row.trial_id, row.step)]
        assert len(before) == 2
        assert before[0].val_loss == row.val_loss
        assert row.network is not None
    assert run.counts.done == 4
    assert not run.ages


def test_a_parked_trial_counts_as_queued_and_keeps_its_age() -> None:
    run = LaneRun(trials(3), measuring=RARELY, lanes=3, parking=Never())
    run.advance(1)
    assert (run.counts.done, run.counts.running, run.counts.queued) == (0, 0, 3)
    assert set(run.ages.values()) == {BLOCK_STEPS}
    assert run.remaining_steps == 0


def test_lanes_that_were_given_up_are_made_again_for_parked_trials() -> None:
    class Waits(Never):
        """Parks all but the first trial at once, and lets the others continue when it has ended."""

        def parks(self, history: TrialHistory) -> bool:
            return history.trial.seed != 0 and len(history.measurements) < 20

        def resumes(self, parked: Sequence[TrialHistory], running: Sequence[TrialConfig]) -> int | None:
            return None if any(one.seed == 0 for one in running) else 0

    class AtOnce(Waits):
        def parks(self, history: TrialHistory) -> bool:
            return history.trial.seed != 0 and history.measurements[-1].step == BLOCK_STEPS

    run = LaneRun(trials(5), measuring=RARELY, lanes=5, parking=AtOnce())
    run.advance(2)
    assert (run.counts.running, run.lanes) == (1, 2)
    while run.counts.done == 0:
        run.advance(1)
    run.advance(1)
    assert (run.counts.running, run.lanes) == (4, 4)
    assert [row.end.ending.because for row in trained(run) if row.end] == ["budget"] * 4


@pytest.mark.parametrize("steps", [STEPS, 2 * STEPS])
def test_another_run_continues_parked_trials_bit_for_bit_also_with_a_larger_budget(steps: int) -> None:
    first = LaneRun(trials(4), measuring=RARELY, lanes=2, parking=Never())
    trained(first)
    saved = first.save()
    assert len(decode(saved).given_up) == 4

    wanted = [trials(4, steps)[2], trials(4, steps)[0], small(9, steps)]
    second = LaneRun(wanted, measuring=RARELY, lanes=2)
    before, anew = second.adopt([saved, saved])
    assert anew == {}
    assert {row.trial_id for row in before} == {one.trial_id for one in wanted[:2]}
    together = rows([*before, *trained(second)])
    assert together == rows(trained(LaneRun(wanted, measuring=RARELY, lanes=2)))


def test_a_trial_that_cannot_be_continued_begins_anew_and_the_others_continue() -> None:
    first = LaneRun(trials(3), measuring=RARELY, lanes=2, parking=Never())
    trained(first)
    saved = first.save()
    wanted = [trials(3)[0], small(7), trials(3)[2], trials(3)[1]]
    second = LaneRun(wanted, measuring=RARELY, lanes=2)
    before, anew = second.adopt([saved, saved, saved[:-7], saved])
    assert {row.trial_id for row in before} == {wanted[0].trial_id, wanted[3].trial_id}
    assert list(anew) == [wanted[1].trial_id, wanted[2].trial_id]
    assert "is not in the checkpoint" in anew[wanted[1].trial_id]
    assert "damaged" in anew[wanted[2].trial_id]
    # Also if the run is saved while those that begin anew still wait for a lane.
    for run in (second, LaneRun.restore(second.save(), wanted, measuring=RARELY)):
        assert rows([*before, *trained(run)]) == rows(trained(LaneRun(wanted, measuring=RARELY, lanes=2)))

    other = LaneRun(trials(1), measuring=MeasuringConfig(evaluate_ratio=1.5))
    (why,) = other.adopt([saved])[1].values()
    assert "measured in another way" in why


def test_without_a_rule_parked_trials_simply_continue(undisturbed: dict[tuple[str, int], Measurement]) -> None:
    run = LaneRun(trials(6), measuring=RARELY, lanes=3, parking=Never())
    first = run.advance(1)
    run = LaneRun.restore(run.save(), trials(6), measuring=RARELY)
    assert rows([*first, *trained(run)]) == undisturbed
