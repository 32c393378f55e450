"""The result in words: sentence, compute, cells and the map as text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.cells import EMPTY_CELL, KEPT, LEGEND, Axes, Kind, cell, panels, some_panels, sweep_map, usual_axes
from analysis.events import events
from analysis.load import load, status
from analysis.maps import CENSORINGS, grok_map
from analysis.report.summary import TERMINAL_LINES, compute, result_sentence, text_map
from analysis.words import value_text
from tests.analysis.made_up import Fate, grid, trial, usual_fate, write_sweep


def ended(grok_steps: list[float], because: list[str], last: list[float], **settings: list[float]) -> pd.DataFrame:
    n = len(grok_steps)
    return pd.DataFrame(
        {
            "trial_id": [f"t{i}" for i in range(n)],
            "weight_decay": settings.get("weight_decay", [1.0] * n),
            "data_fraction": settings.get("data_fraction", [0.5] * n),
            "seed": range(n),
            "grok_step": grok_steps,
            "memorisation_step": [100.0] * n,
            "decline": [0.5 if np.isfinite(step) else 0.0 for step in grok_steps],
            "ended_because": because,
            "last_step": last,
            "budget_steps": [4_000] * n,
            "phase": [0] * n,
            "phase_start_step": [0] * n,
        }
    )


NAN = float("nan")


@pytest.mark.parametrize(
    ("grok_steps", "because", "last", "kind", "text"),
    [
        ([1_000, 1_024, 3_000], ["grokked"] * 3, [2_000, 2_048, 4_000], Kind.MEDIAN, "1,024 (3/3)"),
        ([NAN] * 3, ["budget"] * 3, [4_000] * 3, Kind.NOT_WITHIN, "not in 4,000 (0/3)"),
        ([NAN] * 3, ["diverged"] * 3, [60] * 3, Kind.NOT_WITHIN, "not in 4,000 (0/3)"),
        ([NAN] * 3, ["stopped"] * 3, [2_048] * 3, Kind.LATER, ">2,048 (0/3)"),
        ([NAN] * 3, ["stopped", "budget", "budget"], [900, 4_000, 4_000], Kind.LATER, ">4,000 (0/3)"),
        ([1_000, NAN, NAN], ["grokked", "budget", "budget"], [2_000, 4_000, 4_000], Kind.LATER, ">4,000 (1/3)"),
        ([1_000, NAN, NAN], ["grokked", "stopped", "stopped"], [2_000, 600, 1_500], Kind.LATER, "≥1,000 (1/3)"),
        ([NAN, NAN], [None, "budget"], [700, 4_000], Kind.LATER, ">700 (0/2)…"),
    ],
)
def test_what_a_cell_says(
    grok_steps: list[float], because: list[str], last: list[float], kind: Kind, text: str
) -> None:
    row = grok_map(ended(grok_steps, because, last), "weight_decay", "data_fraction").iloc[0]
    described = cell(row.to_dict())
    assert described.kind is kind
    assert described.text == text


@pytest.mark.parametrize(
    ("grok_steps", "because", "last", "kind", "text"),
    [
        ([1_000, 1_024, 3_000], ["grokked"] * 3, [2_000, 2_048, 4_000], Kind.MEDIAN, "1,003–1,024 (3/3)"),
        ([NAN] * 3, ["budget"] * 3, [4_000] * 3, Kind.NOT_WITHIN, "not in 4,000 (0/3)?"),
        ([NAN] * 3, ["diverged"] * 3, [60] * 3, Kind.NOT_WITHIN, "not in 4,000 (0/3)"),
        ([NAN] * 3, ["stopped"] * 3, [2_048] * 3, Kind.LATER, "open (0/3)?"),
        ([1_000, NAN, NAN], ["grokked", "budget", "budget"], [2_000, 4_000, 4_000], Kind.UNDER_HALF,
         "<½ in 4,000 (1/3)?"),
        ([NAN, NAN], [None, "budget"], [700, 4_000], Kind.UNDER_HALF, "<½ in 4,000 (0/2)…?"),
        ([NAN, NAN], [None, None], [700, 900], Kind.LATER, "open (0/2)…?"),
    ],
)  # fmt: skip
def test_what_a_cell_with_estimates_says(
    grok_steps: list[float], because: list[str], last: list[float], kind: Kind, text: str
) -> None:
    frame = ended(grok_steps, because, last)
    frame = frame.assign(grok_after_step=0.98 * frame["grok_step"] // 1)
    (row,) = sweep_map(frame, frame.assign(cohort_id="c")).to_dict("records")
    described = cell(row)
    assert described.kind is kind
    assert described.text == text
    assert described.when_interval
    assert described.share_low <= described.share_high


def test_a_cell_of_three_says_how_many_more_seeds_would_settle_it() -> None:
    frame = ended([1_000, 1_024, NAN], ["grokked", "grokked", "budget"], [2_000, 2_048, 4_000])
    frame = frame.assign(grok_after_step=frame["grok_step"] - 100)
    (row,) = sweep_map(frame, frame.assign(cohort_id="c")).to_dict("records")
    described = cell(row)
    assert described.settle.endswith("more seeds")
    assert described.when_interval.startswith("after")
    assert described.late_or_never


def test_a_cell_says_how_many_kept_their_grok() -> None:
    trials = ended([1_000, 1_024, 3_000], ["grokked"] * 3, [2_000, 2_048, 4_000])
    told = trials.assign(grok_lost=[True, False, False], final_val_accuracy=[0.45, 1.0, 1.0])
    grid = grok_map(told, "weight_decay", "data_fraction")
    described = cell(grid.iloc[0].to_dict())
    assert described.text == "1,024 (3/3, 2 kept)"
    assert described.endings == "3 grokked, 1 of these ends below the threshold again, at validation accuracy 0.45"
    assert KEPT in text_map(grid)
    assert "2 of them kept it to the last evaluation" in result_sentence(
        told.assign(decline=NAN, memorisation_step=9.0)
    )


@given(
    st.lists(
        st.tuples(st.sampled_from(["grokked", *CENSORINGS]), st.integers(1, 4_000)),
        min_size=1,
        max_size=9,
    )
)
def test_a_cell_never_claims_more_than_is_known(fates: list[tuple[str, int]]) -> None:
    grok_steps = [float(step) if because == "grokked" else NAN for because, step in fates]
    because = [None if name == "unfinished" else name for name, _ in fates]
    last = [4_000.0 if name == "budget" else float(step) for name, step in fates]
    described = cell(grok_map(ended(grok_steps, because, last), "weight_decay", "data_fraction").iloc[0].to_dict())  # type: ignore[arg-type]
    names = [name for name, _ in fates]
    assert described.count == f"{names.count('grokked')}/{len(fates)}"
    if described.kind is Kind.NOT_WITHIN:
        assert not {"grokked", "stopped", "failed", "unfinished"} & set(names)
    if described.kind is Kind.MEDIAN:
        assert described.step in grok_steps
    assert ("…" in described.text) == ("unfinished" in names)


def test_values_read_as_people_write_them() -> None:
    assert [value_text(value) for value in (1.0, 0.1, 1e-8, 20_000, "addition", None, NAN)] == [
        "1", "0.1", "1e-08", "20,000", "addition", "default", "default",
    ]  # fmt: skip


def test_axes_follow_what_varies() -> None:
    frame = pd.DataFrame({"weight_decay": [0.0, 1.0], "data_fraction": [0.5, 0.5], "learning_rate": [0.1, 0.2]})
    assert usual_axes(frame) == ("weight_decay", "learning_rate")
    assert usual_axes(frame.iloc[:1]) == ("weight_decay", "data_fraction")


def test_the_map_as_text_has_all_cells_and_a_legend(tmp_path: Path) -> None:
    path = write_sweep(
        tmp_path / "sweep",
        [(one, usual_fate(one)) for one in grid(data_fraction=(0.2, 0.5), spectral_entropy_weight=(0.0, 0.1))],
    )
    per_trial = events(load(path))
    text = text_map(grok_map(per_trial, "weight_decay", "data_fraction"))
    assert text.count("spectral entropy weight") == 2
    cells, legend = text.rsplit("\n\n", 1)
    assert cells.count("/3)") == 12
    assert set(LEGEND.values()) >= set(legend.splitlines())
    assert "not in 4,000 (0/3): none grokked within 4,000 steps" in text
    assert max(len(line) for line in text.splitlines()) <= 100
    assert text == text_map(grok_map(per_trial.sample(frac=1, random_state=0), "weight_decay", "data_fraction"))


def test_a_wide_map_continues_below() -> None:
    decays = [float(i) for i in range(30)]
    frame = ended([1_000.0] * 30, ["grokked"] * 30, [2_000.0] * 30, weight_decay=decays)
    text = text_map(grok_map(frame, "weight_decay", "data_fraction"), width=60)
    assert text.count("1,000 (1/1)") == 30
    assert max(len(line) for line in text.splitlines()) <= 60


def many_panels(weights: int, decays: int = 2) -> pd.DataFrame:
    """A map with a cell for each decay in each of `panels` panels."""
    settings = [(float(weight), float(decay)) for weight in range(weights) for decay in range(decays)]
    frame = ended([1_000.0] * len(settings), ["grokked"] * len(settings), [2_000.0] * len(settings))
    frame = frame.assign(
        spectral_entropy_weight=[weight for weight, _ in settings],
        weight_decay=[decay for _, decay in settings],
    )
    return grok_map(frame, "weight_decay", "data_fraction")


def test_of_a_map_of_many_panels_some_are_shown_and_it_says_so() -> None:
    text = text_map(many_panels(100))
    shown = text.count("spectral entropy weight")
    assert 10 <= shown < 100
    assert f"Shown are {shown} of 100 panels; all cells are in cells.csv." in text
    assert len(text.splitlines()) <= TERMINAL_LINES + 10
    assert "spectral entropy weight 0\n" in text
    assert "Shown are" not in text_map(many_panels(3))


def test_a_map_of_too_many_cells_is_left_to_the_picture() -> None:
    assert text_map(many_panels(2, decays=2_000)).startswith("The map has 4,000 cells, too many for a terminal")


def test_panels_are_chosen_evenly() -> None:
    whole = many_panels(10)
    some, count = some_panels(whole, 4)
    assert (sorted(set(some["spectral_entropy_weight"])), count) == ([0, 2, 5, 7], 10)
    assert len(some) == 8
    assert list(some.columns) == list(whole.columns)
    assert some_panels(whole, 10)[0].equals(whole)


def test_cells_without_a_report_are_in_the_map_of_a_sweep(tmp_path: Path) -> None:
    fates = [
        (one, Fate(outcome="budget" if one.weight_decay == 0 else "planned"))
        for one in grid(weight_decay=(0.0, 1.0), spectral_entropy_weight=(0.0, 0.1), seeds=1)
    ]
    path = write_sweep(tmp_path / "sweep", fates)
    grid_of_all = sweep_map(events(load(path)), status(path))
    assert len(grid_of_all) == 8
    shown = panels(grid_of_all, Axes.of(grid_of_all))
    assert len(shown) == 2
    assert shown[0].cells[0][1] == EMPTY_CELL
    assert "–" in text_map(grid_of_all)


def test_the_sentence_says_how_many_where_when_and_what_was_saved() -> None:
    frame = ended(
        [500, 700, NAN, NAN], ["grokked", "grokked", "stopped", "budget"], [1_000, 1_400, 1_000, 4_000],
        weight_decay=[1.0, 1.0, 0.0, 0.0],
    )  # fmt: skip
    assert result_sentence(frame) == (
        "2 of 4 trials grokked (50%), at a median of 600 steps (500 to 700), in 1 of 2 settings and soonest at "
        "weight decay 1; their complexity ended a median of 50% below its peak; 1 was stopped by the rule, which "
        "saved up to 29% of the steps."
    )


@pytest.mark.parametrize(
    ("frame", "planned", "words"),
    [
        (ended([], [], []), 12, "No trial has reported yet, of 12 trials planned."),
        (ended([NAN], ["budget"], [4_000]), None, "The only trial did not grok (followed for up to 4,000 steps"),
        (ended([1_024], ["grokked"], [2_048]), None, "The only trial grokked at step 1,024; its complexity"),
        (ended([NAN] * 2, ["budget"] * 2, [4_000] * 2), None, "None of 2 trials grokked"),
        (ended([NAN, 900], [None, "grokked"], [64, 1_800]), 5, "So far, with 1 of 5 trials ended: 1 of 2 trials"),
    ],
)
def test_the_sentence_in_odd_situations(frame: pd.DataFrame, planned: int | None, words: str) -> None:
    sentence = result_sentence(frame, planned=planned)
    assert sentence.startswith(words)
    assert sentence.endswith(".")
    assert "nan" not in sentence


def test_compute_counts_the_last_row_of_each_trial_and_what_stopping_left(tmp_path: Path) -> None:
    fates = [
        (trial(0), Fate(outcome="stopped", last_step=2_000)),
        (trial(1), Fate(outcome="budget")),
    ]
    rows = load(write_sweep(tmp_path / "sweep", fates))
    spent = compute(events(rows), rows)
    assert (spent.steps_run, spent.stopped, spent.steps_saved) == (22_000, 1, 18_000)
    assert spent.train_s == pytest.approx(44)
    assert spent.measure_s == pytest.approx(22)
    assert spent.seconds_saved == pytest.approx(54)
    assert spent.share_of_steps_saved == pytest.approx(18 / 40)
