"""A sweep that parks, through Ray: its processes are killed while trials are parked, and it is certified."""

from __future__ import annotations

from pathlib import Path

import pytest

import analysis
import sweep
from sweep.on_ray.cluster import RaySession
from sweep.on_ray.runner import run
from sweep.results.store import Store
from sweep.training import cohort_training
from sweep.training.progress import NoProgress
from tests.sweep.on_ray.test_runner import Recorder, cohort_processes
from tests.sweep.training.test_parked_sweeps import assert_rows_of, rows, specification


def test_killed_while_trials_are_parked_it_ends_as_it_would_have_and_is_certified(
    ray_session: RaySession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cohort_training, "REPORT_BLOCKS", cohort_training.STEP_BLOCKS)
    monkeypatch.setattr(cohort_training, "RESULT_EVERY_S", 0)
    results = tmp_path / "parked"
    killed: list[int] = []

    def kill() -> None:
        killed.extend(process.pid for process in cohort_processes(ray_session))
        for process in cohort_processes(ray_session):
            process.kill()

    recorder = Recorder(kill, when=lambda _: any((results / "tables" / "decisions").glob("*.parquet")))
    summary = run(specification(results, certify={"lost": 0.05, "allowance": 1.0}), progress=recorder)
    assert killed
    assert summary.exit_code == 0
    assert summary.parked is not None
    assert "Certified: at most 0 %" in summary.parked
    assert summary.ended_here == summary.trials == 6

    trials = analysis.trials(results)
    assert trials["parked"].eq(False).all()
    assert trials["audited"].all()
    assert any(cohort.certifies for cohort in Store(results).cohorts())
    whole = tmp_path / "whole"
    sweep.run_here(specification(whole, stop="none"), progress=NoProgress())
    assert_rows_of(rows(results), rows(whole))
    assert len(rows(results)) == len(rows(whole))
