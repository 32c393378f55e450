"""Two arms of a study on pairs whose answers are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.errors import AnalysisError
from analysis.events import Thresholds
from analysis.intervals import paired_difference

NEVER = {"spectral_entropy_weight": 0}
LATE = {"spectral_entropy_weight": 0.1, "spectral_start": "at_decline"}
BUDGET = 1000


def trial(
    arm: dict[str, Any], seed: int, grok_step: int | None, complexity: dict[int, int], last: int = BUDGET
) -> pd.DataFrame:
    """Evaluated every 100 steps; memorised from the start."""
    steps = np.arange(0, last + 1, 100)
    settings = {"spectral_start": 0, "weight_decay": 1.0, **arm}
    return pd.DataFrame(
        {
            "trial_id": f"{sorted(settings.items())}-{seed}",
            "step": steps,
            **settings,
            "spectral_start": str(settings["spectral_start"]),
            "seed": seed,
            "train_accuracy": 1.0,
            "val_accuracy": np.where(steps >= (grok_step or math.inf), 1.0, 0.2),
            "complexity_bytes": [complexity.get(int(step), np.nan) for step in steps],
            "effective_rank": 1.0 + steps,
            "budget_steps": BUDGET,
        }
    )


def frame(*trials: pd.DataFrame) -> pd.DataFrame:
    """As `analysis.load` gives them: texts are categories."""
    rows = pd.concat(trials, ignore_index=True)
    return rows.astype({"trial_id": "category", "spectral_start": "category"})


def compared(rows: pd.DataFrame, first: Any = NEVER, second: Any = LATE) -> pd.DataFrame:
    return analysis.paired_arms(rows, first, second, final=["complexity_bytes"]).set_index(["quantity", "at"])


def pairs(*groks: tuple[int | None, int | None], last: tuple[int, int] = (BUDGET, BUDGET)) -> pd.DataFrame:
    """A pair for each, which groks so late without and with the penalty."""
    return frame(
        *(
            trial(arm, seed, groks[seed][index], {0: 100, last[index]: 90}, last[index])
            for seed in range(len(groks))
            for index, arm in enumerate((NEVER, LATE))
        )
    )


def test_the_share_grokked_and_its_difference() -> None:
    comparison = compared(pairs((400, 400), (400, 400), (300, None), (300, None), (200, None), (None, None)))
    row = comparison.loc[("grokked", "end")]
    assert (row["pairs"], row["first_lower"], row["second_lower"]) == (6, 0, 3)
    assert row["first"] == pytest.approx(5 / 6)
    assert row["change"] == pytest.approx(-1 / 2)
    assert (row["low"], row["high"]) == paired_difference(2, 3, 0, 1)
    assert row["p"] == pytest.approx(2 / 2**3)  # three pairs that all fell the same way


def test_the_time_to_grok_of_pairs_that_did_and_who_was_first_of_all() -> None:
    groks = [(200, 400), (200, 500), (100, 300), (600, 300), (400, 400), (500, None), (None, 700), (None, None)]
    row = compared(pairs(*groks)).loc[("grok_step", "end")]
    assert (row["pairs"], row["first"], row["second"], row["change"]) == (5, 200, 400, 2)
    assert math.isnan(row["low"])  # five pairs are too few
    assert (row["first_lower"], row["second_lower"]) == (4, 2)  # ties and pairs that never did tell nothing

    more = compared(pairs(*groks, (100, 800))).loc[("grok_step", "end")]
    assert (more["change"], more["low"], more["high"]) == (2.25, 0.5, 8)


def test_who_was_not_followed_so_far_may_have_been_sooner() -> None:
    rows = pairs((400, None), (300, None), last=(BUDGET, 350))
    comparison = compared(rows)
    assert list(comparison.loc[("grok_step", "end"), ["first_lower", "second_lower"]]) == [1, 0]
    assert comparison.loc[("grokked", "end"), "pairs"] == 0
    assert list(comparison.loc[("grokked", "end"), ["low", "high"]]) == [-1, 1]
    assert comparison.loc[("complexity_bytes", "end"), "pairs"] == 0
    assert comparison.loc[("complexity_bytes", "same_step"), "pairs"] == 2  # both were measured at step 0


def test_complexity_at_the_end_and_at_the_same_step() -> None:
    tail = {300: 250, 400: 220, 500: 200}
    rows = frame(
        # Followed through its tail, to step 500; the other one to the end of its budget.
        trial(NEVER, 0, 200, {0: 50, 100: 400, **tail}, last=500),
        trial(LATE, 0, None, {0: 50, 100: 300, 300: 500, 600: 900, BUDGET: 100}),
        trial(NEVER, 1, None, {0: 50, BUDGET: 400}),
        trial(LATE, 1, None, {0: 50, BUDGET: 100}),
        # Interrupted in its tail: it ends nowhere.
        trial(NEVER, 2, 200, {0: 50, 100: 400}, last=300),
        trial(LATE, 2, None, {0: 50, 100: 600, BUDGET: 7}),
    )
    comparison = compared(rows)
    end, same = comparison.loc[("complexity_bytes", "end")], comparison.loc[("complexity_bytes", "same_step")]
    assert (end["pairs"], end["first"], end["second"]) == (2, 300, 100)
    assert end["change"] == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert (end["first_lower"], end["second_lower"], end["p"]) == (0, 2, 0.5)
    assert comparison.loc[("complexity_bytes", "both_grokked"), "pairs"] == 0
    assert same["pairs"] == 3
    assert same["change"] == pytest.approx(1.5)  # of 500 / 250, 100 / 400 and 600 / 400
    assert (same["first_lower"], same["second_lower"]) == (2, 1)


def test_complexity_of_pairs_in_which_both_grokked() -> None:
    comparison = compared(pairs((400, 500), (400, None), (None, 500), (300, 200)))
    row = comparison.loc[("complexity_bytes", "both_grokked")]
    assert (row["pairs"], row["first"], row["second"]) == (2, 90, 90)
    assert comparison.loc[("complexity_bytes", "end"), "pairs"] == 4


def test_what_counts_as_grokked_may_be_said() -> None:
    rows = pairs((400, None))
    rows.loc[(rows["spectral_entropy_weight"] > 0) & (rows["step"] >= 600), "val_accuracy"] = 0.96
    table = analysis.paired_arms(
        rows, NEVER, LATE, final=["complexity_bytes"], thresholds=Thresholds(grokked_at=0.95)
    ).set_index("quantity")
    assert table.loc["grokked", "second"] == 1
    assert table.loc["grok_step", "change"] == pytest.approx(1.5)
    assert compared(rows).loc[("grokked", "end"), "second"] == 0


def test_the_order_of_rows_is_of_no_account_and_the_other_way_round_is_its_inverse() -> None:
    rows = pairs((200, 400), (200, 500), (100, 300), (600, 300), (400, 400), (500, None), (100, 800))
    comparison = compared(rows)
    pd.testing.assert_frame_equal(comparison, compared(rows.sample(frac=1, random_state=0)))
    back = compared(rows, LATE, NEVER)
    assert list(back["first_lower"]) == list(comparison["second_lower"])
    assert back.loc[("grokked", "end"), "change"] == -comparison.loc[("grokked", "end"), "change"]
    assert list(back["p"]) == list(comparison["p"])


def test_pairs_agree_in_what_no_arm_names() -> None:
    rows = frame(
        trial({**NEVER, "weight_decay": 0.3}, 0, 200, {0: 50}),
        trial(LATE, 0, 200, {0: 50}),
        trial({**LATE, "weight_decay": 0.3}, 0, None, {0: 60}),
    )
    assert compared(rows).loc[("grokked", "end"), ["pairs", "second"]].tolist() == [1, 0]
    assert compared(rows, NEVER, {**LATE, "weight_decay": 1.0}).loc[("grokked", "end"), "second"] == 1


def test_what_cannot_be_compared_is_refused() -> None:
    rows = pairs((200, 400))
    with pytest.raises(AnalysisError, match="'train_accuracy' is not among the settings"):
        compared(rows, {"train_accuracy": 1})
    with pytest.raises(
        AnalysisError, match="alike but for weight_decay 1, spectral_start 0 here and weight_decay 2 there"
    ):
        compared(rows, {"weight_decay": 1, "spectral_start": 0}, {"weight_decay": 2})
    with pytest.raises(
        AnalysisError, match=r"of spectral_entropy_weight 0\.1 has several; name more .* spectral_start"
    ):
        compared(
            frame(rows, trial({**LATE, "spectral_start": 0}, 0, 400, {0: 50})),
            {"spectral_entropy_weight": 0, "spectral_start": 0},
            {"spectral_entropy_weight": 0.1},
        )
    with pytest.raises(AnalysisError, match="no column l2_norm"):
        analysis.paired_arms(rows, NEVER, LATE)
