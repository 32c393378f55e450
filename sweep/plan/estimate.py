"""What a sweep will take: floating-point operations, memory, hours, cost. Estimates, before anything is run."""

from __future__ import annotations

import dataclasses
import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sweep.plan.plan import Plan, satisfies
from sweep.plan.sizing import trial_flops
from sweep.results.store import Store
from trainables.config import TrialConfig
from trainables.errors import ConfigError

_RATE_SECONDS = 0.2
_RATE_SIDE = 256


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan will take if every trial uses its whole budget; most end before."""

    trials: int
    satisfied: int
    """Trials whose results are there already."""
    to_run: int
    failed: int
    """Of these: failed before, and are tried again."""
    cohorts: int
    resumed_cohorts: int
    lanes: tuple[int, ...]
    """Different numbers of lanes that the cohorts have."""
    parallel: int
    """Cohorts at once."""
    sharing: str
    """How they share the machines, in words."""
    wall_s: float
    """Until the last cohort ends, s."""
    process_s: float
    """Of all cohorts together, s."""
    cost: float | None
    """None: no price is known."""
    basis: str
    """What the seconds rest on."""
    notes: tuple[str, ...]


def estimate(plan: Plan, store: Store, *, price_per_hour: float | None) -> Estimate:
    """Estimate the time and the cost of a plan.

    Args:
        plan: What is to be run.
        store: Where it goes; the seconds that trials took there are used if there are any.
        price_per_hour: Of what one cohort occupies.
    """
    outcomes = store.outcomes()

    def has_ended(trial: TrialConfig, rule: str) -> bool:
        outcome = outcomes.get(trial.trial_id)
        return outcome is not None and satisfies(outcome, trial.steps, rule)

    notes = list(plan.notes)
    seconds_per_flop, basis = 0.0, "nothing to run"
    if plan.cohorts:
        recorded = _recorded_seconds_per_flop(store)
        basis = "the seconds recorded in these results" if recorded else "this machine's speed, measured just now"
        seconds_per_flop = recorded or 1 / matrix_product_rate()
        if not recorded and any(cohort.device != "cpu" for cohort in plan.cohorts):
            notes.append(
                "these seconds are those of a processor core; a GPU's are known once trials have ended there"
            )
    resumed = {cohort.cohort_id for cohort in plan.resume}
    cohort_s = [
        seconds_per_flop
        * sum(
            trial_flops(trial, cohort.measuring)
            for trial in cohort.trials
            if not (cohort.cohort_id in resumed and has_ended(trial, cohort.stop_rule))
        )
        for cohort in plan.cohorts
    ]
    process_s = sum(cohort_s)
    return Estimate(
        trials=len(plan.trials),
        satisfied=len(plan.satisfied),
        to_run=len(plan.to_run),
        failed=len(plan.failed),
        cohorts=len(plan.cohorts),
        resumed_cohorts=len(plan.resume),
        lanes=tuple(sorted({cohort.lanes for cohort in plan.cohorts})),
        parallel=plan.sharing.at_once,
        sharing=str(plan.sharing),
        wall_s=_makespan(cohort_s, plan.sharing.at_once),
        process_s=process_s,
        cost=None if price_per_hour is None else process_s / 3600 * price_per_hour,
        basis=basis,
        notes=tuple(notes),
    )


def matrix_product_rate() -> float:
    """Floating-point operations in a second of one core in large matrix products, measured for 0.2 s."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        matrix = torch.full((_RATE_SIDE, _RATE_SIDE), 1 / _RATE_SIDE)
        result = matrix @ matrix  # the first one sets things up
        products = 0
        start = time.process_time()
        while (elapsed := time.process_time() - start) < _RATE_SECONDS:
            result = result @ matrix
            products += 1
        return products * 2 * _RATE_SIDE**3 / elapsed
    finally:
        torch.set_num_threads(threads)


def _recorded_seconds_per_flop(store: Store) -> float | None:
    """What the trials that ended here took, for what they were; None if none has."""
    configs = {trial.trial_id: (trial, cohort) for cohort in store.cohorts() for trial in cohort.trials}
    seconds = flops = 0.0
    for trial_id, (steps, taken_s) in store.seconds_taken().items():
        if steps > 0 and trial_id in configs:
            trial, cohort = configs[trial_id]
            try:
                flops += trial_flops(dataclasses.replace(trial, steps=steps), cohort.measuring)
            except ConfigError:  # of a task or network that is not registered here, or no longer as it was
                continue
            seconds += taken_s
    return seconds / flops if flops else None


def _makespan(durations_s: Sequence[float], parallel: int) -> float:
    """When the last of these ends, each started where one is free first, in this order."""
    free_at = [0.0] * parallel
    for duration_s in durations_s:
        heapq.heappush(free_at, heapq.heappop(free_at) + duration_s)
    return max(free_at)
