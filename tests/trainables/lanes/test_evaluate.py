"""Evaluation of lanes: whose turn it is, what a row is of, and how trials end."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.trainables.lanes.small import RARELY, placed, trial
from trainables import scoring
from trainables.lanes.evaluate import Evaluator
from trainables.lanes.lane import Lane
from trainables.measurement import Ending, TrialHistory

TRIALS = [trial(seed=seed, data_fraction=0.3 + 0.1 * seed, steps=64) for seed in range(3)]


def after(lane: Lane, age: int) -> None:
    """Have a lane be at an evaluated step."""
    lane.age = age
    lane.evaluated = [64, age] if age < 64 else [64]


def test_the_trials_that_are_due_are_evaluated_in_the_order_of_the_queue() -> None:
    shape, lanes = placed(TRIALS, 3)
    first, second, third = lanes.running()
    first.trial_index, third.trial_index = 2, 0
    after(second, 5)
    second.evaluated.append(6)
    evaluator = Evaluator(shape, lanes, RARELY)
    assert [m.seed for m in evaluator.evaluate_due()] == [2, 0]
    assert evaluator.evaluate_due() == []
    assert [len(lane.history) for lane in (first, second, third)] == [1, 0, 1]


def test_a_row_is_about_the_lanes_own_network_split_and_table() -> None:
    """Of three lanes, one with another table; compared with each network evaluated by itself."""
    shape, lanes = placed(TRIALS, 3)
    lanes.weights.normal_(generator=torch.Generator().manual_seed(0))
    for place, measurement in enumerate(Evaluator(shape, lanes, RARELY).evaluate_due()):
        lane = lanes.running()[place]
        twice = shape.layout.parameters(lanes.weights[place].repeat(2, 1))
        losses, answers, squares = scoring.table_outcomes(
            shape.architecture, twice, lane.task.inputs, lane.split.targets.repeat(2, 1)
        )
        alone = scoring.scores(losses[0], answers[0], lane.split)
        assert (measurement.train_loss, measurement.val_accuracy) == (alone.train_loss, alone.val_accuracy)
        assert measurement.logit_scale == scoring.logit_scores(squares[0], lane.split).logit_scale
        assert measurement.l2_norm == pytest.approx(float(lanes.weights[place].double().norm()))
        assert (measurement.trial_id, measurement.step) == (TRIALS[place].trial_id, 0)
        assert measurement.complexity_bytes == measurement.complexities[0].complexity_bytes
        assert len(measurement.matrices) > 1
        assert lane.history == [measurement]


@pytest.mark.parametrize(
    ("age", "watched", "because"),
    [
        (40, None, None),
        (40, "grokked", "grokked"),
        (40, "stopped", "stopped"),
        (64, None, "budget"),
        (64, "grokked", "grokked"),
        (64, "stopped", "budget"),
    ],
)
def test_how_a_trial_ends(age: int, watched: Any, because: str | None) -> None:
    def watch(history: TrialHistory) -> Ending | None:
        assert history.measurements[-1].step == age
        return Ending(because=watched, reason="so") if watched else None

    shape, lanes = placed(TRIALS[:1], 2)
    (lane,) = lanes.running()
    after(lane, age)
    (measurement,) = Evaluator(shape, lanes, RARELY, watch).evaluate_due()
    assert (measurement.end.ending.because if measurement.end else None) == because
    assert lane.running == (because is None)
    assert (measurement.network is not None) == (age == 64 or because is not None)


def test_weights_that_are_not_finite_end_a_trial_and_are_not_measured() -> None:
    shape, lanes = placed(TRIALS[:2], 2)
    lanes.weights[0, 0] = math.inf
    diverged, other = Evaluator(shape, lanes, RARELY).evaluate_due()
    assert diverged.end is not None
    assert diverged.end.ending.because == "diverged"
    assert diverged.complexities == diverged.matrices == ()
    assert other.end is None


def test_a_penalty_that_waits_for_the_decline_starts_at_the_next_block() -> None:
    config = trial(spectral_entropy_weight=0.1, spectral_start="at_decline", steps=64)
    shape, lanes = placed([config], 2)
    (lane,) = lanes.running()
    answers = iter([False, True])
    evaluator = Evaluator(shape, lanes, RARELY, declined=lambda _: next(answers))
    for age, start in ((5, None), (33, 64), (50, 64)):
        after(lane, age)
        evaluator.evaluate_due()
        assert lane.penalised_from == start
