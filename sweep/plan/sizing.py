"""The size of a trial: its arithmetic, and how many lanes of it fit a device."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from sweep.errors import Problem, SpecificationError
from trainables.config import TrialConfig
from trainables.schedule import MeasuringConfig, evaluated_steps, measured_steps, steps_in_phases

if TYPE_CHECKING:
    from trainables.architectures import Architecture

# All costs are in operations that one CPU core does in the same time in a large matrix product, fitted to the times
# that benchmarks/estimates.py measures. So a trial's operations divided by that rate are its seconds.

PRODUCTS = 0.5
"""Cost of one operation in a step's products; below 1, because embeddings and the tables of a first layer take
none."""
VALUE_FLOPS = 940
"""Cost of all work on one value between two matrices, forwards and backwards, except products."""
LAYER_FLOPS = {"transformer": 40e6, "mlp": 6e6}
"""Cost of a layer's step besides its arithmetic: calling its operations, with 8 lanes together."""
OWN_LAYER_FLOPS = 6e6
"""The same cost for a module of a registered network."""
DECOMPOSITION_FLOPS = 7_500
"""Cost of decomposing a matrix with sides k <= m, in units of k m, ..."""
LARGE_DECOMPOSITION_FLOPS = 40
"""... or of k^2 m, whichever is more."""

EVALUATION_PASSES = 2
"""Cost of one evaluation: passes over all examples, at the rate of large products, ..."""
EVALUATION_FLOPS = 0.2e9
"""... plus a fixed cost ..."""
EVALUATION_FLOPS_A_WEIGHT = 14e3
"""... plus a cost per weight."""
MEASUREMENT_PASSES = 30
"""Cost of one measurement of complexity: passes over the training set, at the rate of large products, ..."""
MEASUREMENT_FLOPS = 10e9
MEASUREMENT_FLOPS_A_WEIGHT = 0.8e6
MEASUREMENT_FLOPS_A_VALUE = 0.1e9
"""... plus a cost for each row and column, which are rounded one after the other."""

LANES_ON_A_GPU = 256
"""Number of lanes beyond which a GPU is not used any better."""


def trial_flops(trial: TrialConfig, measuring: MeasuringConfig) -> float:
    """Estimate the cost of a trial that uses its whole budget: training, evaluating, measuring.

    In floating-point operations of large matrix products on one CPU core. A forward pass is 2 operations per weight
    and example, a backward pass twice that.
    """
    from trainables.lanes import effective_batch_size

    architecture, matrices = _network(trial)
    example = PRODUCTS * 6 * architecture.products() + VALUE_FLOPS * architecture.values()
    layer = LAYER_FLOPS.get(trial.model.kind, OWN_LAYER_FLOPS)
    step = layer * architecture.layers + example * effective_batch_size(trial)
    if trial.spectral_entropy_weight > 0:
        decomposition = sum(
            rows * columns * max(DECOMPOSITION_FLOPS, LARGE_DECOMPOSITION_FLOPS * min(rows, columns))
            for rows, columns in matrices
        )
        step += decomposition / trial.spectral_every
    return trial.steps * step + watching_flops(trial, measuring)


class Costs:
    """Sizes trials; those that differ in nothing that costs, such as the seed, are sized once."""

    def __init__(self) -> None:
        self._flops: dict[tuple[object, ...], float] = {}

    def flops(self, trial: TrialConfig, measuring: MeasuringConfig) -> float:
        """Estimate the cost of a trial, see `trial_flops`."""
        key = (*shape_settings(trial), trial.steps, measuring)
        if key not in self._flops:
            self._flops[key] = trial_flops(trial, measuring)
        return self._flops[key]


def shape_settings(trial: TrialConfig) -> tuple[object, ...]:
    """Return the settings that determine a trial's shape and the cost of a step; quick to compute."""
    return (
        trial.task,
        trial.model,
        trial.data_fraction,
        trial.batch_size,
        trial.drift,
        (trial.spectral_floor, trial.spectral_every) if trial.spectral_entropy_weight > 0 else None,
        trial.weight_noise > 0,
    )


def watching_flops(trial: TrialConfig, measuring: MeasuringConfig) -> float:
    """Estimate the part of `trial_flops` that is not training: evaluating and measuring."""
    from trainables.tasks import build_task
    from trainables.tasks.split import training_size

    examples = build_task(trial.task).examples
    architecture, matrices = _network(trial)
    weights = sum(rows * columns for rows, columns in matrices)
    sides = sum(math.sqrt(rows * columns) for rows, columns in matrices)
    passed = 2 * architecture.products()
    evaluation = EVALUATION_FLOPS + EVALUATION_FLOPS_A_WEIGHT * weights + EVALUATION_PASSES * passed * examples
    measurement = (
        MEASUREMENT_FLOPS
        + MEASUREMENT_FLOPS_A_WEIGHT * weights
        + MEASUREMENT_FLOPS_A_VALUE * sides
        + MEASUREMENT_PASSES * passed * training_size(examples, trial.data_fraction)
    )
    evaluations, measurements = (
        len(steps_in_phases(steps_of, measuring, trial.phases)) for steps_of in (evaluated_steps, measured_steps)
    )
    return evaluations * evaluation + measurements * measurement * len(measuring.epsilons)


def _network(trial: TrialConfig) -> tuple[Architecture, list[tuple[int, int]]]:
    """Return a trial's network, and the rows and columns of its matrices."""
    from trainables.architectures import architecture_of
    from trainables.spectral import matrix_sides
    from trainables.tasks import build_task

    architecture = architecture_of(build_task(trial.task), trial.model)
    return architecture, list(matrix_sides(architecture.shapes).values())


def lanes_for(trial: TrialConfig, wanted: int | Literal["auto"], device: str, memory_bytes: float) -> int:
    """Choose the lanes for cohorts of this trial's shape; Ray does not manage this memory.

    Args:
        trial: a trial of the shape.
        wanted: the number of lanes, or `auto`: as many as fill the device and fit.
        device: `cpu` or `cuda`.
        memory_bytes: the memory of a cohort.

    Raises:
        SpecificationError: the lanes do not fit.
    """
    from trainables.lanes import DEFAULT_LANES, lanes_within, run_bytes

    fitting = lanes_within(trial, memory_bytes, device)
    least = 1 if wanted == "auto" else wanted
    if least > fitting:
        needed, allowed = run_bytes(trial, least, device) / 2**30, max(memory_bytes, 0) / 2**30
        remedy = (
            f"choose at most {fitting:,}, or leave it to lanes: auto"
            if fitting
            else "choose a smaller one, or fewer processes"
        )
        message = (
            f"lanes: {least:,} of this network need {needed:,.1f} GiB, a cohort may take {allowed:,.1f}; {remedy}"
        )
        raise SpecificationError([Problem(("model",) if wanted == "auto" else ("lanes",), message)])
    return min(DEFAULT_LANES if device == "cpu" else LANES_ON_A_GPU, fitting) if wanted == "auto" else wanted
