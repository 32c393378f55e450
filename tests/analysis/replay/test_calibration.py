from __future__ import annotations

import math

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.replay.calibration import PATIENCES, Replayed, calibrate, fewest_grokkers
from analysis.replay.lanes import Rule, alone
from analysis.replay.recordings import Recording
from analysis.replay.rules import first_stall
from analysis.replay.score import Scoring
from analysis.stopping.stall import StallParameters
from tests.analysis.replay.made import recording


@pytest.mark.parametrize(("alpha", "least"), [(0.5, 1), (0.1, 9), (0.05, 19), (0.025, 39), (0.01, 99), (0.3, 3)])
def test_the_fewest_grokkers_for_a_level(alpha: float, least: int) -> None:
    assert fewest_grokkers(alpha) == least
    assert calibrate(dict.fromkeys(PATIENCES, 0), least, alpha) is not None
    assert calibrate(dict.fromkeys(PATIENCES, 0), least - 1, alpha) is None


@pytest.mark.parametrize("alpha", [0, 1, -0.1, math.nan])
def test_an_impossible_level_is_refused(alpha: float) -> None:
    with pytest.raises(AnalysisError, match=r"must lie in \(0, 1\)"):
        fewest_grokkers(alpha)


def test_a_bold_number_is_not_admitted_if_a_more_patient_one_is_not() -> None:
    # 99 grokkers at 5 %: at most four may be lost. 0.3 would pass alone, but 0.4 does not.
    calibrated = calibrate({1.0: 0, 0.5: 4, 0.4: 5, 0.3: 2}, 99, 0.05)
    assert calibrated is not None
    assert (calibrated.patience, calibrated.lost, calibrated.grokkers) == (0.5, 4, 99)


def test_even_the_most_patient_number_may_lose_too_many() -> None:
    assert calibrate({1.0: 50, 0.5: 60}, 99, 0.05) is None


def test_the_share_lost_is_at_most_alpha_on_average() -> None:
    """Simulate the guarantee: 1,000 sweeps of exchangeable grokkers, each with a last stall drawn at random."""
    random = np.random.default_rng(0)
    alpha, n, new = 0.1, 40, 25
    shares = []
    for _ in range(1000):
        last_stalls = random.beta(1, random.uniform(3, 8), n + new)
        recorded, coming = last_stalls[:n], last_stalls[n:]
        lost = {patience: int((recorded > patience).sum()) for patience in PATIENCES}
        calibrated = calibrate(lost, n, alpha)
        assert calibrated is not None
        shares.append(float((coming > calibrated.patience).mean()))
    error = np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) < alpha + 2 * error
    assert np.mean(shares) > alpha / 2  # the calibration is not merely timid


def stall_family(patience: float) -> Rule:
    return alone(lambda trial: first_stall(trial, patience, StallParameters()))


def sweep(name: str, last_stall: int) -> list[Recording]:
    """Make a sweep of 20 grokkers of which one stalls for long, and five failures."""
    late = recording("late", grok=900, last_fall=900, seed=50, sweep=name)
    stalled = np.full(len(late.trajectory), 5.0)
    after = late.trajectory.step > last_stall
    stalled[after] = 5.0 * (late.trajectory.step[after] / last_stall) ** -0.5
    late.trajectory.val_loss[:] = stalled
    quick = [recording(f"{name}{seed}", grok=100, seed=seed, sweep=name) for seed in range(19)]
    return [late, *quick, *(recording(f"{name}f{seed}", seed=60 + seed, sweep=name) for seed in range(5))]


def test_each_sweep_is_replayed_with_the_number_of_the_others() -> None:
    sweeps = {"a": sweep("a", 300), "b": sweep("b", 500)}
    replayed = Replayed(Scoring(sweeps, 2), stall_family)
    of_a, of_b = replayed.calibrate(0.05, without="b"), replayed.calibrate(0.05, without="a")
    assert of_a is not None
    assert of_b is not None
    assert of_a.patience < of_b.patience
    left_out = replayed.left_out(0.05)
    assert left_out["a"] == replayed.at(of_b.patience)["a"]
    assert left_out["b"] == replayed.at(of_a.patience)["b"]
    assert (left_out["a"].lost, left_out["b"].lost) == ((), ("late",))


def test_too_few_grokkers_elsewhere_leave_a_sweep_unstopped() -> None:
    replayed = Replayed(Scoring({"a": sweep("a", 300), "b": sweep("b", 500)}, 2), stall_family)
    assert {one.saved for one in replayed.left_out(0.01).values()} == {0.0}
