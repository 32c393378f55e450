"""A storage that fails is waited for and named; rows are those of an undisturbed run."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.files import Files
from sweep.errors import ResultsGone, StorageFault, StoreError
from sweep.results.store import Store
from sweep.specification.config import SweepConfig
from sweep.training import cohort_training, storage
from sweep.training.here import run_here
from sweep.training.progress import NoProgress, Snapshot
from sweep.training.run_summary import RunSummary
from sweep.training.storage import Patience, cause_of, patiently, storage_faults
from tests.sweep.tables import assert_same_tables


class Notes(NoProgress):
    """Keeps the notes, and does something when a snapshot with running trials is shown for the first time."""

    def __init__(self, then: Callable[[], None] | None = None) -> None:
        self.notes: list[str] = []
        self._then = then

    def show(self, snapshot: Snapshot) -> None:
        if snapshot.running and self._then is not None:
            then, self._then = self._then, None
            then()

    def note(self, text: str) -> None:
        self.notes.append(text)


def train(results: Path, progress: Notes | None = None) -> RunSummary:
    config = SweepConfig(
        task={"modulus": 7},
        model={"kind": "mlp", "width": 8, "layers": 1},
        weight_decay=[0.0, 1.0],
        data_fraction=0.5,
        steps=640,
        measure_ratio=16.0,
        stop="none",
        results=str(results),
    )
    return run_here(config, progress=progress or Notes())


@pytest.fixture(autouse=True)
def frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort_training, "REPORT_BLOCKS", cohort_training.STEP_BLOCKS)
    monkeypatch.setattr(cohort_training, "RESULT_EVERY_S", 0)
    monkeypatch.setattr(storage, "FIRST_DELAY_S", 0.01)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("undisturbed")
    train(results)
    return results


class FullDisk:
    """Makes writing fail while `left` is above zero, one less each time; each write in part has its turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOSPC) -> None:
        self.left = 0.0
        write = Files.write

        def fails(files: Files, name: str, data: bytes) -> None:
            # The third part of a report, so that the first two are there already.
            if self.left and name.startswith(("checkpoints/", "cohorts/", "sweep.json")):
                self.left -= 1
                raise OSError(number, os.strerror(number))
            write(files, name, data)

        monkeypatch.setattr(Files, "write", fails)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "storage full: "),
        (errno.EROFS, "storage is read-only: "),
        (errno.EIO, "storage reports an er"),
    ],
)
def test_a_disk_that_fails_for_a_while_is_waited_for(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    disk = FullDisk(monkeypatch, number)
    progress = Notes(lambda: setattr(disk, "left", 3))
    summary = train(tmp_path, progress)
    assert (summary.exit_code, summary.failed, summary.problem) == (0, {}, None)
    paused, resumed = progress.notes
    assert words in paused
    assert "tries again for up to 10 minutes" in paused
    assert resumed == storage.RESUMED
    assert_same_tables(tmp_path, undisturbed)


def test_a_disk_that_stays_full_ends_the_run_and_nothing_is_marked_failed(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    monkeypatch.setattr(storage, "PATIENCE_S", 0.05)
    summary = train(tmp_path, Notes(lambda: setattr(disk, "left", float("inf"))))
    assert summary.exit_code == 1
    assert "The run ended early: storage full: [Errno 28]" in str(summary)
    assert (summary.failed, summary.failed_trials) == ({}, 0)
    assert not list((tmp_path / "cohorts").glob("*.failed.json"))
    disk.left = 0
    assert train(tmp_path).exit_code == 0
    assert_same_tables(tmp_path, undisturbed)


def test_a_disk_that_is_full_when_the_request_is_written(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    usable = Store.check_usable

    def and_then_full(store: Store) -> None:
        usable(store)
        disk.left = 3

    monkeypatch.setattr(Store, "check_usable", and_then_full)
    progress = Notes()
    assert train(tmp_path, progress).exit_code == 0
    assert len(progress.notes) == 2
    assert_same_tables(tmp_path, undisturbed)


def test_a_disk_that_is_read_only_when_a_cohort_is_taken_up(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, touch = [3], Path.touch

    def refuses(path: Path, **options: Any) -> None:
        if path.suffix == ".begun" and left[0]:
            left[0] -= 1
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        touch(path, **options)

    monkeypatch.setattr(Path, "touch", refuses)
    progress = Notes()
    assert train(tmp_path, progress).exit_code == 0
    assert "storage is read-only: " in progress.notes[0]
    assert progress.notes[-1] == storage.RESUMED
    assert left == [0]
    assert_same_tables(tmp_path, undisturbed)


@pytest.mark.parametrize("deleted", [False, True])
def test_a_results_folder_that_goes_away_is_not_made_again(
    tmp_path: Path, undisturbed: Path, deleted: bool
) -> None:
    results, aside = tmp_path / "results", tmp_path / "aside"

    def go() -> None:
        shutil.rmtree(results) if deleted else results.rename(aside)

    summary = train(results, Notes(go))
    assert not results.exists()
    assert (summary.exit_code, summary.saved, summary.failed) == (1, False, {})
    assert f"the results folder {results} was moved, deleted or unmounted" in str(summary)
    assert "Nothing is lost" not in str(summary)
    if not deleted:
        aside.rename(results)
    assert train(results).exit_code == 0
    assert_same_tables(results, undisturbed)


def test_errors_of_s3_are_storage_faults_with_their_cause() -> None:
    for text, cause in [
        (
            "When uploading part for key 'x' in bucket 'b': AWS Error ACCESS_DENIED during PutObject",
            "refuses access",
        ),
        ("AWS Error SLOW_DOWN during PutObject operation: HTTP 503", "is overloaded"),
        ("AWS Error NETWORK_CONNECTION during PutObject: curlCode: 7, Couldn't connect", "cannot be reached"),
        ("AWS Error UNKNOWN (HTTP status 418) during PutObject", "storage fails"),
    ]:
        assert cause in cause_of(OSError(text))


def begun(path: Path) -> Store:
    store = Store(path)
    store.write_request(SweepConfig(), [])
    return store


def test_what_is_and_what_is_not_a_storage_fault(tmp_path: Path) -> None:
    store = begun(tmp_path)
    (tmp_path / "cohorts").mkdir()

    def refuse() -> None:
        raise OSError("AWS Error ACCESS_DENIED a\nb")

    def under_guard(work: Callable[[], object]) -> None:
        with storage_faults(store):
            work()

    with pytest.raises(StorageFault, match=r"^storage refuses access: AWS Error ACCESS_DENIED a b$"):
        under_guard(refuse)
    with pytest.raises(StoreError, match="must be readable") as caught:
        under_guard(lambda: store.cohort("c0000-00000000"))
    assert not isinstance(caught.value, StorageFault)
    with pytest.raises(IsADirectoryError):
        under_guard((tmp_path / "cohorts").read_bytes)
    (tmp_path / "sweep.json").unlink()
    with pytest.raises(ResultsGone):
        under_guard(lambda: None)


def test_patience_ends(tmp_path: Path) -> None:
    times = iter([0.0, 0.0, 5.0, 10.0, 20.0, 20.0])
    patience = Patience(10.0, clock=lambda: next(times))
    fault = StorageFault("storage full")
    assert patience.failed(fault)
    assert patience.failed(fault)
    assert not patience.failed(fault)
    patience.works()
    assert patience.failed(fault)

    def refuse() -> None:
        raise OSError(errno.EROFS, "read-only")

    notes: list[str] = []
    with pytest.raises(StorageFault, match="storage is read-only"):
        patiently(begun(tmp_path), refuse, notes.append, bound_s=0.05)
    assert len(notes) == 1
