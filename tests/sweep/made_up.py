"""Measurements without training, for tests of what is done with them."""

from __future__ import annotations

from sweep.plan.sharing import Sharing
from sweep.results.cohort import Cohort
from sweep.results.rows import RunContext
from sweep.results.store import Store
from tests.trainables.made_up import measurement
from trainables.measurement import EndedBecause

__all__ = ["end_trials", "measurement", "on_cores"]


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
