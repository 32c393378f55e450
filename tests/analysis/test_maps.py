from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

import analysis
from analysis.errors import AnalysisError
from analysis.intervals import wilson
from analysis.maps import median_bounds

NAN, INF = math.nan, math.inf


def cell(*trials: tuple[float, float, str | None], budgets: int | list[int] = 1000, **own: Any) -> pd.DataFrame:
    """Trials as (grok step, last step, ended because)."""
    grok_step, last_step, because = zip(*trials, strict=True)
    frame = {"weight_decay": 1.0, "data_fraction": 0.3, "budget_steps": budgets} | own
    return pd.DataFrame(
        {
            "trial_id": [f"t{i}" for i in range(len(trials))],
            "seed": range(len(trials)),
            "grok_step": grok_step,
            "last_step": last_step,
            "ended_because": because,
            **frame,
        }
    )


def one(frame: pd.DataFrame) -> dict[str, Any]:
    (record,) = analysis.grok_map(frame, x="weight_decay", y="data_fraction").to_dict("records")
    return record


GROKKED = (200.0, 400.0, "grokked")


@pytest.mark.parametrize(
    ("trials", "median", "at_least", "undetermined"),
    [
        pytest.param(
            [(100.0, 200.0, "grokked"), GROKKED, (300.0, 600.0, "grokked")], 200, 200, 0, id="all grokked"
        ),
        pytest.param([(100.0, 200.0, "grokked"), GROKKED], 100, 100, 0, id="of two the lower"),
        pytest.param([GROKKED, (NAN, 1000.0, "budget")], 200, 200, 0, id="half grokked, the rest never"),
        pytest.param(
            [GROKKED, (NAN, 1000.0, "budget"), (NAN, 1000.0, "budget")], INF, INF, 0, id="fewer than half"
        ),
        pytest.param([GROKKED, GROKKED, (NAN, 500.0, "stopped")], 200, 200, 1, id="stopped later than the median"),
        pytest.param(
            [GROKKED, (300.0, 600.0, "grokked"), (NAN, 150.0, "stopped")],
            NAN,
            200,
            1,
            id="stopped before the median",
        ),
        pytest.param([GROKKED, GROKKED, (NAN, 150.0, "stopped")], 200, 200, 1, id="stopped before a tied median"),
        pytest.param(
            [(100.0, 200.0, "grokked"), (100.0, 200.0, "grokked"), (NAN, 100.0, "stopped")],
            100,
            100,
            1,
            id="stopped at the median: it comes strictly later",
        ),
        pytest.param([(NAN, 500.0, "stopped")] * 3, NAN, 500, 3, id="all stopped"),
        pytest.param(
            [(NAN, 1000.0, "budget"), (NAN, 1000.0, "budget"), (NAN, 500.0, "stopped")],
            INF,
            INF,
            1,
            id="the stopped one cannot change it",
        ),
        pytest.param(
            [(NAN, 64.0, "diverged"), (NAN, 64.0, "diverged"), GROKKED], INF, INF, 0, id="diverged is never"
        ),
        pytest.param(
            [(NAN, 64.0, "failed"), GROKKED, (NAN, 1000.0, "budget")], NAN, 200, 1, id="failed is unknown"
        ),
        pytest.param([(NAN, 64.0, None)], NAN, 64, 1, id="still running"),
        pytest.param([(200.0, 300.0, None)], 200, 200, 0, id="grokked and still in its tail"),
    ],
)
def test_median(
    trials: list[tuple[float, float, str | None]], median: float, at_least: float, undetermined: int
) -> None:
    record = one(cell(*trials))
    assert record["median_grok_step"] == pytest.approx(median, nan_ok=True)
    assert record["median_at_least"] == at_least
    assert record["undetermined"] == undetermined
    assert record["n"] == len(trials)
    assert record["grokked"] + record["censored"] == len(trials)


def test_a_shorter_budget_than_the_cells_largest_is_no_never() -> None:
    record = one(cell((NAN, 1000.0, "budget"), (1500.0, 2000.0, "grokked"), budgets=[1000, 2000]))
    assert math.isnan(record["median_grok_step"])
    assert (record["median_at_least"], record["undetermined"]) == (1000, 1)


def test_a_trial_that_ends_at_the_threshold_is_not_said_to_have_failed() -> None:
    """Two of its three seeds end at the threshold: too late to be certain of a grok, and no failure either."""
    ends = [(NAN, 1000.0, "budget")] * 3
    surely = one(cell(*ends, ungrokked_step=[1000.0, 1000.0, 1000.0]))
    assert (surely["undetermined"], surely["median_grok_step"]) == (0, INF)
    perhaps = one(cell(*ends, ungrokked_step=[1000.0, 864.0, 736.0]))
    assert perhaps["undetermined"] == 2
    assert math.isnan(perhaps["median_grok_step"])
    assert perhaps["median_at_least"] == 864
    assert perhaps["share_high"] == wilson(2, 3)[1]


def test_censored_trials_are_counted_by_ending() -> None:
    endings = ["budget", "budget", "stopped", "diverged", "failed", None]
    record = one(cell(GROKKED, *[(NAN, 1000.0, ending) for ending in endings]))
    counts = {
        name: record[f"censored_{name}"] for name in ("budget", "stopped", "diverged", "failed", "unfinished")
    }
    assert counts == {"budget": 2, "stopped": 1, "diverged": 1, "failed": 1, "unfinished": 1}
    assert (record["n"], record["grokked"], record["censored"], record["undetermined"]) == (7, 1, 6, 3)


