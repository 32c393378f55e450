"""How large a trial is: its arithmetic, and how many lanes of it fit a device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sweep.errors import SweepError
from trainables.config import TrialConfig
from trainables.measuring import MeasuringConfig, evaluated_steps, measured_steps

if TYPE_CHECKING:
    from trainables.tasks import Task

# What things cost in the operations that one CPU core does meanwhile in a large matrix product, fitted to what
# benchmarks/estimates.py takes, so that a trial's operations over that rate are its seconds.

PRODUCTS = 0.5
"""An operation of the step's products, since embeddings and the tables of a first layer take none."""
VALUE_FLOPS = 940
"""All that is done with one value between two matrices, forwards and backwards, except products."""
LAYER_FLOPS = {"transformer": 40e6, "mlp": 6e6}
"""What a layer's step costs beside its arithmetic: calling its operations, with 8 lanes in company."""
DECOMPOSITION_FLOPS = 7_500
"""Decomposing a matrix of sides k <= m, in units of k m, ..."""
LARGE_DECOMPOSITION_FLOPS = 40
"""... or of k^2 m, whichever is more."""

EVALUATION_PASSES = 2
"""Passes over all examples, at the rate of large products, that one evaluation costs, ..."""
EVALUATION_FLOPS = 0.2e9
"""... what it costs beside, ..."""
EVALUATION_FLOPS_A_WEIGHT = 14e3
"""... and what for each weight."""
MEASUREMENT_PASSES = 30
"""The same of one measurement of complexity, but over the training set, ..."""
MEASUREMENT_FLOPS = 10e9
MEASUREMENT_FLOPS_A_WEIGHT = 0.8e6
MEASUREMENT_FLOPS_A_VALUE = 0.1e9
"""... and what it costs for each row and column, which are rounded one after the other."""

LANES_ON_A_GPU = 256
"""More lanes than this no longer fill a GPU better."""


@dataclass(frozen=True, slots=True)
class _Arithmetic:
    """Of one network. Only the last position of a sequence counts, except in the layers before the last."""

    weights: int
    """Of all matrices, whether an example meets them or not."""
    products: int
    """Multiplications of a pass forward, an example."""
    sides: float
    """Of each matrix the geometric mean of its two, added up."""
    values: float
    """The same with each layer's as often as an example passes it: values between matrices, an example."""
    decomposition: float
    """FLOPs to decompose all matrices."""


def trial_flops(trial: TrialConfig, measuring: MeasuringConfig) -> float:
    """What a trial that uses its whole budget costs: training, evaluating, measuring.

    In floating-point operations of large matrix products on one CPU core. A pass forward is 2 operations a weight
    and example, one backward twice that.
    """
    from trainables.lanes import effective_batch_size
    from trainables.tasks import build_task

    arithmetic = _arithmetic(trial, build_task(trial.task))
    example = PRODUCTS * 6 * arithmetic.products + VALUE_FLOPS * arithmetic.values
    step = LAYER_FLOPS[trial.model.kind] * trial.model.depth + example * effective_batch_size(trial)
    if trial.spectral_entropy_weight > 0:
        step += arithmetic.decomposition / trial.spectral_every
    return trial.steps * step + watching_flops(trial, measuring)


def watching_flops(trial: TrialConfig, measuring: MeasuringConfig) -> float:
    """The part of `trial_flops` that is not training: evaluating and measuring."""
    from trainables.tasks import build_task
    from trainables.tasks.split import training_size

    task = build_task(trial.task)
    arithmetic = _arithmetic(trial, task)
    evaluation = (
        EVALUATION_FLOPS
        + EVALUATION_FLOPS_A_WEIGHT * arithmetic.weights
        + EVALUATION_PASSES * 2 * arithmetic.products * task.examples
    )
    measurement = (
        MEASUREMENT_FLOPS
        + MEASUREMENT_FLOPS_A_WEIGHT * arithmetic.weights
        + MEASUREMENT_FLOPS_A_VALUE * arithmetic.sides
        + MEASUREMENT_PASSES * 2 * arithmetic.products * training_size(task.examples, trial.data_fraction)
    )
    evaluations, measurements = (len(f(measuring, trial.steps)) for f in (evaluated_steps, measured_steps))
    return evaluations * evaluation + measurements * measurement * len(measuring.epsilons)


def _arithmetic(trial: TrialConfig, task: Task) -> _Arithmetic:
    from trainables.models import parameter_shapes

    shapes = [shape for shape in parameter_shapes(task, trial.model).values() if len(shape) == 2]
    weights = sum(rows * columns for rows, columns in shapes)
    sides = sum(math.sqrt(rows * columns) for rows, columns in shapes)
    often = 1.0
    if trial.model.kind == "transformer":
        often += (task.positions - 1) * (trial.model.depth - 1) / trial.model.depth
    return _Arithmetic(
        weights=weights,
        products=round(often * weights),
        sides=sides,
        values=often * sides,
        decomposition=sum(
            rows * columns * max(DECOMPOSITION_FLOPS, LARGE_DECOMPOSITION_FLOPS * min(rows, columns))
            for rows, columns in shapes
        ),
    )


def lanes_for(trial: TrialConfig, wanted: int | Literal["auto"], device: str, memory_bytes: float) -> int:
    """Lanes for cohorts of this trial's shape; Ray watches over none of the memory.

    Args:
        trial: One of the shape.
        wanted: So many, or `auto`: as many as fill the device and fit.
        device: `cpu` or `cuda`.
        memory_bytes: What a cohort may take.

    Raises:
        SweepError: so many do not fit.
    """
    from trainables.lanes import DEFAULT_LANES
    from trainables.memory import lanes_within, run_bytes

    fitting = lanes_within(trial, memory_bytes, device)
    least = 1 if wanted == "auto" else wanted
    if least > fitting:
        needed, allowed = run_bytes(trial, least, device) / 2**30, max(memory_bytes, 0) / 2**30
        remedy = (
            f"choose at most {fitting:,}, or leave it to lanes: auto"
            if fitting
            else "choose a smaller one, or fewer processes"
        )
        raise SweepError(
            f"lanes: {least:,} of this network need {needed:,.1f} GiB, a cohort may take {allowed:,.1f}; {remedy}"
        )
    return min(DEFAULT_LANES if device == "cpu" else LANES_ON_A_GPU, fitting) if wanted == "auto" else wanted
