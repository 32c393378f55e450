"""Whole sweeps through Ray Tune, undisturbed and disturbed: rows are the same, and each counts once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

import analysis
from analysis.checks.reports import parse_report
from analysis.results_folder import ResultsFolder
from sweep.errors import RayUnusable
from sweep.on_ray.cluster import RaySession
from sweep.on_ray.processes import processes_of
from sweep.on_ray.runner import RunSummary, ended_of, run
from sweep.plan.plan import NO_RULE, plan, record
from sweep.results.store import Store
from sweep.specification.config import SweepConfig
from sweep.training import cohort_training
from sweep.training.progress import NoProgress, Snapshot
from tests.sweep.made_up import end_trials
from tests.sweep.tables import assert_same_tables, tables
from tests.trainables.numerics.processes import needs_known_bits

REPORT_BLOCKS = 2 * cohort_training.STEP_BLOCKS

SETTINGS: dict[str, Any] = {
    "name": "tiny",
    "task": {"modulus": 7},
    "model": {"kind": "mlp", "width": 8, "layers": 1},
    "weight_decay": [0.0, 1.0],
    "data_fraction": [0.4, 0.8],
    "batch_size": 8,
    "seeds": 2,
    "steps": 640,
    "measure_ratio": 16.0,
    "lanes": 2,
    "stop": "none",
}


PUBLISHED = {"8efd65bc62c69f16": "22ef08a7ccadef5d"}
"""Trial id -> digest of its rows on every processor; see tests/trainables/numerics/test_reference.py."""


@pytest.fixture(autouse=True)
def frequent_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort_training, "REPORT_BLOCKS", REPORT_BLOCKS)
    monkeypatch.setattr(cohort_training, "RESULT_EVERY_S", 0)


def specification(results: Path, **changes: Any) -> SweepConfig:
    return SweepConfig(**{**SETTINGS, "results": str(results), **changes})


class Recorder(NoProgress):
    """Keeps what it is shown, and does something once: by default when some trials are done and others run."""

    def __init__(
        self,
        then: Callable[[], None] | None = None,
        *,
        when: Callable[[Snapshot], bool] = lambda snapshot: snapshot.done >= 1 and snapshot.running > 0,
    ) -> None:
        self.snapshots: list[Snapshot] = []
        self.notes: list[str] = []
        self._then = then
        self._when = when

    def show(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)
        if self._then is not None and self._when(snapshot):
            then, self._then = self._then, None
            then()

    def note(self, text: str) -> None:
        self.notes.append(text)


def cohort_processes(session: RaySession) -> list[psutil.Process]:
    """Ray puts the class of an actor, or the method it is in, into the title of its process."""
    return [process for process in processes_of(session.folder) if "Trainable" in process.cmdline()[0]]


def _checkpoints(results: Path) -> list[tuple[str, int]]:
    """Cohort id and report of each."""
    names = (path.stem.rsplit("-", 2) for path in (results / "checkpoints").glob("c*.safetensors"))
    return [(cohort_id, int(report)) for cohort_id, _, report in names]


def attempts(results: Path) -> set[int]:
    """Those that have trained; to compact reports is an attempt, too."""
    begun = {int(path.stem.rpartition("-")[2]) for path in (results / "checkpoints").glob("*.begun")}
    there = [parse_report(path.name) for path in (results / "tables" / "rows").iterdir()]
    return begun - {report.attempt for report in there if report is not None and report.is_compacted}


@pytest.fixture(scope="module")
def undisturbed(
    ray_session: RaySession, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, RunSummary, Recorder]:
    results = tmp_path_factory.mktemp("undisturbed")
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cohort_training, "REPORT_BLOCKS", REPORT_BLOCKS)
        patch.setattr(cohort_training, "RESULT_EVERY_S", 0)
        summary = run(specification(results), progress=recorder)
    return results, summary, recorder


def test_an_undisturbed_run(undisturbed: tuple[Path, RunSummary, Recorder]) -> None:
    results, summary, recorder = undisturbed
    assert (summary.trials, summary.ended, summary.ended_here) == (8, {"budget": 8}, 8)
    assert (summary.exit_code, summary.failed, summary.missing, summary.problem) == (0, {}, 0, None)
    assert str(summary).startswith(
        "8 of 8 trials are done (8 to the end of their budget); 0 grokked.\nThis run took"
    )
    assert len(tables(results)["trials"]) == 8
    assert attempts(results) == {1}

    assert recorder.notes == []
    last = recorder.snapshots[-1]
    assert (last.done, last.trials, last.running, last.failed_cohorts) == (8, 8, 0, 0)
    assert max(snapshot.running for snapshot in recorder.snapshots) >= 2
    done = [snapshot.done for snapshot in recorder.snapshots]
    assert done == sorted(done)
    # Of Ray's own files nothing is among the results.
    assert {path.name for path in results.iterdir()} == {
        "sweep.json",
        "columns.json",
        "cohorts",
        "tables",
        "checkpoints",
    }


def test_a_second_run_runs_nothing_and_starts_no_ray(undisturbed: tuple[Path, RunSummary, Recorder]) -> None:
    results, _, _ = undisturbed
    before = sorted((path, path.stat().st_mtime_ns) for path in (results / "tables").rglob("*.parquet"))
    outcome = subprocess.run(
        driver(results),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert outcome.stdout.splitlines() == [
        "8 of 8 trials are done (8 to the end of their budget); 0 grokked.",
        "All of them had results already; nothing was run.",
        "ray was imported: False",
    ], outcome.stderr
    assert sorted((path, path.stat().st_mtime_ns) for path in (results / "tables").rglob("*.parquet")) == before


def test_no_more_cohorts_train_at_once_than_asked_for(ray_session: RaySession, tmp_path: Path) -> None:
    results = tmp_path / "results"
    two_shapes = specification(results, model={"kind": "mlp", "width": [4, 8], "layers": 1}, processes=1)
    assert run(two_shapes, progress=NoProgress()).exit_code == 0
    written: dict[str, list[int]] = {}
    # A mark when each begins, and its rows, compacted, when it ends.
    for path in [*results.glob("checkpoints/*.begun"), *results.glob("tables/rows/*.parquet")]:
        written.setdefault(path.name[:5], []).append(path.stat().st_mtime_ns)
    first, second = sorted(written.values())
    assert len(first) >= 2
    assert max(first) < min(second)


def test_one_more_seed_runs_only_the_new_trials(
    ray_session: RaySession, undisturbed: tuple[Path, RunSummary, Recorder], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    first = run(specification(results, seeds=1), progress=NoProgress())
    assert (first.trials, first.ended_here, first.exit_code) == (4, 4, 0)
    old = set((results / "tables").rglob("*.parquet"))

    recorder = Recorder()
    second = run(specification(results), progress=recorder)
    assert (second.trials, second.ended, second.ended_here) == (8, {"budget": 8}, 4)
    assert recorder.snapshots[0].done == 4  # those of the first run are counted from the start
    new = set((results / "tables").rglob("*.parquet")) - old
    assert old < old | new
    assert_same_tables(results, undisturbed[0])


def test_a_killed_cohort_goes_on_from_its_last_checkpoint(
    ray_session: RaySession, undisturbed: tuple[Path, RunSummary, Recorder], tmp_path: Path
) -> None:
    with_checkpoint: set[str] = set()

    def kill() -> None:
        victims = cohort_processes(ray_session)
        assert victims
        for victim in victims:
            victim.send_signal(signal.SIGKILL)
        psutil.wait_procs(victims)
        with_checkpoint.update(cohort_id for cohort_id, _ in _checkpoints(tmp_path))

    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        """See the reports before they are compacted."""
        while not over.wait(0.002):
            seen.update(path.name for path in tmp_path.glob("tables/rows/*.parquet"))

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    recorder = Recorder(kill, when=lambda snapshot: snapshot.done == 0 and bool(_checkpoints(tmp_path)))
    summary = run(specification(tmp_path), progress=recorder)
    over.set()
    watching.join()

    assert (summary.exit_code, summary.failed) == (0, {})
    assert recorder.notes
    assert [note for note in recorder.notes if "has stopped: its process died" not in note] == []
    # Not from the beginning: the second attempt at a cohort that had a checkpoint has no first report.
    reports = [report for name in seen if (report := parse_report(name)) is not None]
    again = [one.report for one in reports if one.cohort_id in with_checkpoint and one.attempt == 2]
    assert again
    assert min(again) > 0
    assert_same_tables(tmp_path, undisturbed[0])


_DRIVER = """
import os, signal, sys
from sweep.specification.config import SweepConfig
from sweep.training.progress import NoProgress
from sweep.on_ray.runner import run

