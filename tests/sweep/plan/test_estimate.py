"""What a sweep will take."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.plan.estimate import _makespan, estimate, matrix_product_rate
from sweep.plan.plan import plan, record
from sweep.results.store import Store
from sweep.specification.config import SweepConfig
from tests.sweep.made_up import end_trials

TINY = {"task": {"modulus": 7}, "model": {"width": 8, "heads": 2}, "data_fraction": 0.5, "steps": 100}


def test_the_longest_cohorts_first_on_free_cores() -> None:
    assert _makespan([4, 3, 3, 2], 2) == 6
    assert _makespan([4], 8) == 4


def test_an_estimate_without_and_with_recorded_seconds(tmp_path: Path) -> None:
    config = SweepConfig(seeds=4, **TINY)
    store = Store(tmp_path / "results")
    fresh = estimate(plan(config, store, parallel=2), store, price_per_hour=None)
    assert (fresh.trials, fresh.to_run, fresh.satisfied, fresh.cohorts, fresh.cost) == (4, 4, 0, 2, None)
    assert "this machine's speed" in fresh.basis
    assert 0 < fresh.wall_s <= fresh.process_s
    assert not Path(store.path).exists()

    first = plan(config, store, parallel=2)
    record(first, config, store)
    done = first.new[0]
    end_trials(store, done, dict.fromkeys(done.trial_ids, "budget"))  # 100 steps in 1.5 s each
    rest = estimate(plan(config, store, parallel=2), store, price_per_hour=7200)
    assert (rest.to_run, rest.satisfied, rest.resumed_cohorts) == (2, 2, 1)
    assert "recorded" in rest.basis
    assert rest.process_s == pytest.approx(3.0)
    assert rest.cost == pytest.approx(6.0)

    end_trials(store, first.new[1], dict.fromkeys(first.new[1].trial_ids, "budget"))
    nothing = estimate(plan(config, store), store, price_per_hour=1)
    assert (nothing.to_run, nothing.wall_s, nothing.cost, nothing.lanes) == (0, 0, 0, ())


def test_a_shorter_attempt_before_saves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    short, longer = SweepConfig(**TINY), SweepConfig(**{**TINY, "steps": 1000})
    first = plan(short, store)
    record(first, short, store)
    end_trials(store, first.new[0], dict.fromkeys(first.to_run, "budget"))
    record(plan(longer, store), longer, store)
    again = plan(longer, store)
    assert again.resume
    assert estimate(again, store, price_per_hour=None).process_s > 0


def test_a_gpu_is_not_passed_off_as_estimated(tmp_path: Path) -> None:
    store = Store(tmp_path)
    need = estimate(plan(SweepConfig(device="cuda", **TINY), store), store, price_per_hour=None)
    assert any("processor core" in note for note in need.notes)


def test_the_rate_of_this_machine_is_plausible() -> None:
    assert 1e8 < matrix_product_rate() < 1e14
