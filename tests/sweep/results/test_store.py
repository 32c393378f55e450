"""The results folder: what is written is read, once, whatever dies in between."""

from __future__ import annotations

import dataclasses
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as load_tensors

import analysis
from analysis.checks.findings import Finding
from analysis.schema import TABLES, arrow_schema
from sweep.errors import StoreError
from sweep.plan.plan import plan, record
from sweep.results.attempts import Attempt
from sweep.results.cohort import Cohort
from sweep.results.rows import RunContext
from sweep.results.store import Store
from sweep.specification.config import SweepConfig
from tests.sweep.made_up import end_trials, measurement
from trainables.lanes import LaneRun

CONFIG = SweepConfig(
    task={"modulus": 7}, model={"width": 8, "heads": 2}, data_fraction=0.5, steps=96, seeds=3, stop="none"
)


def new_sweep(path: str | Path, config: SweepConfig = CONFIG) -> tuple[Store, Cohort]:
    """A results folder with one cohort that has not begun."""
    store = Store(path)
    decided = plan(config, store, parallel=1)
    record(decided, config, store)
    (cohort,) = decided.new
    return store, cohort


def context(cohort: Cohort) -> RunContext:
    return RunContext(cohort=cohort, device="cpu", threads=1, reproducible="here")


def steps(store: Store) -> list[int]:
    """Steps of the rows that count."""
    return sorted(analysis.load(store.path)["step"])


