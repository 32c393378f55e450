"""One driver: a second one on the same results is refused before it does anything."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import sweep
from sweep.cli import main
from sweep.errors import LeaseHeld
from sweep.on_ray import jobs
from sweep.specification.config import load_specification
from sweep.training import cohort_training
from sweep.training.cohort_training import CohortTraining
from sweep.training.progress import NoProgress, Snapshot
from tests.sweep.tables import assert_same_tables

LONG = ["--set", "steps=1000000"]


def run_beside(results: Path) -> None:
    """Check that every other driver of these results is refused, and that what only reads them is not."""
    before = sorted(path for path in results.rglob("*") if "checkpoints" not in path.parts)
    refused = CliRunner().invoke(main, ["run", "tiny", "--results", str(results)])
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"error: {results} is being written by another sweep: process ")
    assert len(refused.stderr.splitlines()) == 1
    again = CliRunner().invoke(main, ["run", "tiny", "--retry-failed", "--results", str(results)])
    assert again.stderr.startswith(f"error: {results} is being written")
    config = load_specification("tiny", results=str(results))
    with pytest.raises(LeaseHeld):
        sweep.run_here(config)
    with pytest.raises(LeaseHeld):
        jobs._require_no_driver(str(results))
    assert set(before) <= set(results.rglob("*"))
    for command in (["status", str(results)], ["plan", "tiny", "--results", str(results)]):
        assert CliRunner().invoke(main, command).exit_code == 0


class Acts(NoProgress):
    """Does something once, while trials run."""

    def __init__(self, act: object) -> None:
        self.act = act

    def show(self, snapshot: Snapshot) -> None:
        act, self.act = self.act, None
        if callable(act):
            act()


def test_beside_a_sweep_in_this_process(tmp_path: Path) -> None:
    results = tmp_path / "results"
    config = load_specification("tiny", results=str(results))
    assert sweep.run_here(config, progress=Acts(lambda: run_beside(results))).exit_code == 0
    assert not list(results.glob("*.lease"))


def test_a_sweep_whose_results_were_taken_over_stops_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    config = load_specification("tiny", ["steps=400"], results=str(results))
    closed: list[object] = []
    monkeypatch.setattr(CohortTraining, "close", closed.append)
    monkeypatch.setattr(cohort_training, "RESULT_EVERY_S", 0)

    def taken_over() -> None:
        (lease,) = leases
        lease._lost = "taken over"

    leases: list[sweep.results.lease.Lease] = []
    take = sweep.results.lease.Lease.take

    def remembered(lease: sweep.results.lease.Lease) -> None:
        leases.append(lease)
        take(lease)

    monkeypatch.setattr(sweep.results.lease.Lease, "take", remembered)
    with pytest.raises(sweep.errors.LeaseLost):
        sweep.run_here(config, progress=Acts(taken_over))
    assert closed == []
    monkeypatch.undo()
    assert sweep.run_here(config, progress=NoProgress()).exit_code == 0
    assert sweep.run_here(config.model_copy(update={"results": str(tmp_path / "other")})).exit_code == 0
    assert_same_tables(results, tmp_path / "other")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_two_commands_at_once(tmp_path: Path, number: signal.Signals) -> None:
    results = tmp_path / "results"
    first = subprocess.Popen(
        [sys.executable, "-m", "sweep", "run", "tiny", "--results", str(results), *LONG],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        give_up = time.monotonic() + 100
        while not list(results.glob("cohorts/*.json")):
            assert time.monotonic() < give_up
            assert first.poll() is None
            time.sleep(0.1)
        run_beside(results)
        first.send_signal(number)
        stdout, stderr = first.communicate(timeout=60)
        assert "Interrupted" in stdout, stderr
        assert not list(results.glob("*.lease"))
    finally:
        first.kill()
        first.wait()
