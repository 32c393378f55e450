from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

import analysis
from analysis.errors import AnalysisError
from analysis.stopping.decline import DeclineParameters, rule_name
from analysis.stopping.parking import ParkingParameters
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


def test_parameters_come_from_the_trials_own_record() -> None:
    df = rows(memoriser(), "a", None, last=1024).assign(stop_rule=rule_name(DeclineParameters(patience=5)))
    assert analysis.decide(df)["action"].to_list() == ["abandon"]
    assert analysis.decide(df, DeclineParameters(patience=50))["action"].to_list() == ["continue"]
    longer = df.assign(stop_rule=rule_name(DeclineParameters(patience=50)))
    assert analysis.decide(longer)["action"].to_list() == ["continue"]


def test_what_the_rule_has_stopped_is_abandoned_whatever_its_defaults_say() -> None:
    stopped = rows(memoriser(), "a", "stopped", last=512)
    assert analysis.decide(stopped)["action"].to_list() == ["abandon"]
    parked = stopped.assign(stop_rule=ParkingParameters(patience=0.2).name, stop_probability=0.02)
    (one,) = analysis.decide(parked).to_dict("records")
    assert (one["action"], one["chance"]) == ("abandon", 0.02)
    assert one["reason"].endswith("Of recorded trials given up like this 2% grok.")
    running = parked.assign(ended_because=None, stop_probability=math.nan)
    assert analysis.decide(running)["action"].to_list() == ["continue"]
    waiting = running.assign(cell_grokked=0.0, cell_failed=2.0)
    assert analysis.decide(waiting)["action"].to_list() == ["abandon"]


def test_continuing_says_how_many_steps_what_they_cost_and_the_chance() -> None:
    df = rows(memoriser(), "a", None, last=256)
    df["train_wall_s"], df["measure_wall_s"] = 0.01 * df["step"], 0.01 * df["step"]
    (one,) = analysis.decide(df, price_per_hour=36).to_dict("records")
    assert (one["action"], one["more_steps"]) == ("continue", BUDGET - 256)
    assert one["more_s"] == pytest.approx(0.02 * one["more_steps"])
    assert one["cost"] == pytest.approx(one["more_s"] / 100)
    made = analysis.forecasts(df).iloc[0]
    assert one["chance"] == made["chance"]
    assert f"{one['more_steps']:,.0f} more steps, to the end of its budget (" in one["reason"]
    assert f"the chance of a grok in them is {made['chance']:.0%}" in one["reason"]
    unmemorised = df.assign(train_accuracy=0.5)
    assert "can be forecast once it has memorised" in analysis.decide(unmemorised)["reason"].item()
    assert math.isnan(analysis.decide(unmemorised)["chance"].item())


def test_a_budget_that_is_over_is_prolonged_by_the_numbers() -> None:
    """Trials that declined and did not grok: what others did that were followed twice as long decides."""
    path = memoriser(complexity=[100, 200, 300, *[250] * (len(STEPS) - 3)])
    half = 4096
    open_one = rows(path, "mine", "budget", last=half).assign(budget_steps=half)

    def others(grok: bool) -> list[pd.DataFrame]:
        accuracy = path.val_accuracy.copy()
        accuracy[-3:] = 1 if grok else 0.1
        return [rows(replace(path, val_accuracy=accuracy), f"o{n}", "budget") for n in range(30)]

    for grok, action in ((False, "abandon"), (True, "continue")):
        advice = analysis.decide(pd.concat([open_one, *others(grok)])).set_index("trial_id").loc["mine"]
        assert advice["action"] == action
        assert advice["chance"] == pytest.approx(float(grok))
        assert advice["more_steps"] == half or not grok


def lost(name: str, accuracy: list[float]) -> pd.DataFrame:
    """A trial that grokked at 1,024, with these validation accuracies at its last evaluations."""
    history = grokker()
    after = history.val_accuracy.copy()
    after[len(after) - len(accuracy) :] = accuracy
    return rows(replace(history, val_accuracy=after), name, "grokked")


def test_a_lost_grok_is_never_compressed_as_it_is() -> None:
    mine = lost("mine", [0.45])
    assert analysis.events(mine)["grok_lost"].item()
    (one,) = analysis.decide(mine).to_dict("records")
    assert (one["action"], one["grok_lost"]) == ("continue", True)
    assert "lost it at step" in one["reason"]
    assert "validation accuracy is 0.45 now. No other trial shows whether that recovers" in one["reason"]
    back = [lost(f"b{n}", [0.5, 1.0]) for n in range(4)]
    gone = [lost(f"g{n}", [0.5, 0.5]) for n in range(4)]
    for others, action in ((back, "continue"), (gone, "abandon")):
        frame = pd.concat([lost("mine", [0.45]), *others]).set_index("trial_id", drop=False)
        advice = analysis.decide(frame.reset_index(drop=True)).set_index("trial_id").loc["mine"]
        assert advice["action"] == action
        assert bool(advice["chance"] > 0.5) == (action == "continue")


def test_the_kept_network_of_the_best_step_is_compressed_instead() -> None:
    mine = lost("mine", [0.995, 0.45])
    steps = mine["step"].to_list()
    kept = pd.DataFrame({"trial_id": "mine", "step": [steps[3], steps[-3], steps[-2], steps[-1]]})
    (one,) = analysis.decide(mine, kept=kept).to_dict("records")
    assert (one["action"], one["network_step"]) == ("compress", steps[-3])
    assert f"The network of step {steps[-3]:,} is kept, at validation accuracy 1." in one["reason"]
    only_last = analysis.decide(mine, kept=kept.iloc[[0, 3]])
    assert only_last["action"].to_list() == ["continue"]
    # A fall that it has recovered from is no reason to wait.
    again = analysis.decide(lost("mine", [0.45, 1.0]))
    assert again["action"].to_list() == ["compress"]
    assert again["network_step"].item() == steps[-1]


def test_a_network_that_grokked_unmeasured_is_not_past_its_tail() -> None:
    history = grokker()
    blind = replace(history, complexity_bytes=history.complexity_bytes * math.nan)
    assert analysis.decide(rows(blind, "a", None))["action"].to_list() == ["continue"]


def test_missing_columns_are_named() -> None:
    with pytest.raises(AnalysisError, match="budget_steps missing"):
        analysis.decide(rows(memoriser(), "a", None).drop(columns="budget_steps"))


def test_no_rows_no_advice() -> None:
    assert len(analysis.decide(rows(memoriser(), "a", None).iloc[:0])) == 0
