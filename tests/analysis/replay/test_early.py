from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.replay.early import auroc, separation, signals
from tests.analysis.replay.made import recording

NUMBERS = st.lists(st.sampled_from([0.0, 1.0, 2.0, -1.0, math.nan]), max_size=8)


@given(NUMBERS, NUMBERS)
def test_pairs_are_counted_as_by_hand(grokkers: list[float], failures: list[float]) -> None:
    def low(value: float) -> float:
        return -math.inf if math.isnan(value) else value

    by_hand = sum(1.0 if low(g) > low(f) else 0.5 if low(g) == low(f) else 0.0 for g in grokkers for f in failures)
    assert auroc(grokkers, failures) == (by_hand, len(grokkers) * len(failures))


def test_a_perfect_and_a_useless_signal() -> None:
    trials = [recording(f"g{seed}", grok=500, seed=seed) for seed in range(3)]
    trials += [recording(f"f{seed}", seed=seed, accuracy=0.95 if seed else 0.1) for seed in range(4)]
    sweeps = {"s": trials}
    perfect = separation(sweeps, lambda trial, _: float(trial.grokked), 0.1, hard_only=False)
    assert (perfect.pairs, perfect.auroc) == (12, 1.0)
    assert separation(sweeps, lambda *_: 0.0, 0.1, hard_only=False).auroc == 0.5
    assert separation(sweeps, lambda *_: 0.0, 0.1, hard_only=True).pairs == 3


def test_trials_that_have_grokked_or_not_memorised_are_not_judged() -> None:
    trials = [recording("early", grok=100), recording("late", grok=600, seed=1), recording("f", seed=2)]
    assert separation({"s": trials}, lambda *_: 0.0, 0.2, hard_only=False).pairs == 1


def test_pairs_are_of_one_sweep() -> None:
    sweeps = {"a": [recording("g", grok=500)], "b": [recording("f")]}
    assert math.isnan(separation(sweeps, lambda *_: 0.0, 0.1, hard_only=False).auroc)


def test_signals_are_signed_so_that_larger_means_sooner() -> None:
    falling, flat = recording("g", grok=600), recording("f", seed=1)
    at = int(np.searchsorted(falling.trajectory.step, 300))
    of = signals([falling, flat])
    for name in ("validation loss", "fall of validation loss"):
        assert of[name](falling, at) > of[name](flat, at)
    assert of["fall of validation loss"](falling, at) == pytest.approx(math.log(3) / 2, abs=0.01)
    assert of["setting weight decay"](flat, at) == 1.0
    assert of["decline of complexity"](flat, at) == 0.0
