"""One setting compared at equal steps on pairs of one seed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.errors import AnalysisError
from tests.analysis.made_up import Fate, grid, write_sweep


@pytest.fixture
def rows(tmp_path: Path) -> pd.DataFrame:
    """Five seeds; with the penalty all grok, early and then end; of those without the last two are stopped."""
    fates = [
        (
            one,
            Fate(outcome="grokked", grok_step=1000)
            if one.spectral_entropy_weight
            else Fate(outcome="stopped" if one.seed > 2 else "budget", last_step=3000),
        )
        for one in grid(
            weight_decay=(1.0,), data_fraction=(0.3,), spectral_entropy_weight=(0.0, 0.1), seeds=5, steps=4000
        )
    ]
    return analysis.load(write_sweep(tmp_path / "sweep", fates))


def test_pairs_of_a_seed_at_equal_steps(rows: pd.DataFrame) -> None:
    table = analysis.paired_accuracy(rows, "spectral_entropy_weight", (0.0, 0.1), [500, 4000]).set_index("step")
    assert list(table["pairs"]) == [5, 3]  # stopped trials say nothing of later steps, grokked ones do
    assert table.loc[4000, "difference"] > 0.8
    assert (table.loc[4000, "first_better"], table.loc[4000, "second_better"]) == (0, 3)
    assert table.loc[4000, "low"] <= table.loc[4000, "difference"] <= table.loc[4000, "high"]

    by_hand = rows[rows["step"] <= 500].groupby("trial_id", observed=True).tail(1)
    means = by_hand.groupby("spectral_entropy_weight")["val_accuracy"].mean()
    assert table.loc[500, "first"] == pytest.approx(means[0.0])
    assert table.loc[500, "second"] == pytest.approx(means[0.1])


def test_the_other_way_round_the_sign_changes(rows: pd.DataFrame) -> None:
    one, other = (
        analysis.paired_accuracy(rows, "spectral_entropy_weight", values, [2000]).iloc[0]
        for values in ((0.0, 0.1), (0.1, 0.0))
    )
    assert one["difference"] == pytest.approx(-other["difference"])


def test_what_has_no_pairs_is_refused(rows: pd.DataFrame) -> None:
    with pytest.raises(AnalysisError, match="no two trials differ in nothing but weight_decay 0 and 1"):
        analysis.paired_accuracy(rows, "weight_decay", (0, 1), [500])
    with pytest.raises(AnalysisError, match="'train_loss' is not among the settings"):
        analysis.paired_accuracy(rows, "train_loss", (0, 1), [500])
