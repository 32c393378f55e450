from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

import analysis
from analysis.errors import AnalysisError
from analysis.stopping.decline import DeclineParameters
from analysis.trajectory import Trajectory
from tests.analysis.stopping.test_decline import BUDGET, STEPS, memoriser


def rows(history: Trajectory, name: str, because: str | None, last: int = BUDGET) -> pd.DataFrame:
    frame = pd.DataFrame({column: getattr(history, column) for column in Trajectory.__slots__})
    return frame.assign(trial_id=name, budget_steps=BUDGET, ended_because=because)[frame["step"] <= last]


def grokker() -> Trajectory:
    history = memoriser(complexity=[100, 200, 300, 300, 250, 200, 150, 100, *[90] * (len(STEPS) - 8)])
    accuracy = history.val_accuracy.copy()
    accuracy[6:] = 1
    return replace(history, val_accuracy=accuracy)


def test_advice() -> None:
    df = pd.concat(
        [
            rows(grokker(), "grokked", "grokked", last=4096),
            rows(grokker(), "in its tail", None, last=1024),
            rows(memoriser(), "diverged", "diverged", last=512),
            rows(memoriser(), "early", None, last=512),
            rows(memoriser(), "failed early", "failed", last=512),
            rows(memoriser(), "hopeless", None, last=8192),
            rows(memoriser(), "over", "budget"),
            rows(memoriser(complexity=[100, 200, 300, *[250] * (len(STEPS) - 3)]), "over but declining", "budget"),
        ]
    )
    advice = analysis.decide(df.sample(frac=1, random_state=0)).set_index("trial_id")
    assert advice["action"].to_dict() == {
        "grokked": "compress",
        "in its tail": "continue",
        "diverged": "abandon",
        "early": "continue",
        "failed early": "continue",
        "hopeless": "abandon",
        "over": "abandon",
        "over but declining": "continue",
    }
    assert advice.loc["grokked", "reason"] == (
        "Grokked at step 1,024; complexity is 70% below its peak of 300 bytes."
    )
    assert "no decline of complexity in 64 times" in advice.loc["hopeless", "reason"]
    assert advice["probability"].between(0, 1).all()


def test_parameters_and_thresholds_are_the_rules() -> None:
    df = rows(memoriser(), "a", None, last=1024)
    assert analysis.decide(df, DeclineParameters(patience=5))["action"].to_list() == ["abandon"]
    assert analysis.decide(df, DeclineParameters(patience=50))["action"].to_list() == ["continue"]


def test_a_network_that_grokked_unmeasured_is_not_past_its_tail() -> None:
    history = grokker()
    blind = replace(history, complexity_bytes=history.complexity_bytes * math.nan)
    assert analysis.decide(rows(blind, "a", None))["action"].to_list() == ["continue"]


def test_missing_columns_are_named() -> None:
    with pytest.raises(AnalysisError, match="budget_steps missing"):
        analysis.decide(rows(memoriser(), "a", None).drop(columns="budget_steps"))


def test_no_rows_no_advice() -> None:
    assert len(analysis.decide(rows(memoriser(), "a", None).iloc[:0])) == 0
