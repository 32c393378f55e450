"""What trials of a lane run have in common."""

from __future__ import annotations

import pytest
import torch

from tests.trainables.lanes.small import RARELY, trial
from trainables.config import ModelConfig, TrialConfig
from trainables.errors import ConfigError
from trainables.lanes import effective_batch_size, train
from trainables.lanes.shape import Shape


def test_batches() -> None:
    assert effective_batch_size(trial(batch_size=None)) == 24
    assert effective_batch_size(trial(batch_size=0)) == 48
    assert effective_batch_size(trial(batch_size=None, data_fraction=0.01)) == 1
    assert effective_batch_size(TrialConfig()) == 512
    with pytest.raises(ConfigError, match="batch_size must be at most"):
        effective_batch_size(trial(batch_size=49))
    rows = list(train([trial(batch_size=0, steps=3)], measuring=RARELY))
    end = rows[-1].end
    assert end is not None
    assert end.ending.because == "budget"


def test_lanes_are_batched_or_trained_one_by_one() -> None:
    """Where there is a gradient by hand, a lane alone has the bits that it has in company."""
    cpu = torch.device("cpu")
    batched = Shape.of(trial(), cpu)
    assert (batched.one_by_one, batched.fewest_lanes) == (False, 2)
    by_hand = Shape.of(trial(model=ModelConfig(width=12, heads=3, hidden_width=1930)), cpu)
    assert (by_hand.one_by_one, by_hand.fewest_lanes) == (True, 1)


def test_a_trial_begins_with_its_seeds_weights_and_without_moments() -> None:
    shape = Shape.of(trial(), torch.device("cpu"))
    first, again, other = (shape.initial_state(seed) for seed in (0, 0, 1))
    assert torch.equal(first["weights"], again["weights"])
    assert not torch.equal(first["weights"], other["weights"])
    assert {name: tuple(row.shape) for name, row in first.items()} == dict.fromkeys(first, (shape.layout.weights,))
    assert not first["first_moment"].any()
    assert not first["second_moment"].any()
