"""Several sweeps in one frame: told apart, never pooled, and each trial counted once."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.errors import AnalysisError, MixedMethods, ResultsWarning
from analysis.maps import varying_settings
from analysis.schema import ROWS
from tests.analysis.folder import Folder, end, measured, row
from trainables.config import TrialConfig

HERE, THERE, BOTH = (TrialConfig(weight_decay=1.0, seed=seed, steps=100) for seed in (1, 2, 3))


def sweep(path: Path, steps_of: dict[TrialConfig, list[int]], method: str | None = None) -> str:
    """Write a sweep of these trials, evaluated at these steps; return its path."""
    folder = Folder(path)
    cohort = folder.cohort(0, list(steps_of))
    rows = [row(trial, step) for trial, steps in steps_of.items() for step in steps]
    complexity = [measured(trial, 0, method=method) for trial in steps_of] if method else []
    ends = [end(trial, cohort) for trial, steps in steps_of.items() if steps[-1] == 100]
    folder.report(cohort, 0, 0, rows=rows, complexity=complexity, trials=ends)
    return str(path)


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    first = sweep(tmp_path / "b", {HERE: [0, 100], BOTH: [0, 32]})
    return [first, sweep(tmp_path / "a", {THERE: [0, 100], BOTH: [0, 32, 100]})]


def test_each_trial_is_counted_once_where_it_was_followed_furthest(paths: list[str]) -> None:
    rows = analysis.load(paths)
    of_trial = rows.groupby("trial_id", observed=True).agg(sweep=("sweep", "first"), n=("step", "size"))
    assert of_trial["sweep"].to_dict() == {
        HERE.trial_id: paths[0],
        THERE.trial_id: paths[1],
        BOTH.trial_id: paths[1],
    }
    assert of_trial["n"].to_dict() == {HERE.trial_id: 2, THERE.trial_id: 2, BOTH.trial_id: 3}
    assert rows[["trial_id", "step"]].equals(rows[["trial_id", "step"]].sort_values(["trial_id", "step"]))
    assert list(rows.columns) == list(analysis.load(paths[0]).columns)
    types = analysis.load(paths[0]).dtypes.astype(str)
    assert rows.dtypes.astype(str).equals(types)


def test_at_equal_steps_the_first_sweep_counts(paths: list[str], tmp_path: Path) -> None:
    again = sweep(tmp_path / "c", {BOTH: [0, 32, 100]})
    for order in ([paths[1], again], [again, paths[1]]):
        rows = analysis.load(order)
        assert set(rows.loc[rows["trial_id"] == BOTH.trial_id, "sweep"]) == {order[0]}


def test_sweeps_become_facets_unless_a_setting_tells_them_apart(paths: list[str]) -> None:
    events = analysis.events(analysis.load(paths))
    cells = analysis.grok_map(events, x="weight_decay", y="data_fraction")
    assert list(cells["sweep"]) == sorted(paths)
    assert list(cells["n"]) == [2, 1]
    with pytest.raises(AnalysisError, match="sweep would be pooled"):
        analysis.grok_map(events, x="weight_decay", y="data_fraction", facets=[])
    own = events.assign(weight_decay=events["sweep"].map({path: float(n) for n, path in enumerate(paths)}))
    assert "sweep" not in analysis.grok_map(own, x="weight_decay", y="data_fraction").columns


def test_one_sweep_has_no_facet_for_itself(paths: list[str]) -> None:
    events = analysis.events(analysis.load(paths[0] + "/"))
    assert set(events["sweep"]) == {paths[0]}
    assert varying_settings(events) == []


def test_frames_put_together_by_hand_are_told_apart_or_refused(paths: list[str]) -> None:
    one, other = (analysis.load(path) for path in paths)
    with pytest.raises(AnalysisError, match=rf"{BOTH.trial_id} has two for step 0; load several sweeps"):
        analysis.events(pd.concat([one, other]))
    apart = pd.concat([one[one["trial_id"] == HERE.trial_id], other[other["trial_id"] == THERE.trial_id]])
    assert varying_settings(analysis.events(apart)) == ["sweep"]


def test_own_columns_of_words_become_facets_and_own_numbers_where_they_are_named(paths: list[str]) -> None:
    rows = analysis.load(paths[1])
    first = rows["trial_id"] == THERE.trial_id
    events = analysis.events(rows.assign(lab=first.map({True: "one", False: "other"}), score=rows["seed"] / 7))
    assert varying_settings(events) == ["lab"]
    assert list(analysis.grok_map(events, x="weight_decay", y="data_fraction")["lab"]) == ["one", "other"]
    named = analysis.grok_map(events, x="weight_decay", y="data_fraction", facets=["lab", "score"])
    assert list(named.columns[:2]) == ["lab", "score"]
    assert varying_settings(analysis.events(rows.assign(checked=first))) == ["checked"]


def test_attributes_say_what_columns_mean(paths: list[str]) -> None:
    for rows in (analysis.load(paths[0]), analysis.load(paths), pd.concat([analysis.load(path) for path in paths])):
        assert rows.attrs["units"]["val_loss"] == "nats/example"
        for column in ROWS:
            assert rows.attrs["meanings"][column.name] == column.meaning
    events = analysis.events(analysis.load(paths))
    assert events.attrs["units"]["grok_step"] == "step"
    assert events.attrs["units"]["complexity_peak_bytes"] == "bytes"
    assert set(events.attrs["units"]) <= set(events.columns)
    assert set(analysis.trials(paths[0]).attrs["units"]) == set(analysis.trials(paths[0]).columns)


def test_mixed_methods_of_several_sweeps_are_refused(tmp_path: Path) -> None:
    paths = [
        sweep(tmp_path / name, {trial: [0, 100]}, method)
        for name, trial, method in (("a", HERE, "method-1"), ("b", THERE, "method-2"))
    ]
    with pytest.raises(MixedMethods, match=r"2 methods \(method-1, method-2\)"):
        analysis.load(paths)
    assert len(analysis.load(paths, mix_methods=True)) == 4
    assert len(analysis.load(paths, ["val_loss"])) == 4


def test_no_sweep_at_all_is_refused() -> None:
    with pytest.raises(AnalysisError, match="at least one results folder"):
        analysis.load([])


def test_warnings_show_the_line_that_loads(paths: list[str]) -> None:
    (Path(paths[0]) / "tables" / "rows" / "copy of it.parquet").write_bytes(b"")
    for load in (lambda: analysis.load(paths[0]), lambda: analysis.load(paths), lambda: analysis.status(paths[0])):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", ResultsWarning)
            load()
        assert {warning.filename for warning in said if issubclass(warning.category, ResultsWarning)} == {__file__}
