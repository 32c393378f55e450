from __future__ import annotations

import pandas as pd
import pytest

import analysis
from analysis.errors import AnalysisError
from analysis.regimes import RegimeThresholds

STEPS = [0, 100, 500, 1000, 2000, 5000]


def trial(
    name: str, trained_at: int | None, validated_at: int | None, because: str | None = "budget", last: int = 5000
) -> pd.DataFrame:
    def accuracy(since: int | None) -> list[float]:
        return [0.95 if since is not None and step >= since else 0.1 for step in STEPS]

    frame = pd.DataFrame(
        {"step": STEPS, "train_accuracy": accuracy(trained_at), "val_accuracy": accuracy(validated_at)}
    ).assign(trial_id=name, budget_steps=5000, ended_because=because)
    return frame[frame["step"] <= last]


def phase_of(*trials: pd.DataFrame, **thresholds: float) -> dict[str, str]:
    regime_rows = analysis.regimes(pd.concat(trials), RegimeThresholds(**thresholds))
    return regime_rows.dropna(subset="phase").set_index("trial_id")["phase"].to_dict()


def test_the_four_phases() -> None:
    assert phase_of(
        trial("a", 100, 1000),
        trial("b", 1000, 2000),
        trial("c", 100, None),
        trial("d", None, None),
        trial("e", 100, 100),
    ) == {"a": "comprehension", "b": "grokking", "c": "memorisation", "d": "confusion", "e": "comprehension"}


def test_a_trial_not_followed_to_the_end_has_no_phase_but_by_what_it_did() -> None:
    trials = [
        trial(f"{because}", 100, None, because, last=1000) for because in ("stopped", "failed", None, "diverged")
    ]
    assert phase_of(*trials, trial("grokked", 100, 1000, "grokked", last=2000)) == {
        "diverged": "memorisation",
        "grokked": "comprehension",
    }


def test_thresholds() -> None:
    trials = [trial("a", 100, 1000), trial("b", 500, None)]
    assert phase_of(*trials, gap_steps=900) == {"a": "grokking", "b": "memorisation"}
    assert phase_of(*trials, within_steps=500) == {"a": "memorisation", "b": "memorisation"}
    assert phase_of(*trials, within_steps=100_000) == {"a": "comprehension"}
    assert phase_of(*trials, above=0.95) == {"a": "confusion", "b": "confusion"}


def test_the_crossings_are_told() -> None:
    (record,) = analysis.regimes(trial("a", 100, 1000)).to_dict("records")
    assert record == {"trial_id": "a", "phase": "comprehension", "train_step": 100, "val_step": 1000}


def test_no_crossing_among_many_trials() -> None:
    rows = pd.concat(trial(f"{n:03d}", 100, None) for n in range(200)).astype({"trial_id": "category"})
    regime_rows = analysis.regimes(rows)
    assert regime_rows["phase"].eq("memorisation").sum() == 200
    assert (regime_rows["train_step"].eq(100).sum(), regime_rows["val_step"].isna().sum()) == (200, 200)


def test_missing_columns_are_named() -> None:
    with pytest.raises(AnalysisError, match="budget_steps missing"):
        analysis.regimes(trial("a", 1, 2).drop(columns="budget_steps"))
