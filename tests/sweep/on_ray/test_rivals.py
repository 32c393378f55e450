from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.replay.recordings import Recording
from analysis.replay.rules import named_rule
from sweep.on_ray.rivals import RIVALS
from tests.analysis.replay.made import recording

#: Eight trials with validation accuracies from .1 to .8, flat all the time.
TRIALS = [recording(f"t{place}", seed=place, accuracy=(place + 1) / 10) for place in range(8)]


def steps(text: str, trials: list[Recording] = TRIALS) -> list[int]:
    rule = named_rule(text, RIVALS).rule
    assert rule is not None
    return [int(step) for step in rule(trials, 4).steps]


def test_asha_keeps_the_best_of_each_rung() -> None:
    best_first = TRIALS[::-1]
    stopped = steps("asha(reduction_factor=4, grace=10)", best_first)
    # At each rung, 10 and 40 % of the budget, a trial that is not in the best quarter so far is stopped.
    assert stopped == [1000, *[100] * 7]


def test_median_stopping_stops_the_worse_half_after_its_grace_period() -> None:
    stopped = steps("median(grace=30)", TRIALS[::-1])
    # A trial is compared with those that have come as far; the first three have too few to be compared with.
    assert stopped == [1000] * 3 + [300] * 5


def test_hyperband_is_the_same_in_every_replay() -> None:
    assert steps("hyperband(grace=10)") == steps("hyperband(grace=10)")


def test_losses_are_minimised() -> None:
    turned = [
        replace(trial, trajectory=replace(trial.trajectory, val_loss=np.full(len(trial.trajectory), 10.0 - place)))
        for place, trial in enumerate(TRIALS)
    ]
    assert steps("asha(metric='val_loss', grace=10)", turned) == steps("asha(grace=10)")


def test_evaluations_without_a_number_are_not_reported() -> None:
    unknown = replace(TRIALS[0], trajectory=replace(TRIALS[0].trajectory, val_accuracy=np.full(21, math.nan)))
    assert steps("asha", [unknown, *TRIALS[1:]])[0] == 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("asha(metric='l2_norm')", "metric must be one of val_accuracy, val_loss"),
        ("median(colour=1)", "is no rule"),
    ],
)
def test_impossible_rivals_are_refused(text: str, message: str) -> None:
    with pytest.raises(AnalysisError, match=message):
        steps(text)
