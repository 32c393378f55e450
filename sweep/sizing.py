"""How large a trial is: its arithmetic, and how many lanes of it fit a device."""

from __future__ import annotations

from typing import Literal

from sweep.errors import SweepError
from trainables.config import TrialConfig
from trainables.measuring import MeasuringConfig, evaluated_steps, measured_steps

# These figures were found like `EFFICIENCY` of `sweep.estimate`, on one CPU core with 8 lanes.

DECOMPOSITION_FLOPS = 40
"""Of a matrix with sides k <= m, in units of k^2 m; its arithmetic is slower, too."""

STEP_FLOPS = 4e6
"""What a step of the smallest network costs beside its arithmetic, in the same currency."""

MEASUREMENT_PASSES = 40
"""Forward passes over the training set that one measurement of complexity costs, ..."""
MEASUREMENT_FLOPS = 1e9
"""... and what it costs beside, in the currency of STEP_FLOPS."""

LANES_ON_A_GPU = 256
"""More lanes than this no longer fill a GPU better."""

MEMORY_SHARE = 0.5
"""Of the memory, for the lanes; the rest is for Ray, the driver and whatever else runs there."""

GPU_BYTES = 16 * 2**30
"""Assumed where the GPU is not on this machine."""


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
    fitting = int(MEMORY_SHARE * memory / lane_bytes(trial))
    least = 1 if wanted == "auto" else wanted
    if least > fitting:
        needed, allowed = (size / 2**30 for size in (least * lane_bytes(trial), MEMORY_SHARE * memory))
        remedy = f"choose at most {fitting:,}, or leave it to lanes: auto" if fitting else "choose a smaller one"
        raise SweepError(
            f"lanes: {least:,} of this network need {needed:,.1f} GiB, a cohort may take {allowed:,.1f}; {remedy}"
        )
    return min(enough, fitting) if wanted == "auto" else wanted
