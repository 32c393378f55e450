"""Measurements without training, for tests of what is done with them."""

from __future__ import annotations

from sweep.plan.plan import plan, record
from sweep.plan.sharing import Sharing
from sweep.results.cohort import Cohort
from sweep.results.rows import RunContext
from sweep.results.store import Store
from sweep.specification.config import SweepConfig
from tests.trainables.made_up import measurement
from trainables.measurement import EndedBecause

__all__ = ["end_trials", "finished_sweep", "measurement", "new_sweep", "on_cores"]


def new_sweep(config: SweepConfig, cohorts: int = 1) -> tuple[Store, list[Cohort]]:
    """A results folder in which this many cohorts are recorded, none of which has begun."""
    store = Store(config.results_path)
    decided = plan(config, store, parallel=cohorts)
    record(decided, config, store)
    assert len(decided.new) == cohorts
    return store, decided.new


def finished_sweep(config: SweepConfig) -> None:
    """A finished sweep with one report in each of two cohorts."""
    store, cohorts = new_sweep(config, 2)
    for cohort in cohorts:
        end_trials(store, cohort, dict.fromkeys(cohort.trial_ids, "budget"))


def end_trials(
    store: Store,
    cohort: Cohort,
    because: dict[str, EndedBecause | None],
    *,
    step: int | None = None,
    reproducible: str | None = None,
) -> None:
    """One report in which each of these trials of a cohort ends, or for None is only measured."""
    trials = {trial.trial_id: trial for trial in cohort.trials}
    attempt = store.claim_attempt(cohort.cohort_id)
    rows = [
        measurement(trials[trial_id], trials[trial_id].steps if step is None else step, because=why)
        for trial_id, why in because.items()
    ]
    context = RunContext(cohort=cohort, device="cpu", threads=1, reproducible=reproducible or cohort.reproducible)
    store.add_report(cohort.cohort_id, attempt.number, attempt.next_report, rows, context)
    store.write_checkpoint(cohort.cohort_id, attempt.number, attempt.next_report, b"state")


def on_cores(count: int) -> Sharing:
    """So many cohorts at once, with plenty of memory for each."""
    return Sharing(at_once=count, on_a_gpu=0, memory_bytes=2**34)
