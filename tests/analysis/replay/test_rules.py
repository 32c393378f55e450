from __future__ import annotations

import numpy as np
import pytest

from analysis.errors import AnalysisError
from analysis.replay.lanes import Rule, alone, parking
from analysis.replay.rules import named_rule, rule_of_function
from analysis.stopping.decline import DeclineParameters, first_stop
from analysis.stopping.parking import ParkingParameters
from tests.analysis.replay.made import recording

TRIALS = [recording(f"f{seed}", seed=seed) for seed in range(3)] + [recording("g", grok=400, seed=3)]


def steps(rule: Rule | None) -> list[int]:
    assert rule is not None
    return [int(step) for step in rule(TRIALS, 2).steps]


def test_rules_by_name_are_the_rules_themselves() -> None:
    bold = DeclineParameters(patience=2)
    by_hand = alone(lambda trial: first_stop(trial.trajectory, trial.budget_steps, bold, trial.thresholds))
    assert steps(named_rule("decline(patience=2)").rule) == steps(by_hand)
    chosen = parking(ParkingParameters(patience=0.3, cells=False))
    assert steps(named_rule("park(patience=0.3, cells=False)").rule) == steps(chosen)
    assert steps(named_rule("stall(patience=0.3)").rule) == [350, 350, 350, 800]


@pytest.mark.parametrize("name", ["stall", "park", "park(signal='complexity')", "stall(loss_fall=0.1)"])
def test_without_a_patience_a_rule_is_a_family(name: str) -> None:
    named = named_rule(name)
    assert named.rule is None
    assert named.family is not None
    assert np.sum(steps(named.family(0.2))) < np.sum(steps(named.family(0.9)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("oracle", "must be one of decline, stall, park, got 'oracle'"),
        ("stall(patience=2)", r"must lie in \(0, 1\], got 2"),
        ("stall(patience=0.3, colour=1)", "is no rule: .*colour"),
        ("park(colour=1)", "is no rule: .*colour"),
        ("decline(patience=0)", "decline.patience must be finite and at least 1"),
        ("stall(0.3)", "must be written as a name or as"),
        ("stall(patience=open('x'))", "must be written as a name or as"),
        ("import os", "must be written as a name or as"),
        ("", "must be written as a name or as"),
    ],
)
def test_other_text_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(AnalysisError, match=message) as caught:
        named_rule(text)
    assert "\n" not in str(caught.value)


def test_a_function_is_a_rule() -> None:
    named = rule_of_function("mine:rule", lambda trial: 200 if trial.seed else None)
    assert steps(named.rule) == [1000, 200, 200, 200]
    with pytest.raises(AnalysisError, match="mine:rule must return a step or None, got 'x' for trial f0"):
        steps(rule_of_function("mine:rule", lambda _: "x").rule)
    with pytest.raises(AnalysisError, match=r"mine:rule raised ZeroDivisionError: .*zero, on trial f0"):
        steps(rule_of_function("mine:rule", lambda _: 1 // 0).rule)
