from __future__ import annotations

import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import analysis
from analysis.cells import ordered
from analysis.errors import AnalysisError, MixedMethods, ResultsNotFound
from analysis.schema import ROWS, SETTINGS
from tests.analysis.folder import METHOD, Folder, end, measured, row
from trainables.config import ModelConfig, TrialConfig

TRIALS = [TrialConfig(weight_decay=decay, seed=seed, steps=100) for decay in (0.0, 1.0) for seed in (0, 1)]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "results")


def test_one_row_per_trial_and_step_sorted_with_settings_joined(folder: Folder) -> None:
    cohort = folder.cohort(0, TRIALS)
    folder.report(cohort, 0, 0, rows=[row(trial, step) for step in (0, 32) for trial in TRIALS])
    folder.report(cohort, 0, 1, rows=[row(trial, 64) for trial in TRIALS], trials=[end(TRIALS[0], cohort)])
    df = analysis.load(folder.path)
    assert list(df["trial_id"]) == sorted(trial.trial_id for trial in TRIALS for _ in range(3))
    assert list(df["step"]) == [0, 32, 64] * 4
    assert [column.name for column in ROWS] == list(df.columns[: len(ROWS)])
    assert {column.name for column in SETTINGS} <= set(df.columns)
    by_id = {trial.trial_id: trial for trial in TRIALS}
    for record in df.to_dict("records"):
        trial = by_id[record["trial_id"]]
        assert record["weight_decay"] == trial.weight_decay
        assert record["modulus"] == trial.task.modulus
        assert record["model_kind"] == "transformer"
        assert record["hidden_width"] == 4 * trial.model.width
        assert record["budget_steps"] == 100
        assert math.isnan(record["batch_size"])
    ended = df.groupby("trial_id", observed=True)["ended_because"].first()
    assert ended.dropna().to_dict() == {TRIALS[0].trial_id: "budget"}


def test_types_depend_on_the_schema_and_not_on_what_is_missing(folder: Folder) -> None:
    cohort = folder.cohort(0, TRIALS)
    empty = analysis.load(folder.path)
    folder.report(cohort, 0, 0, rows=[row(TRIALS[0], 0)])
    unmeasured = analysis.load(folder.path)
    folder.report(
        cohort,
        0,
        1,
        rows=[row(TRIALS[0], 1, complexity_bytes=7, description_length_bits=9.0)],
        complexity=[measured(TRIALS[0], 1, 7)],
        trials=[end(TRIALS[0], cohort)],
    )
    full = analysis.load(folder.path)
    assert len(empty) == 0
    kinds = [{name: str(dtype) for name, dtype in df.dtypes.items()} for df in (empty, unmeasured, full)]
    assert kinds[0] == kinds[1] == kinds[2]
    assert kinds[0]["trial_id"] == kinds[0]["attention"] == kinds[0]["ended_because"] == "category"
    assert kinds[0]["complexity_bytes"] == kinds[0]["batch_size"] == "float64"
    assert list(full["complexity_bytes"].dropna()) == [7]


def test_steps_written_as_words_are_listed_by_size_and_before_words(folder: Folder) -> None:
    starts: tuple[Any, ...] = ("at_decline", 1000, 0, 64)
    late = [TrialConfig(spectral_entropy_weight=0.1, spectral_start=start) for start in starts]
    cohort = folder.cohort(0, late)
    folder.report(cohort, 0, 0, rows=[row(t, 0) for t in late], trials=[end(t, cohort) for t in late])
    folder.request(late)
    for frame in (analysis.load(folder.path), analysis.trials(folder.path), analysis.status(folder.path)):
        assert list(frame["spectral_start"].cat.categories) == ["0", "64", "1000", "at_decline"]
    assert ordered(analysis.trials(folder.path)["spectral_start"]) == ("0", "64", "1000", "at_decline")
    began = analysis.trials(folder.path).set_index("spectral_start")["spectral_started_at_step"]
    assert began[["0", "64", "1000"]].tolist() == [0, 64, 1024]
    assert math.isnan(began["at_decline"])


