"""What a sweep will take: floating-point operations, memory, hours, cost. Estimates, before anything is run."""

from __future__ import annotations

import dataclasses
import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sweep.cohorts import Plan
from sweep.errors import SweepError
from sweep.store import Store
from trainables.config import TrialConfig
from trainables.measuring import MeasuringConfig, evaluated_steps, measured_steps

EFFICIENCY = 0.15
"""Share of the rate of a large matrix product that training reaches; found on one CPU core with 8 lanes: 0.1 at
width 32, 0.2 at width 64."""

DECOMPOSITION_FLOPS = 40
"""Of a matrix with sides k <= m, in units of k^2 m; its arithmetic is slower, too. Found like EFFICIENCY."""

STEP_FLOPS = 4e6
"""What a step of the smallest network costs beside its arithmetic, in the same currency. Found like EFFICIENCY."""

MEASUREMENT_PASSES = 40
"""Forward passes over the training set that one measurement of complexity costs, ..."""
MEASUREMENT_FLOPS = 1e9
"""... and what it costs beside, in the currency of STEP_FLOPS. Found like EFFICIENCY."""

LANES_ON_A_GPU = 256
"""More lanes than this no longer fill a GPU better."""

MEMORY_SHARE = 0.5
"""Of the memory, for the lanes; the rest is for Ray, the driver and whatever else runs there."""

GPU_BYTES = 16 * 2**30
"""Assumed where the GPU is not on this machine."""

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
    wall_s: float
    """Until the last cohort ends, s."""
    process_s: float
    """Of all cohorts together, s."""
    cost: float | None
    """None: no price is known."""
    basis: str
    """What the seconds rest on."""
    notes: tuple[str, ...]


def estimate(plan: Plan, store: Store, *, parallel: int, price_per_hour: float | None) -> Estimate:
    """Estimate the time and the cost of a plan.

    Args:
        plan: What is to be run.
        store: Where it goes; the seconds that trials took there are used if there are any.
        parallel: Cohorts that run at once.
        price_per_hour: Of what one cohort occupies.
    """
    ended = {
        trial_id for trial_id, o in store.outcomes().items() if o.ended_because not in ("interrupted", "failed")
    }
    seconds_per_flop, basis = 0.0, "nothing to run"
    if plan.cohorts:
        recorded = _recorded_seconds_per_flop(store)
        basis = "the seconds recorded in these results" if recorded else "this machine's speed, measured just now"
        seconds_per_flop = recorded or 1 / (EFFICIENCY * matrix_product_rate())
    resumed = {cohort.cohort_id for cohort in plan.resume}
    cohort_s = [
        seconds_per_flop
        * sum(
            trial_flops(trial, cohort.measuring)
            for trial in cohort.trials
            if not (cohort.cohort_id in resumed and trial.trial_id in ended)
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
        parallel=parallel,
        wall_s=_makespan(cohort_s, parallel),
        process_s=process_s,
        cost=None if price_per_hour is None else process_s / 3600 * price_per_hour,
        basis=basis,
        notes=tuple(plan.notes),
    )


def trial_flops(trial: TrialConfig, measuring: MeasuringConfig) -> float:
    """Floating-point operations of a trial that uses its whole budget: training, evaluating, measuring.

    A pass forward is 2 operations a weight and example, one backward twice that. Of a sequence only the last
    position counts, except in the layers before the last.
    """
    from trainables.lanes import effective_batch_size
    from trainables.models import parameter_shapes
    from trainables.tasks import build_task
    from trainables.tasks.split import training_size

    task = build_task(trial.task)
    shapes = [shape for shape in parameter_shapes(task, trial.model).values() if len(shape) == 2]
    weights = sum(rows * columns for rows, columns in shapes)
    if trial.model.kind == "transformer":
        weights += weights * (task.positions - 1) * (trial.model.depth - 1) // trial.model.depth
    decomposition = DECOMPOSITION_FLOPS * sum(min(shape) ** 2 * max(shape) for shape in shapes)

    step = STEP_FLOPS + 6 * weights * effective_batch_size(trial)
    if trial.spectral_entropy_weight > 0:
        step += decomposition
    evaluation = 2 * weights * task.examples + decomposition
    measurement = MEASUREMENT_FLOPS + MEASUREMENT_PASSES * 2 * weights * training_size(
        task.examples, trial.data_fraction
    )
    return (
        trial.steps * step
        + len(evaluated_steps(measuring, trial.steps)) * evaluation
        + len(measured_steps(measuring, trial.steps)) * measurement * len(measuring.epsilons)
    )


def lanes_for(trial: TrialConfig, wanted: int | Literal["auto"], device: str, parallel: int) -> int:
    """Lanes for cohorts of this trial's shape, within half of the device's memory; Ray watches over none of it.

    Args:
        trial: One of the shape.
        wanted: So many, or `auto`: as many as fill the device and fit.
        device: `cpu` or `cuda`.
        parallel: Cohorts that share the memory of a machine.

    Raises:
        SweepError: so many do not fit.
    """
    import psutil
    import torch

    from trainables.lanes import DEFAULT_LANES
    from trainables.memory import lane_bytes

    if device == "cpu":
        memory, enough = psutil.virtual_memory().total / parallel, DEFAULT_LANES
    else:
        memory = torch.cuda.mem_get_info()[1] if torch.cuda.is_available() else GPU_BYTES
        enough = LANES_ON_A_GPU
    fitting = max(1, int(MEMORY_SHARE * memory / lane_bytes(trial)))
    if wanted == "auto":
        return min(enough, fitting)
    if wanted > fitting:
        needed, allowed = (size / 2**30 for size in (wanted * lane_bytes(trial), MEMORY_SHARE * memory))
        raise SweepError(
            f"lanes: {wanted:,} of this network need {needed:,.1f} GiB, and a cohort may take {allowed:,.1f}; "
            f"choose at most {fitting:,}, or leave it to lanes: auto"
        )
    return wanted


def matrix_product_rate() -> float:
    """Floating-point operations a second of one core in large matrix products, measured for 0.2 s."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        matrix = torch.full((_RATE_SIDE, _RATE_SIDE), 1 / _RATE_SIDE)
        result = matrix @ matrix  # the first one sets things up
        products = 0
        start = time.perf_counter()
        while (elapsed := time.perf_counter() - start) < _RATE_SECONDS:
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
            seconds += taken_s
            flops += trial_flops(dataclasses.replace(trial, steps=steps), cohort.measuring)
    return seconds / flops if flops else None


def _makespan(durations_s: Sequence[float], parallel: int) -> float:
    """When the last of these ends, each started where one is free first, in this order."""
    free_at = [0.0] * parallel
    for duration_s in durations_s:
        heapq.heappush(free_at, heapq.heappop(free_at) + duration_s)
    return max(free_at)