class ActsOnce(NoProgress):
    acted = False
    def show(self, snapshot):
        if snapshot.done >= 1 and snapshot.running and not self.acted:
            self.acted = True
            {act}
            pass

if {act!r}:
    from sweep.training import cohort_training
    cohort_training.REPORT_BLOCKS = 2 * cohort_training.STEP_BLOCKS
    cohort_training.RESULT_EVERY_S = 0
summary = run(SweepConfig(**{settings}), progress=ActsOnce())
print(summary)
print("ray was imported:", "ray" in sys.modules)
sys.exit(summary.exit_code)
"""


def driver(results: Path, act: str = "") -> list[str]:
    """A command that runs the sweep in a process of its own and acts once, as soon as a trial has ended."""
    code = _DRIVER.format(settings={**SETTINGS, "results": str(results)}, act=act)
    return [sys.executable, "-c", code]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "kill"),
    [
        (signal.SIGINT, "os.kill(os.getpid(), {})"),
        (signal.SIGTERM, "os.kill(os.getpid(), {})"),
        (signal.SIGTERM, "os.killpg(os.getpgid(0), {})"),
        (signal.SIGHUP, "os.kill(os.getpid(), {})"),
        (signal.SIGKILL, "os.kill(os.getpid(), {})"),
    ],
    ids=["SIGINT", "SIGTERM", "SIGTERM to all", "SIGHUP", "SIGKILL"],
)
def test_a_driver_that_is_stopped_goes_on_where_it_was(
    ray_session: RaySession,
    undisturbed: tuple[Path, RunSummary, Recorder],
    tmp_path: Path,
    number: signal.Signals,
    kill: str,
) -> None:
    results = tmp_path / "results"
    scratch = Path("/tmp") / f"sweep-test-{os.getpid()}"
    scratch.mkdir()
    act = kill.format(int(number))
    try:
        outcome = subprocess.run(
            driver(results, act),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
            env={**os.environ, "TMPDIR": str(scratch)},
            start_new_session=True,
        )
        if number == signal.SIGKILL:
            assert outcome.returncode == -signal.SIGKILL
        else:
            assert outcome.returncode == 128 + number, outcome.stderr
            assert f"Interrupted ({number.name})" in outcome.stdout
            assert "the same command resumes from here" in outcome.stdout
        assert outcome.stderr == ""
        # Whatever the driver has started ends with it.
        left = processes_of(scratch)
        psutil.wait_procs(left, timeout=60)
        assert processes_of(scratch) == []
        assert list(scratch.iterdir()) == []
    finally:
        scratch.rmdir()

    interrupted = len(ResultsFolder(str(results)).table("trials", ["trial_id"]))
    assert interrupted < 8
    summary = run(specification(results), progress=NoProgress())
    assert (summary.exit_code, summary.ended, summary.ended_here) == (0, {"budget": 8}, 8 - interrupted)
    assert_same_tables(results, undisturbed[0])


@pytest.mark.slow
@pytest.mark.parametrize("which", ["gcs_server", "raylet"])
def test_a_head_that_dies_ends_the_run_in_our_words(
    ray_session: RaySession, undisturbed: tuple[Path, RunSummary, Recorder], tmp_path: Path, which: str
) -> None:
    act = f"from ray._private import worker; worker._global_node.all_processes[{which!r}][0].process.kill()"
    outcome = subprocess.run(
        driver(tmp_path, act),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert outcome.returncode == 1, outcome.stderr
    # On standard output, or on standard error if a call into Ray did not return.
    said = outcome.stdout + outcome.stderr
    assert f"The run ended early: Ray's head has died ({which})" in said
    assert "the same command resumes from here. Nothing is lost." in said
    assert "Traceback" not in outcome.stderr
    assert run(specification(tmp_path), progress=NoProgress()).exit_code == 0
    assert_same_tables(tmp_path, undisturbed[0])


def test_a_results_folder_moved_meanwhile_ends_the_run_at_once(
    ray_session: RaySession, undisturbed: tuple[Path, RunSummary, Recorder], tmp_path: Path
) -> None:
    results, aside = tmp_path / "results", tmp_path / "aside"

    def move() -> None:
        results.rename(aside)

    recorder = Recorder(move, when=lambda snapshot: snapshot.running > 0)
    summary = run(specification(results, steps=64_000), progress=recorder)
    assert not results.exists()
    assert (summary.exit_code, summary.saved, summary.failed) == (1, False, {})
    assert f"the results folder {results} was moved, deleted or unmounted" in str(summary)
    assert "Nothing is lost" not in str(summary)
    assert not any("has stopped" in note for note in recorder.notes)


def test_a_cohort_that_fails_for_good_is_said_and_tried_again_alone(
    ray_session: RaySession, undisturbed: tuple[Path, RunSummary, Recorder], tmp_path: Path
) -> None:
    config = specification(tmp_path, max_failures=1)
    [bad, *_] = plan(config, Store(tmp_path)).new
    obstacles = [tmp_path / "tables" / "rows" / f"{bad.cohort_id}-00{attempt}-00000.parquet" for attempt in (1, 2)]

    def obstruct() -> None:
        """Put a folder where the first report of each attempt belongs, as soon as the attempt has its number."""
        for attempt, obstacle in enumerate(obstacles, start=1):
            while not (tmp_path / "checkpoints" / f"{bad.cohort_id}-00{attempt}.begun").exists():
                time.sleep(0.002)
            obstacle.mkdir(parents=True)

    threading.Thread(target=obstruct, daemon=True).start()
    recorder = Recorder()
    summary = run(config, progress=recorder)

    assert list(summary.failed) == [bad.cohort_id]
    assert "IsADirectoryError" in summary.failed[bad.cohort_id]
    assert "\n" not in summary.failed[bad.cohort_id]
    assert (summary.failed_trials, summary.done, summary.missing, summary.exit_code) == (
        len(bad.trials),
        8 - len(bad.trials),
        0,
        1,
    )
    assert "--retry-failed" in str(summary)
    assert [note.partition(": ")[0] for note in recorder.notes] == [
        f"Cohort {bad.cohort_id} has stopped",
        f"Cohort {bad.cohort_id} has stopped",
        f"Cohort {bad.cohort_id} failed",
    ]
    outcomes = Store(tmp_path).outcomes()
    assert {outcomes[trial_id].ended_because for trial_id in bad.trial_ids} == {"failed"}

    for obstacle in obstacles:
        obstacle.rmdir()
    again = run(config, retry_failed=True, progress=NoProgress())
    assert (again.ended_here, again.failed_trials, again.exit_code) == (len(bad.trials), 0, 0)
    assert_same_tables(tmp_path, undisturbed[0])


def test_a_shorter_attempt_before_is_no_end_of_a_longer_one(tmp_path: Path) -> None:
    short, store = specification(tmp_path), Store(tmp_path)
    decided = plan(short, store)
    record(decided, short, store)
    for cohort in decided.new:
        end_trials(store, cohort, dict.fromkeys(cohort.trial_ids, "budget"))
    asked = decided.trials
    longer = [dataclasses.replace(trial, steps=2 * trial.steps) for trial in asked]
    assert len(ended_of(store.outcomes(), asked, NO_RULE)) == len(asked)
    assert ended_of(store.outcomes(), longer, NO_RULE) == {}


def test_what_a_retry_cannot_cure_is_not_retried(ray_session: RaySession, tmp_path: Path) -> None:
    config = specification(tmp_path)
    [*_, bad] = plan(config, Store(tmp_path)).new
    file = tmp_path / "cohorts" / f"{bad.cohort_id}.json"

    def ask_for_a_device_that_is_not_there() -> None:
        file.write_text(json.dumps({**json.loads(file.read_text()), "device": "cuda:99"}))

    recorder = Recorder(ask_for_a_device_that_is_not_there)
    summary = run(config, progress=recorder)

    assert [bad.cohort_id] == list(summary.failed)
    assert recorder.notes == [f"Cohort {bad.cohort_id} failed: {summary.failed[bad.cohort_id]}."]
    assert summary.failed[bad.cohort_id].startswith("ConfigError")
    assert (summary.done, summary.failed_trials) == (8 - len(bad.trials), len(bad.trials))


def test_a_process_killed_between_two_cohorts_costs_no_cohort(
    ray_session: RaySession, undisturbed: tuple[Path, RunSummary, Recorder], tmp_path: Path
) -> None:
    """Tune hears twice of such a death and gives the next cohort up at once; it is restarted nevertheless."""

    def kill() -> None:
        for process in cohort_processes(ray_session):
            process.send_signal(signal.SIGKILL)

    recorder = Recorder(kill, when=lambda snapshot: snapshot.done >= 2)
    summary = run(specification(tmp_path, max_failures=1), progress=recorder)
    assert (summary.exit_code, summary.failed, summary.ended) == (0, {}, {"budget": 8})
    assert_same_tables(tmp_path, undisturbed[0])


@pytest.mark.parametrize("times", [1, 2])
def test_trouble_in_tune_itself_is_a_message_and_nothing_is_lost(
    ray_session: RaySession, undisturbed: tuple[Path, RunSummary, Recorder], tmp_path: Path, times: int
) -> None:
    """Tune ends the whole experiment if a node is short of memory: it is begun again, but not for ever."""

    class OutOfMemory(Recorder):
        left = times

        def show(self, snapshot: Snapshot) -> None:
            super().show(snapshot)
            if self.left and snapshot.running:
                self.left -= 1
                raise RuntimeError("1 worker(s) were killed due to the node running low on memory.\nA long list.")

    progress = OutOfMemory()
    summary = run(specification(tmp_path, max_failures=1), progress=progress)

    assert any("low on memory" in note and "\n" not in note for note in progress.notes)
    if times == 1:
        assert (summary.exit_code, summary.problem) == (0, None)
    else:
        assert summary.problem is not None
        assert "low on memory" in summary.problem
        assert summary.exit_code == 1
        assert summary.missing > 0
        assert "the same command resumes from here" in str(summary)
        assert run(specification(tmp_path), progress=NoProgress()).exit_code == 0
    assert_same_tables(tmp_path, undisturbed[0])


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_no_gpu_where_one_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delattr("sweep.on_ray.runner.local_ray")  # Ray is not started for it
    with pytest.raises(RayUnusable, match="use device: cpu"):
        run(specification(tmp_path, device="cuda"), progress=NoProgress())
    assert not (tmp_path / "sweep.json").exists()


@needs_known_bits
@pytest.mark.usefixtures("ray_session")
def test_a_sweep_across_machines_has_the_published_rows_and_says_so(tmp_path: Path) -> None:
    config = SweepConfig(
        task={"modulus": 7},
        model=SETTINGS["model"],
        weight_decay=[1.0, 2.0],
        batch_size=8,
        steps=64,
        stop="none",
        reproducible="across machines",
        results=str(tmp_path),
    )
    assert run(config, progress=NoProgress()).exit_code == 0
    assert set(analysis.trials(tmp_path).reproducible) == {"across machines"}
    rows = analysis.load(tmp_path)
    columns = ["step", "train_loss", "val_loss", "l2_norm", "spectral_entropy", "complexity_bytes"]
    for trial_id, digest in PUBLISHED.items():
        values = rows[rows.trial_id == trial_id][columns].sort_values("step").itertuples(index=False)
        listed = [(int(v[0]), *v[1:5], None if math.isnan(v[5]) else int(v[5])) for v in values]
        assert hashlib.sha256(repr(listed).encode()).hexdigest()[:16] == digest
    assert run(specification(tmp_path / "other"), progress=NoProgress()).exit_code == 0
    assert set(analysis.trials(tmp_path / "other").reproducible) == {"here"}
