"""How large a trial is."""

from __future__ import annotations

import dataclasses

import pytest

from sweep.errors import SweepError
from sweep.sizing import lanes_for, trial_flops
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.measuring import MeasuringConfig
from trainables.memory import lane_bytes


@pytest.mark.parametrize(
    "more",
    [
        {"steps": 2000},
        {"model": ModelConfig(width=64)},
        {"model": ModelConfig(width=32, layers=2)},
        {"task": TaskConfig(modulus=31)},
        {"spectral_entropy_weight": 0.1},
        {"batch_size": 0},
    ],
)
def test_more_of_anything_takes_more_work(more: dict[str, object]) -> None:
    trial = TrialConfig(task=TaskConfig(modulus=17), model=ModelConfig(width=32), steps=1000)
    assert trial_flops(dataclasses.replace(trial, **more), MeasuringConfig()) > trial_flops(
        trial, MeasuringConfig()
    )


def test_lanes_are_bounded_by_memory() -> None:
    small = TrialConfig(task=TaskConfig(modulus=17), model=ModelConfig(width=32))
    large = TrialConfig(model=ModelConfig(width=4096, layers=8))
    assert lane_bytes(small) < 2**26 < 2**30 < lane_bytes(large)
    assert lanes_for(small, "auto", "cpu", 2) == 8
    assert lanes_for(small, 3, "cpu", 2) == 3
    with pytest.raises(SweepError, match=r"lanes: 1 of this network need .*; choose a smaller one"):
        lanes_for(large, "auto", "cpu", 10_000)
    assert lanes_for(small, "auto", "cuda", 1) > 8
    with pytest.raises(
        SweepError, match=r"lanes: 1,000,000 of this network need .* choose at most [\d,]+, or leave"
    ):
        lanes_for(small, 1_000_000, "cpu", 1)
