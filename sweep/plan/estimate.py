"""The cost of a sweep, estimated before anything is run: floating-point operations, memory, hours, money."""

from __future__ import annotations

import dataclasses
import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sweep.plan.plan import Plan, satisfies
from sweep.plan.sizing import Costs, trial_flops
from sweep.results.store import Store
from trainables.config import TrialConfig
from trainables.errors import ConfigError

_RATE_SECONDS = 0.2
_RATE_SIDE = 256


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of a plan if every trial uses its whole budget; most trials end earlier."""

    trials: int
    satisfied: int
    """Trials that already have the requested results."""
    to_run: int
    failed: int
    """Trials of these that failed before and are tried again."""
    cohorts: int
    resumed_cohorts: int
    lanes: tuple[int, ...]
    """The different numbers of lanes of the cohorts."""
    parallel: int
    """Number of cohorts at once."""
    sharing: str
    """How the cohorts share the machines, in words."""
    wall_s: float
    """Seconds until the last cohort ends."""
    process_s: float
    """Seconds of all cohorts together."""
    cost: float | None
    """None if no price is known."""
    basis: str
    """The basis of the seconds."""
    notes: tuple[str, ...]


def estimate(plan: Plan, store: Store, *, price_per_hour: float | None) -> Estimate:
    """Estimate the time and the cost of a plan.

    Args:
        plan: what is to be run.
        store: the results folder; recorded seconds of its trials are used if there are any.
        price_per_hour: price of an hour of what one cohort occupies.
    """

    def has_ended(trial: TrialConfig, rule: str) -> bool:
        outcome = plan.outcomes.get(trial.trial_id)
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
    costs = Costs()
    cohort_s = [
        seconds_per_flop
        * sum(
            costs.flops(trial, cohort.measuring)
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
    """Measure, for 0.2 s, the floating-point operations per second of one core in large matrix products."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # Rows sum to 1, so that products stay as they are: numbers that grow, or become denormal, take other times.
        matrix = torch.full((_RATE_SIDE, _RATE_SIDE), 1 / _RATE_SIDE)
        result = matrix @ matrix  # the first product is not timed: it sets things up
        products = 0
        # Time of this process: cohorts that train beside it would make a clock on the wall run on.
        start = time.process_time()
        while (elapsed := time.process_time() - start) < _RATE_SECONDS:
            result = result @ matrix
            products += 1
        return products * 2 * _RATE_SIDE**3 / elapsed
    finally:
        torch.set_num_threads(threads)


def _recorded_seconds_per_flop(store: Store) -> float | None:
    """Return the seconds per operation of the trials that ended here; None if none has."""
    configs = {trial.trial_id: (trial, cohort) for cohort in store.cohorts() for trial in cohort.trials}
    seconds = flops = 0.0
    for trial_id, (steps, taken_s) in store.seconds_taken().items():
        if steps > 0 and trial_id in configs:
            trial, cohort = configs[trial_id]
            try:
                flops += trial_flops(dataclasses.replace(trial, steps=steps), cohort.measuring)
            except ConfigError:  # the task or network is not registered here, or has changed
                continue
            seconds += taken_s
    return seconds / flops if flops else None


def _makespan(durations_s: Sequence[float], parallel: int) -> float:
    """Return when the last of these ends, if each starts, in order, as soon as one of `parallel` places is free."""
    free_at = [0.0] * parallel
    for duration_s in durations_s:
        heapq.heappush(free_at, heapq.heappop(free_at) + duration_s)
    return max(free_at)
