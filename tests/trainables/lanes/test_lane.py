"""A trial in training: its batches, when its complexity is measured, and its record."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.trainables.lanes.small import RARELY, trial
from tests.trainables.made_up import measurement
from trainables.config.drift import Drift
from trainables.lanes.lane import Lane

DRIFTING = trial(steps=200, drift=Drift.of({64: {"split": 1}}))


def test_each_epoch_is_a_permutation_of_the_training_examples() -> None:
    lane = Lane.begin(0, trial(), RARELY)
    examples = lane.split.train  # 48, of which an epoch has two whole batches of 17
    batches = lane.next_batches(6, 17)
    epochs = batches.reshape(3, 34)
    for epoch in epochs:
        assert len(epoch.unique()) == 34
        assert torch.isin(epoch, examples).all()
    assert not torch.equal(epochs[0], epochs[1])


@pytest.mark.parametrize("age", [1, 5, 64, 67])
def test_a_resumed_trial_draws_the_batches_it_would_have_drawn(age: int) -> None:
    """From the middle of an epoch, and in a later phase, whose epochs are counted from the exchange."""
    lane = Lane.begin(0, DRIFTING, RARELY)
    if age >= 64:
        lane.exchange()
        lane.age = 64
    uninterrupted = lane.next_batches(12, 17)[age - lane.age :]
    lane.age = age
    resumed = Lane.resume(lane.record(), DRIFTING, RARELY)
    assert torch.equal(resumed.next_batches(len(uninterrupted), 17), uninterrupted)


def test_a_record_holds_what_does_not_follow_from_the_trial() -> None:
    lane = Lane.begin(3, DRIFTING, RARELY)
    lane.age, lane.penalised_from, lane.train_wall_s, lane.measure_wall_s = 70, 64, 1.5, 2.5
    lane.exchange()
    lane.history = [measurement(DRIFTING, 0)]
    lane.evaluated = [step for step in lane.evaluated if step > 70]
    resumed = Lane.resume(lane.record(), DRIFTING, RARELY)
    for field in dataclasses.fields(Lane):
        if field.name not in ("split", "order"):
            assert getattr(resumed, field.name) == getattr(lane, field.name), field.name
    assert torch.equal(resumed.split.train, lane.split.train)
    assert lane.record().history is not lane.history


def at(age: int, past: dict[int, float]) -> Lane:
    """A lane with the validation accuracies of earlier steps, whose complexity was measured at step 0 only."""
    config = trial(steps=1000)
    lane = Lane.begin(0, config, RARELY)
    lane.age = age
    lane.history = [
        dataclasses.replace(
            measurement(config, step), val_accuracy=accuracy, complexity_bytes=None if step else 300
        )
        for step, accuracy in past.items()
    ]
    return lane


@pytest.mark.parametrize(
    ("age", "past", "accuracy", "why"),
    [
        (0, {}, 0.0, "the schedule"),
        (1000, {0: 0.0}, 0.0, "the schedule"),
        (100, {0: 0.0, 64: 0.05}, 0.099, None),
        (100, {0: 0.0, 64: 0.05}, 0.101, "accuracy has moved"),
        (100, {0: 0.95, 64: 0.95}, 0.95, None),  # at the threshold since step 0: the tail was over at once
        (192, {0: 0.85, 96: 0.92, 160: 0.92}, 0.92, "160 < 2 x 96"),
        (224, {0: 0.85, 96: 0.92, 192: 0.92}, 0.92, None),
        (224, {0: 0.85, 96: 0.92, 128: 0.85, 192: 0.92}, 0.92, "it fell below and came back at 192"),
        (224, {0: 0.85, 96: 0.92, 192: 0.92}, 0.89, None),
    ],
)
def test_when_complexity_is_measured(age: int, past: dict[int, float], accuracy: float, why: str | None) -> None:
    """On schedule, after a move of 0.1, and while accuracy has been at 0.9 for less than twice as long."""
    lane = at(age, past)
    assert lane.needs_complexity(accuracy, grokked_at=0.9) == (why is not None)
