from __future__ import annotations

import numpy as np

from analysis.replay.calibration import Replayed
from analysis.replay.lanes import Rule, alone
from analysis.replay.recordings import Recording
from analysis.replay.rules import first_stall
from analysis.replay.score import Scoring
from analysis.stopping.stall import StallParameters
from tests.analysis.replay.made import recording


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