def test_an_interrupted_trial_has_its_settings_and_no_ending(folder: Folder) -> None:
    trial = TrialConfig(model=ModelConfig(kind="mlp", width=32), batch_size=0)
    cohort = folder.cohort(0, [trial], grokked_at=0.95, memorised_at=None)
    folder.report(cohort, 0, 0, rows=[row(trial, 0)])
    (record,) = analysis.load(folder.path).to_dict("records")
    assert (record["model_kind"], record["width"], record["batch_size"]) == ("mlp", 32, 0)
    assert pd.isna(record["ended_because"])
    assert record["grokked_at"] == 0.95
    assert math.isnan(record["memorised_at"])
    assert len(analysis.trials(folder.path)) == 0


def test_columns_select_and_unknown_ones_are_refused_with_the_nearest(folder: Folder) -> None:
    cohort = folder.cohort(0, TRIALS)
    folder.report(cohort, 0, 0, rows=[row(trial, 0) for trial in TRIALS])
    df = analysis.load(folder.path, columns=["width", "val_accuracy", "step"])
    assert list(df.columns) == ["trial_id", "step", "phase", "width", "val_accuracy"]
    with pytest.raises(AnalysisError, match=r"'val_acuracy' .did you mean val_accuracy"):
        analysis.load(folder.path, columns=["val_acuracy"])


def test_a_newer_attempt_replaces_the_reports_it_does_again(folder: Folder) -> None:
    """Attempt 0 continues to write although it is thought dead; attempt 1 resumed from report 1."""
    trial = TRIALS[0]
    cohort = folder.cohort(0, [trial])
    for report in range(5):
        folder.report(
            cohort,
            0,
            report,
            rows=[row(trial, report, l2_norm=0.0)],
            complexity=[measured(trial, report)],
            trials=[end(trial, cohort, "stopped")] if report == 4 else [],
        )
    for report in (2, 3):
        folder.report(
            cohort, 1, report, rows=[row(trial, report, l2_norm=1.0)], complexity=[measured(trial, report)]
        )
    df = analysis.load(folder.path)
    assert list(df["step"]) == [0, 1, 2, 3]
    assert list(df["l2_norm"]) == [0, 0, 1, 1]
    assert list(analysis.complexity(folder.path)["step"]) == [0, 1, 2, 3]
    assert len(analysis.trials(folder.path)) == 0


def test_a_report_without_rows_file_does_not_exist(folder: Folder) -> None:
    """A process killed between two files of a report, and a file still being written."""
    trial = TRIALS[0]
    cohort = folder.cohort(0, [trial])
    folder.report(cohort, 0, 0, rows=[row(trial, 0)])
    folder.write("complexity", f"{cohort}-000-00001.parquet", [measured(trial, 1)])
    folder.write("trials", f"{cohort}-001-00000.parquet", [end(trial, cohort)])
    (folder.path / "tables" / "rows" / f"{cohort}-000-00001.parquet.tmp").write_bytes(b"half")
    (folder.path / "tables" / "rows" / f".{cohort}-000-00001.parquet").write_bytes(b"half")
    assert len(analysis.complexity(folder.path)) == 0
    assert len(analysis.trials(folder.path)) == 0
    assert list(analysis.load(folder.path)["step"]) == [0]


def test_a_report_with_zero_rows_marks_the_attempt(folder: Folder) -> None:
    trial = TRIALS[0]
    cohort = folder.cohort(0, [trial])
    folder.report(cohort, 0, 0, rows=[row(trial, 0)])
    folder.report(cohort, 0, 1, rows=[row(trial, 32)])
    folder.report(cohort, 1, 1, rows=[])
    assert list(analysis.load(folder.path)["step"]) == [0]