def test_share_with_wilson_interval() -> None:
    record = one(cell(GROKKED, GROKKED, (NAN, 1000.0, "budget"), (NAN, 1000.0, "budget")))
    interval = binomtest(2, 4).proportion_ci(method="wilson")
    assert record["share"] == 0.5
    assert (record["share_low"], record["share_high"]) == pytest.approx(tuple(interval))


def test_the_interval_holds_whatever_becomes_of_the_stopped() -> None:
    record = one(cell(GROKKED, (NAN, 500.0, "stopped"), (NAN, 1000.0, "budget")))
    assert record["share"] == pytest.approx(1 / 3)
    assert record["share_low"] == pytest.approx(wilson(1, 3)[0])
    assert record["share_high"] == pytest.approx(wilson(2, 3)[1])


@given(st.integers(1, 60), st.data(), st.floats(0.5, 0.999))
def test_wilson_is_scipys(n: int, data: st.DataObject, confidence: float) -> None:
    k = data.draw(st.integers(0, n))
    expected = binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert wilson(k, n, confidence) == pytest.approx(tuple(expected), abs=1e-12)


def test_wilson_of_nothing() -> None:
    assert wilson(0, 0) == (0, 1)


@given(
    st.lists(
        st.one_of(
            st.integers(1, 6).map(lambda step: ("grokked", step)),
            st.integers(1, 6).map(lambda step: ("censored", step)),
            st.just(("never", 9)),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_median_is_given_exactly_when_no_future_could_change_it(trials: list[tuple[str, int]]) -> None:
    """Try every future of the censored: right after their last step, after each grok step, never."""
    moments = [step + later for step in range(1, 8) for later in (0.0, 0.5)] + [INF]
    futures = [
        [float(step)] if kind == "grokked" else [INF] if kind == "never" else [m for m in moments if m > step]
        for kind, step in trials
    ]
    middle = (len(trials) + 1) // 2 - 1
    medians = {sorted(future)[middle] for future in itertools.product(*futures)}
    kinds = np.array([kind for kind, _ in trials])
    steps = np.array([step for _, step in trials], dtype=float)
    lower, upper = median_bounds(np.where(kinds == "grokked", steps, NAN), steps, kinds == "never")
    assert (lower == upper) == (len(medians) == 1)
    assert max(medians) == upper
    assert lower <= min(medians) <= lower + 0.5 or lower == min(medians)


def test_settings_that_vary_become_facets_and_are_never_pooled() -> None:
    grid = itertools.product((0.0, 1.0), (0.2, 0.3), (32, 64), (0, 1))
    trials = pd.concat(
        [
            cell(
                GROKKED, weight_decay=decay, data_fraction=fraction, width=width, hidden_width=4 * width, seed=seed
            )
            for decay, fraction, width, seed in grid
        ]
    )
    cells = analysis.grok_map(trials, x="weight_decay", y="data_fraction")
    assert list(cells.columns[:3]) == ["width", "data_fraction", "weight_decay"]
    assert len(cells) == 8
    assert (cells["n"] == 2).all()
    assert cells.equals(analysis.grok_map(trials, x="weight_decay", y="data_fraction", facets=["width"]))
    by_hidden = analysis.grok_map(trials, x="weight_decay", y="data_fraction", facets=["hidden_width"])
    assert by_hidden["n"].tolist() == cells["n"].tolist()
    with pytest.raises(AnalysisError, match="width would be pooled"):
        analysis.grok_map(trials, x="weight_decay", y="data_fraction", facets=[])


def test_an_empty_setting_is_a_value_like_any_other() -> None:
    trials = pd.concat([cell(GROKKED, batch_size=size) for size in (NAN, 0.0)])
    cells = analysis.grok_map(trials, x="weight_decay", y="data_fraction")
    assert cells["batch_size"].isna().tolist() == [False, True]


def test_axes_must_be_there_and_differ() -> None:
    with pytest.raises(AnalysisError, match="no column width"):
        analysis.grok_map(cell(GROKKED), x="width", y="data_fraction")
    with pytest.raises(AnalysisError, match="must be different settings"):
        analysis.grok_map(cell(GROKKED), x="weight_decay", y="weight_decay")
    with pytest.raises(AnalysisError, match="ended_because"):
        analysis.grok_map(cell(GROKKED).drop(columns="ended_because"), x="weight_decay", y="data_fraction")


def test_rows_will_do() -> None:
    rows = pd.DataFrame(
        {
            "trial_id": "t",
            "step": range(4),
            "train_accuracy": 1.0,
            "val_accuracy": [0, 1, 1, 1],
            "complexity_bytes": NAN,
            "weight_decay": 1.0,
            "data_fraction": 0.3,
            "budget_steps": 100,
            "ended_because": None,
        }
    )
    assert one(rows)["median_grok_step"] == 1


def test_no_trials_no_cells() -> None:
    empty = analysis.grok_map(cell(GROKKED).iloc[:0], x="weight_decay", y="data_fraction")
    assert len(empty) == 0
    assert {"n", "median_grok_step"} <= set(empty.columns)


def test_lost_groks_are_counted_with_how_low_they_ended() -> None:
    trials = cell(GROKKED, GROKKED, GROKKED, (NAN, 1000.0, "budget"))
    assert (one(trials)["lost"], math.isnan(one(trials)["lost_val_accuracy"])) == (0, True)
    told = trials.assign(grok_lost=[True, False, True, False], final_val_accuracy=[0.9, 1.0, 0.45, 0.2])
    assert (one(told)["lost"], one(told)["lost_val_accuracy"]) == (2, 0.45)
