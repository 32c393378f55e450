from __future__ import annotations

import math
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.errors import AnalysisError
from analysis.survival.terms import terms

COVERAGE = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "estimate_coverage.py"))
NONE, RULE = COVERAGE["STOPPINGS"][0], COVERAGE["STOPPINGS"][3]
RATIOS = {
    ("weight_decay", 0.1): 7 / 12, ("weight_decay", 1.0): 5 / 12,
    ("data_fraction", 0.3): 0.75, ("data_fraction", 0.4): 0.625, ("data_fraction", 0.5): 0.5,
}  # fmt: skip


@pytest.mark.parametrize("stopping", [NONE, RULE])
@pytest.mark.parametrize("seeds", [3, 12])
def test_time_ratios_are_those_that_were_planted(stopping: Any, seeds: int) -> None:
    generator = np.random.default_rng([seeds, int(stopping is RULE)])
    covered, errors = [], []
    for _ in range(6):
        table = analysis.effects(*COVERAGE["planted"](seeds, stopping, generator))
        truth = np.array([RATIOS[key] for key in zip(table["setting"], table["level"], strict=True)])
        covered.append((table["time_ratio_low"] <= truth) & (truth <= table["time_ratio_high"]))
        errors.append(np.log(table["time_ratio"] / truth))
    assert np.mean(covered) >= 0.86  # two standard errors below .95 with 30 of them
    assert seeds == 3 or abs(np.mean(errors)) < 0.25


def test_effects_have_a_row_for_each_level_and_say_what_it_is_compared_with() -> None:
    events, audits = COVERAGE["planted"](12, NONE, np.random.default_rng(1))
    table = analysis.effects(events, audits)
    assert list(zip(table["setting"], table["level"], table["reference"], strict=True)) == [
        ("data_fraction", 0.3, 0.2), ("data_fraction", 0.4, 0.2), ("data_fraction", 0.5, 0.2),
        ("weight_decay", 0.1, 0.0), ("weight_decay", 1.0, 0.0),
    ]  # fmt: skip
    for name in ("time_ratio", "odds_ratio"):
        assert (table[f"{name}_low"] < table[name]).all()
        assert (table[name] < table[f"{name}_high"]).all()
    only = analysis.effects(events, audits, settings=["weight_decay"], law=table.attrs["law"])
    assert only["time_ratio"].tolist() == pytest.approx(table["time_ratio"].tolist()[3:], rel=1e-3)


def test_a_setting_of_many_numbers_is_a_slope_and_one_that_another_determines_has_no_term() -> None:
    cells = pd.DataFrame(
        {"width": [16, 32, 64, 128, 256, 512, 1024], "hidden_width": [64, 128, 256, 512, 1024, 2048, 4096]}
    )
    (term,) = terms(cells)
    assert (term.setting, term.level) == ("width", "doubled")
    assert np.diff(term.column) == pytest.approx(1)
    words = pd.DataFrame({"model_kind": ["mlp", "transformer", "mlp"], "heads": [0.0, np.nan, 0.0]})
    assert [(one.setting, one.level, one.reference) for one in terms(words)] == [
        ("model_kind", "transformer", "mlp")
    ]


def test_without_a_grok_there_is_no_time() -> None:
    events, audits = COVERAGE["planted"](3, NONE, np.random.default_rng(1))
    with pytest.raises(AnalysisError, match="trials that grokked"):
        analysis.effects(events[events["grok_step"].isna()], audits)


def test_the_check_of_fit_accepts_the_planted_law_and_rejects_two_groups_of_times() -> None:
    events, audits = COVERAGE["planted"](40, NONE, np.random.default_rng(2))
    fits = analysis.fit_check(events, audits)
    assert fits["observed"].sum() == pytest.approx(len(events))
    assert fits["expected"].sum() == pytest.approx(len(events))
    assert fits.attrs["p_value"] > 0.05
    early = events["seed"] % 2 == 0
    factor = np.where(early, 1 / 16, 1.0)
    two = events.assign(grok_step=events["grok_step"] * factor, grok_after_step=events["grok_after_step"] * factor)
    assert analysis.fit_check(two, audits).attrs["p_value"] < 0.05


def crossing(seeds: int, generator: np.random.Generator) -> pd.DataFrame:
    """Rows of a map with their own centres: half grok at data fractions .45, .35 and .28."""
    rows = []
    for decay, centre, slope in ((0.0, 0.45, 9), (0.1, 0.35, 12), (1.0, 0.28, 7)):
        for fraction in (0.2, 0.25, 0.3, 0.4, 0.5):
            share = 1 / (1 + (centre / fraction) ** slope)
            for seed in range(seeds):
                grok = 384.0 if generator.random() < share else np.nan
                rows.append((decay, fraction, seed, grok - 64, grok, 4_000.0))
    names = ["weight_decay", "data_fraction", "seed", "grok_after_step", "grok_step", "last_step"]
    frame = pd.DataFrame(rows, columns=names).assign(
        ended_because="budget", budget_steps=4_000, memorisation_step=99.0
    )
    return frame.assign(trial_id=[f"trial-{number}" for number in range(len(frame))])


@pytest.mark.parametrize("seeds", [3, 12])
def test_the_boundary_is_where_it_was_planted(seeds: int) -> None:
    generator = np.random.default_rng(seeds)
    truth = np.array([0.45, 0.35, 0.28])
    covered, errors = [], []
    for _ in range(20):
        table = analysis.boundary(crossing(seeds, generator))
        covered.append((table["boundary_low"] <= truth) & (truth <= table["boundary_high"]))
        errors.append(np.log(table["boundary"] / truth))
    assert 0.88 <= np.mean(covered) <= 1
    assert abs(np.nanmean(errors)) < 0.03


def test_a_boundary_that_was_not_tested_is_open() -> None:
    frame = crossing(6, np.random.default_rng(1))
    all_grok = frame.assign(grok_step=384.0, grok_after_step=320.0)
    table = analysis.boundary(all_grok)
    assert table["boundary"].isna().all()
    assert (table["boundary_low"] == 0).all()
    assert (table["boundary_high"] <= 0.25).all()
    none = analysis.boundary(frame.assign(grok_step=np.nan, grok_after_step=np.nan))
    assert (none["boundary_high"] == math.inf).all()
    assert (none["boundary_low"] >= 0.4).all()


def test_a_boundary_needs_numbers() -> None:
    frame = crossing(2, np.random.default_rng(1)).assign(lab="north")
    with pytest.raises(AnalysisError, match="setting of numbers"):
        analysis.boundary(frame, x="lab")