def test_a_trial_in_two_cohorts_counts_in_the_newest_that_has_rows_for_it(folder: Folder) -> None:
    first, second, third = TRIALS[:3]
    longer = [replace(trial, steps=200) for trial in (first, second)]
    old = folder.cohort(0, [first, second, third])
    new = folder.cohort(1, longer)
    folder.report(
        old,
        0,
        0,
        rows=[row(trial, step) for trial in (first, second, third) for step in (0, 100)],
        complexity=[measured(trial, 100) for trial in (first, second, third)],
        trials=[end(trial, old) for trial in (first, second, third)],
    )
    folder.report(new, 0, 0, rows=[row(first, 0, l2_norm=5.0)])
    df = analysis.load(folder.path)
    steps = df.groupby("trial_id", observed=True)["step"].agg(list).to_dict()
    assert steps == {first.trial_id: [0], second.trial_id: [0, 100], third.trial_id: [0, 100]}
    budgets = df.groupby("trial_id", observed=True)["budget_steps"].first().to_dict()
    assert budgets == {first.trial_id: 200, second.trial_id: 100, third.trial_id: 100}
    assert set(analysis.trials(folder.path)["trial_id"]) == {second.trial_id, third.trial_id}
    assert set(analysis.complexity(folder.path)["trial_id"]) == {second.trial_id, third.trial_id}
    standing = analysis.status(folder.path).set_index("trial_id")["status"].to_dict()
    assert standing == {first.trial_id: "unfinished", second.trial_id: "budget", third.trial_id: "budget"}


def test_mixed_complexity_methods_are_refused_unless_asked_for(folder: Folder) -> None:
    first, second = TRIALS[:2]
    cohort = folder.cohort(0, [first, second])
    folder.report(
        cohort,
        0,
        0,
        rows=[row(first, 0, complexity_bytes=1), row(second, 0, complexity_bytes=2)],
        complexity=[measured(first, 0), measured(second, 0, method="method-2")],
    )
    with pytest.raises(MixedMethods, match="method-1, method-2"):
        analysis.load(folder.path)
    with pytest.raises(MixedMethods):
        analysis.complexity(folder.path)
    assert len(analysis.load(folder.path, columns=["val_accuracy", "width"])) == 2
    mixed = analysis.load(folder.path, mix_methods=True).set_index("trial_id")["complexity_method"].to_dict()
    assert mixed == {first.trial_id: METHOD, second.trial_id: "method-2"}
    assert len(analysis.complexity(folder.path, mix_methods=True)) == 2


def test_results_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ResultsNotFound, match="no results of a sweep"):
        analysis.load(tmp_path / "nowhere")
    with pytest.raises(ResultsNotFound, match="give the folder"):
        analysis.status(str(tmp_path))


def test_status_of_each_planned_trial(folder: Folder) -> None:
    ended, running, waiting, orphan = TRIALS
    failed, never_started = (TrialConfig(weight_decay=0.1, seed=seed) for seed in (0, 1))
    folder.request([orphan, waiting, running, ended, failed, never_started])
    cohort = folder.cohort(0, [ended, running, waiting])
    broken = folder.cohort(1, [failed, never_started])
    folder.report(
        cohort, 0, 0, rows=[row(ended, 0), row(ended, 32), row(running, 0)], trials=[end(ended, cohort, "grokked")]
    )
    folder.report(broken, 0, 0, rows=[row(failed, 64)])
    folder.fail(broken, "Killed three times.")
    status = analysis.status(folder.path)
    assert list(status["status"]) == ["planned", "planned", "unfinished", "grokked", "failed", "failed"]
    assert list(status["last_step"].fillna(-1)) == [-1, -1, 0, 32, 64, -1]
    assert list(status["ended_reason"].dropna()) == ["It ended because of grokked.", *["Killed three times."] * 2]
    assert list(status["width"].fillna(0)) == [0, 128, 128, 128, 128, 128]
    rows = analysis.load(folder.path).set_index("trial_id")
    assert rows.loc[[failed.trial_id], "ended_because"].to_list() == ["failed"]


def test_status_without_a_request_is_that_of_all_trials(folder: Folder) -> None:
    folder.cohort(0, TRIALS)
    assert list(analysis.status(folder.path)["status"]) == ["planned"] * 4


def test_a_request_alone_is_a_sweep_that_has_not_begun(folder: Folder) -> None:
    folder.request(TRIALS)
    assert list(analysis.status(folder.path)["status"]) == ["planned"] * 4
    assert len(analysis.load(folder.path)) == 0
    assert len(analysis.events(analysis.load(folder.path))) == 0