@settings(max_examples=15)
@given(
    losses=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=4),
    keep=st.sampled_from(["none", "final", "measured"]),
    audit=st.sampled_from([0.0, 1.0]),
)
def test_what_is_written_is_read(
    losses: list[float], keep: str, audit: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = CONFIG.model_copy(update={"keep_networks": keep, "audit_share": audit, "stop": "decline"})
    store, cohort = new_sweep(tmp_path_factory.mktemp("results"), config)
    trial = cohort.trials[0]
    measurements = [measurement(trial, step, loss=loss) for step, loss in enumerate(losses)]
    measurements.append(measurement(trial, 96, because="stopped"))
    marked = dataclasses.replace(context(cohort), marked_at_step={trial.trial_id: 64})
    store.add_report(cohort.cohort_id, 1, 0, list(reversed(measurements)), marked)

    rows = analysis.load(store.path)
    for name in ("step", "train_loss", "complexity_bytes", "l2_norm"):
        pd.testing.assert_series_equal(
            rows[name].astype(float), pd.Series([float(getattr(m, name)) for m in measurements], name=name)
        )
    assert len(analysis.complexity(store.path)) == len(analysis.matrices(store.path)) == len(measurements)
    networks = analysis.networks(store.path)
    assert len(networks) == {"none": 0, "final": 1, "measured": len(measurements)}[keep]
    if keep != "none":
        weights = load_tensors(networks["safetensors"].iloc[-1])
        assert weights["embedding/embedding"].equal(measurements[-1].network["embedding/embedding"])
    (row,) = analysis.trials(store.path).to_dict("records")
    assert (row["ended_because"], row["ended_at_step"], row["budget_steps"]) == ("stopped", 96, 96)
    assert (row["audited"], row["marked_at_step"], row["stop_probability"]) == (audit == 1.0, 64, 0.25)
    assert (row["stop_rule"], row["grokked_at"]) == (cohort.stop_rule, 0.99)
    assert (row["modulus"], row["classes"]) == (7, 7)


def test_files_have_the_schema_and_are_compressed(tmp_path: Path) -> None:
    store, cohort = new_sweep(tmp_path)
    end_trials(store, cohort, dict.fromkeys(cohort.trial_ids, "budget"))
    for table in TABLES.keys() - {"decisions"}:
        (file,) = Path(store.path, "tables", table).iterdir()
        assert file.name == f"{cohort.cohort_id}-001-00000.parquet"
        parquet = pq.ParquetFile(file)
        assert parquet.schema_arrow.equals(arrow_schema(table), check_metadata=True)
        assert parquet.metadata.row_group(0).column(0).compression == "ZSTD"
        ids = parquet.read(["trial_id"])["trial_id"].to_pylist()
        assert ids == sorted(ids)


def test_an_empty_report_still_leaves_its_mark(tmp_path: Path) -> None:
    store, cohort = new_sweep(tmp_path)
    store.add_report(cohort.cohort_id, 1, 0, [], context(cohort))
    assert [file.parent.name for file in Path(store.path, "tables").glob("*/*")] == ["rows"]
    assert analysis.load(store.path).empty


def test_a_report_of_an_attempt_that_was_replaced_does_not_count(tmp_path: Path) -> None:
    store, cohort = new_sweep(tmp_path)
    trial = cohort.trials[0]

    def write(attempt: int, report: int, step: int) -> None:
        store.add_report(cohort.cohort_id, attempt, report, [measurement(trial, step)], context(cohort))

    assert store.claim_attempt(cohort.cohort_id) == Attempt(1, 0, None)
    write(1, 0, 32)
    store.write_checkpoint(cohort.cohort_id, 1, 0, b"zero")
    write(1, 1, 64)  # killed before its checkpoint
    second = store.claim_attempt(cohort.cohort_id)
    assert second == Attempt(2, 1, b"zero")
    assert steps(store) == [32, 64]
    write(2, 1, 64)
    write(1, 2, 96)  # the process thought dead continues
    assert steps(store) == [32, 64]
    # ... and even leaves a checkpoint of a report that does not count: nothing resumes from there.
    store.write_checkpoint(cohort.cohort_id, 1, 2, b"of the dead")
    assert store.claim_attempt(cohort.cohort_id) == Attempt(3, 1, b"zero")
    # Nor does it touch that of its successor, which was stopped cleanly elsewhere in the same report.
    store.write_checkpoint(cohort.cohort_id, 2, 1, b"one")
    for report in (1, 2, 3):
        store.write_checkpoint(cohort.cohort_id, 1, report, b"of the dead")
    assert store.claim_attempt(cohort.cohort_id) == Attempt(4, 2, b"one")


def test_two_processes_that_have_not_reported_are_two_attempts(tmp_path: Path) -> None:
    """As where a sweep is run twice at once: else one that is interrupted overwrites the other's report."""
    store, cohort = new_sweep(tmp_path)
    first, second = store.claim_attempt(cohort.cohort_id), store.claim_attempt(cohort.cohort_id)
    assert (first, second) == (Attempt(1, 0, None), Attempt(2, 0, None))
    trial = cohort.trials[0]
    store.add_report(cohort.cohort_id, 1, 0, [measurement(trial, step) for step in (0, 32, 64)], context(cohort))
    store.add_report(cohort.cohort_id, 2, 0, [measurement(trial, 0)], context(cohort))
    store.add_report(cohort.cohort_id, 1, 1, [measurement(trial, 96)], context(cohort))
    assert steps(store) == [0]


def test_without_a_checkpoint_an_attempt_begins_at_the_beginning(tmp_path: Path) -> None:
    store, cohort = new_sweep(tmp_path)
    store.add_report(cohort.cohort_id, 1, 0, [measurement(cohort.trials[0], 32)], context(cohort))
    assert store.claim_attempt(cohort.cohort_id) == Attempt(2, 0, None)


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_checkpoint_is_taken_for_an_empty_one_and_set_aside(tmp_path: Path, kind: str) -> None:
    store, cohort = new_sweep(tmp_path)
    store.add_report(cohort.cohort_id, 1, 0, [measurement(cohort.trials[0], 32)], context(cohort))
    store.write_checkpoint(cohort.cohort_id, 1, 0, b"state")
    (file,) = Path(store.path, "checkpoints").glob("*.safetensors")
    file.unlink()
    os.mkfifo(file) if kind == "pipe" else file.mkdir()
    attempt = store.claim_attempt(cohort.cohort_id)
    assert attempt.checkpoint == b""
    assert store.set_aside(attempt.checkpoint_name or "") == f"set-aside/{file.name}"
    assert store.claim_attempt(cohort.cohort_id).checkpoint is None


def test_old_checkpoints_go(tmp_path: Path) -> None:
    store, cohort = new_sweep(tmp_path)
    for report in range(4):
        store.write_checkpoint(cohort.cohort_id, 1, report, b"state")
    names = sorted(file.name for file in Path(store.path, "checkpoints").glob("*.safetensors"))
    assert names == [f"{cohort.cohort_id}-001-{report:05d}.safetensors" for report in (2, 3)]


def comparable(store: Store) -> pd.DataFrame:
    """Rows without seconds and place."""
    return analysis.load(store.path).drop(columns=["train_wall_s", "measure_wall_s", "sweep"])


def train(store: Store, cohort: Cohort, *, reports: int, lose_last_checkpoint: bool = False) -> None:
    """Do what a cohort's process does, for `reports` reports of one block, and then end."""
    attempt = store.claim_attempt(cohort.cohort_id)
    if attempt.checkpoint is None:
        run = LaneRun(cohort.trials, measuring=cohort.measuring, lanes=2)
    else:
        run = LaneRun.restore(attempt.checkpoint, cohort.trials, measuring=cohort.measuring)
    for report in range(attempt.next_report, attempt.next_report + reports):
        if run.finished:
            return
        store.add_report(cohort.cohort_id, attempt.number, report, run.advance(1), context(cohort))
        if not (lose_last_checkpoint and report == attempt.next_report + reports - 1):
            store.write_checkpoint(cohort.cohort_id, attempt.number, report, run.save())


def test_killed_between_tables_and_checkpoint_each_row_counts_once(tmp_path: Path) -> None:
    undisturbed, cohort = new_sweep(tmp_path / "undisturbed")
    train(undisturbed, cohort, reports=100)
    store, cohort = new_sweep(tmp_path / "killed")
    train(store, cohort, reports=2, lose_last_checkpoint=True)
    train(store, cohort, reports=1, lose_last_checkpoint=True)
    train(store, cohort, reports=100)
    pd.testing.assert_frame_equal(comparable(store), comparable(undisturbed))
    assert plan(CONFIG, store).cohorts == []


def test_a_crash_while_writing_leaves_no_file_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, cohort = new_sweep(tmp_path)

    def full(_descriptor: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write_checkpoint(cohort.cohort_id, 1, 0, b"state")
    monkeypatch.undo()
    assert list(Path(store.path, "checkpoints").iterdir()) == []


def test_cohorts_are_never_changed(tmp_path: Path) -> None:
    store, cohort = new_sweep(tmp_path)
    with pytest.raises(StoreError, match="never changed"):
        store.add_cohorts([cohort])
    with pytest.raises(StoreError, match="must be readable by version"):
        store.cohort("c0009-00000000")


def test_a_store_travels_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = pickle.loads(pickle.dumps(Store("results/x")))
    assert store.path == str(tmp_path / "results" / "x")


def test_places_that_cannot_take_results_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "fine")
    store.check_usable()
    assert store.cohorts() == []
    with pytest.raises(StoreError, match="2 machines must be where all can write"):
        store.check_usable(nodes=2)
    with pytest.raises(StoreError, match="must have 1,048,576,000 MiB free"):
        store.check_usable(needed_bytes=1000 * 2**40)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        Store(tmp_path / "file" / "results").check_usable()
    with pytest.raises(StoreError, match="local path or an s3:// address"):
        Store("ftp://somewhere/results")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server_module = pytest.importorskip("moto.server")
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="sweeps")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    yield "s3://sweeps/results/tiny"
    server.stop()


def test_a_bucket_is_as_good_as_a_folder(bucket: str, tmp_path: Path) -> None:
    Store(bucket).check_usable(nodes=3)
    with pytest.raises(StoreError, match="cannot be written"):
        Store("s3://no-such-bucket/results").check_usable()
    frames: list[Any] = []
    for place in (bucket, tmp_path / "local"):
        store, cohort = new_sweep(place)
        train(store, cohort, reports=2, lose_last_checkpoint=True)
        train(store, cohort, reports=100)
        store.mark_failed(cohort.cohort_id, "not really")
        store.clear_failed(cohort.cohort_id)
        assert plan(CONFIG, store).cohorts == []
        frames.append(comparable(store))
        assert store.check() == []
        damage = [Finding("damaged", f"tables/rows/{cohort.cohort_id}-001-00000.parquet", "", "")]
        assert damage[0].file in store.repair(damage)
        assert store.claim_attempt(cohort.cohort_id).next_report == 0
        assert [finding.kind for finding in store.check()] == ["missing"]
    pd.testing.assert_frame_equal(*frames)
    shutil.rmtree(tmp_path / "local")
