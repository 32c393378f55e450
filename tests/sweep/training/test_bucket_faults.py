"""A bucket that refuses, is overloaded or hangs in mid-run: real answers of a server, real waiting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.results import lease
from sweep.results.store import Store
from sweep.specification.config import SweepConfig
from sweep.training import cohort_training, storage
from sweep.training.here import run_here
from sweep.training.progress import NoProgress, Snapshot
from sweep.training.run_summary import RunSummary
from tests.sweep.faulty_bucket import HANGS, OVERLOADED, REFUSED, FaultyBucket, faulty_bucket
from tests.sweep.tables import assert_same_tables


class Watched(NoProgress):
    """Begins the fault once trials run, and ends it with the first note, or never."""

    def __init__(self, bucket: FaultyBucket, fault: tuple[int, str], *, lasts: bool = False) -> None:
        self.notes: list[str] = []
        self._bucket, self._fault, self._lasts = bucket, fault, lasts

    def show(self, snapshot: Snapshot) -> None:
        if snapshot.running and not self._bucket.met:
            self._bucket.fault = self._fault

    def note(self, text: str) -> None:
        self.notes.append(text)
        if not self._lasts:
            self._bucket.fault = None


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyBucket]:
    monkeypatch.setattr(cohort_training, "REPORT_BLOCKS", 2 * cohort_training.STEP_BLOCKS)
    monkeypatch.setattr(cohort_training, "RESULT_EVERY_S", 0)
    monkeypatch.setattr(lease, "SETTLE_S", 0.01)
    with faulty_bucket(monkeypatch) as served:
        yield served


def config(results: str | Path) -> SweepConfig:
    return SweepConfig(
        task={"modulus": 7},
        model={"kind": "mlp", "width": 8, "layers": 1},
        data_fraction=0.5,
        steps=320,
        measure_ratio=16.0,
        stop="none",
        results=str(results),
    )


def train(results: str | Path, progress: NoProgress | None = None) -> RunSummary:
    return run_here(config(results), progress=progress or NoProgress())


each_fault = pytest.mark.parametrize(
    ("fault", "words"),
    [
        (REFUSED, "storage refuses access"),
        pytest.param(OVERLOADED, "storage is overloaded", marks=pytest.mark.slow),
        pytest.param(HANGS, "storage cannot be reached", marks=pytest.mark.slow),
    ],
)


@each_fault
def test_a_fault_that_passes_is_waited_for(
    bucket: FaultyBucket, tmp_path: Path, fault: tuple[int, str], words: str
) -> None:
    progress = Watched(bucket, fault)
    summary = train(bucket.path, progress)
    assert bucket.met
    assert (summary.exit_code, summary.failed, summary.problem) == (0, {}, None), str(summary)
    paused, *_, resumed = progress.notes
    assert words in paused
    assert "The sweep tries again for up to" in paused
    assert "\n" not in paused
    assert resumed == storage.RESUMED
    assert Store(bucket.path).check() == []
    train(tmp_path)
    assert_same_tables(bucket.path, tmp_path)


@each_fault
def test_a_fault_that_lasts_ends_the_run_and_the_same_call_resumes(
    bucket: FaultyBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: tuple[int, str], words: str
) -> None:
    monkeypatch.setattr(storage, "PATIENCE_S", 0.05)
    summary = train(bucket.path, Watched(bucket, fault, lasts=True))
    assert (summary.exit_code, summary.failed, summary.failed_trials) == (1, {}, 0)
    assert f"The run ended early: {words}" in str(summary)
    assert "No trial is marked as failed" in str(summary)
    bucket.fault = None
    assert not any(name.endswith(".failed.json") for name in Store(bucket.path)._files.names("cohorts"))
    assert train(bucket.path).exit_code == 0
    train(tmp_path)
    assert_same_tables(bucket.path, tmp_path)