def test_matrices_and_networks(folder: Folder) -> None:
    first, second = TRIALS[:2]
    cohort = folder.cohort(0, [first, second])
    spectrum = {"rows": 3, "columns": 2, "spectral_entropy": 0.5, "effective_rank": 1.6, "frobenius_norm": 2.0}
    folder.report(
        cohort,
        0,
        0,
        rows=[row(first, 0)],
        matrices=[{"trial_id": first.trial_id, "step": 0, "matrix": name, **spectrum} for name in ("b", "a")],
        networks=[{"trial_id": t.trial_id, "step": 0, "safetensors": t.trial_id.encode()} for t in (first, second)],
    )
    assert list(analysis.matrices(folder.path)["matrix"]) == ["a", "b"]
    assert len(analysis.networks(folder.path)) == 2
    (kept,) = analysis.networks(folder.path, [second.trial_id]).to_dict("records")
    assert kept["safetensors"] == second.trial_id.encode()


FLOATS = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=25)
@given(
    st.lists(st.tuples(FLOATS, FLOATS, st.none() | st.integers(0, 2**53)), min_size=1, max_size=12),
    st.data(),
)
def test_rows_come_back_as_they_were_written(
    values: list[tuple[float, float, int | None]], data: st.DataObject
) -> None:
    trial = TRIALS[0]
    written = [
        row(trial, step, train_loss=loss, l2_norm=norm, complexity_bytes=size)
        for step, (loss, norm, size) in enumerate(values)
    ]
    cut = data.draw(st.integers(0, len(written)))
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(Path(path))
        cohort = folder.cohort(0, [trial])
        folder.report(cohort, 0, 0, rows=data.draw(st.permutations(written[:cut])))
        folder.report(cohort, 0, 1, rows=data.draw(st.permutations(written[cut:])))
        df = analysis.load(path, [column.name for column in ROWS])
    expected = pd.DataFrame(written).astype({column.name: "float64" for column in ROWS if column.nullable})
    pd.testing.assert_frame_equal(
        df.astype({"trial_id": "str"}), expected[list(df.columns)], check_exact=True, check_dtype=True
    )


@st.composite
def histories(draw: st.DrawFn) -> list[range]:
    """Reports of each attempt: an attempt resumes from some report that counted, and zombies continue to write."""
    attempts: list[range] = []
    counted = 0
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.integers(0, counted))
        written = draw(st.integers(0, 3))
        if written:
            counted = first + written
            attempts.append(range(first, counted + draw(st.integers(0, 2))))
        else:
            attempts.append(range(0))
    return attempts


@settings(max_examples=25)
@given(histories())
def test_each_report_counts_exactly_once(attempts: list[range]) -> None:
    trial = TRIALS[0]
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(Path(path))
        cohort = folder.cohort(0, [trial])
        for attempt, reports in enumerate(attempts):
            for report in reports:
                folder.report(cohort, attempt, report, rows=[row(trial, report, l2_norm=float(attempt))])
        df = analysis.load(path, ["l2_norm"])
    steps = df["step"].to_list()
    assert steps == list(range(len(steps)))
    starts = [reports.start if reports else math.inf for reports in attempts]
    for step, attempt in zip(steps, df["l2_norm"].astype(int), strict=True):
        newest = max(number for number, start in enumerate(starts) if start <= step)
        assert attempt == newest
    assert np.all(df["l2_norm"].diff().dropna() >= 0)


def test_a_uri_is_read_like_a_path(folder: Folder) -> None:
    cohort = folder.cohort(0, TRIALS)
    folder.report(cohort, 0, 0, rows=[row(trial, 0) for trial in TRIALS])
    from_path = analysis.load(folder.path)
    from_uri = analysis.load(folder.path.as_uri())
    assert set(from_uri["sweep"]) == {folder.path.as_uri()}
    pd.testing.assert_frame_equal(from_uri.drop(columns="sweep"), from_path.drop(columns="sweep"))
    pd.testing.assert_frame_equal(analysis.load(f"{folder.path}/"), from_path)


def test_a_half_written_cohort_file_is_not_a_cohort(folder: Folder) -> None:
    folder.cohort(0, TRIALS)
    (folder.path / "cohorts" / ".c0001-00000001.json").write_text("{")
    (folder.path / "cohorts" / "c0001-00000001.json.tmp").write_text(json.dumps({}))
    assert len(analysis.status(folder.path)) == 4
