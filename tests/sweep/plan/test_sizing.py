"""How large a trial is."""

from __future__ import annotations

import dataclasses

import pytest

from sweep.errors import SweepError
from sweep.plan.sizing import LANES_ON_A_GPU, lanes_for, trial_flops, watching_flops
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.schedule import MeasuringConfig


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


def test_watching_is_a_part_of_the_whole() -> None:
    trial = TrialConfig(task=TaskConfig(modulus=17), model=ModelConfig(width=32), steps=1000)
    whole, watching = trial_flops(trial, MeasuringConfig()), watching_flops(trial, MeasuringConfig())
    assert 0 < watching < whole
    often = MeasuringConfig(measure_ratio=1.1)
    more = watching_flops(trial, often) - watching
    assert more > 0
    assert trial_flops(trial, often) - whole == pytest.approx(more)


def test_a_rarer_penalty_takes_less_work() -> None:
    trial = TrialConfig(task=TaskConfig(modulus=17), spectral_entropy_weight=0.1, steps=1000)
    work = [
        trial_flops(dataclasses.replace(trial, **one), MeasuringConfig())
        for one in ({}, {"spectral_every": 4}, {"spectral_entropy_weight": 0.0})
    ]
    assert work == sorted(work, reverse=True)
    assert work[0] - work[1] == pytest.approx(3 * (work[1] - work[2]))


def test_lanes_are_bounded_by_memory() -> None:
    small = TrialConfig(task=TaskConfig(modulus=17), model=ModelConfig(width=32))
    large = TrialConfig(model=ModelConfig(width=4096, layers=8))
    assert lanes_for(small, "auto", "cpu", 2**30) == 8
    assert lanes_for(small, 3, "cpu", 2**30) == 3
    assert lanes_for(small, "auto", "cuda", 2**34) == LANES_ON_A_GPU
    assert 8 < lanes_for(small, "auto", "cuda", 2**26) < LANES_ON_A_GPU
    with pytest.raises(
        SweepError, match=r"lanes: 1 of this network need .*; choose a smaller one, or fewer processes"
    ):
        lanes_for(large, "auto", "cpu", 2**30)
    with pytest.raises(
        SweepError, match=r"lanes: 1,000,000 of this network need .* choose at most [\d,]+, or leave"
    ):
        lanes_for(small, 1_000_000, "cpu", 2**30)
