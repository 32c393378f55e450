"""How large a trial is: its arithmetic, and how many lanes of it fit a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from sweep.errors import SweepError
from trainables.config import TrialConfig
from trainables.measuring import MeasuringConfig, evaluated_steps, measured_steps

if TYPE_CHECKING:
    from trainables.tasks import Task

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


def trial_flops(trial: TrialConfig, measuring: MeasuringConfig) -> float:
    """Floating-point operations of a trial that uses its whole budget: training, evaluating, measuring.

    A pass forward is 2 operations a weight and example, one backward twice that. Of a sequence only the last
    position counts, except in the layers before the last.
    """
    from trainables.lanes import effective_batch_size
    from trainables.tasks import build_task

    weights, decomposition = _arithmetic(trial, build_task(trial.task))
    step = STEP_FLOPS + 6 * weights * effective_batch_size(trial)
    if trial.spectral_entropy_weight > 0:
        step += decomposition
    return trial.steps * step + watching_flops(trial, measuring)


def watching_flops(trial: TrialConfig, measuring: MeasuringConfig) -> float:
    """The part of `trial_flops` that is not training: evaluating and measuring."""
    from trainables.tasks import build_task
    from trainables.tasks.split import training_size

    task = build_task(trial.task)
    weights, decomposition = _arithmetic(trial, task)
    evaluation = 2 * weights * task.examples + decomposition
    measurement = MEASUREMENT_FLOPS + MEASUREMENT_PASSES * 2 * weights * training_size(
        task.examples, trial.data_fraction
    )
    evaluations, measurements = (len(f(measuring, trial.steps)) for f in (evaluated_steps, measured_steps))
    return evaluations * evaluation + measurements * measurement * len(measuring.epsilons)


def _arithmetic(trial: TrialConfig, task: Task) -> tuple[int, int]:
    """Weights that an example meets, and operations of the decomposition of all matrices."""
    from trainables.models import parameter_shapes

    shapes = [shape for shape in parameter_shapes(task, trial.model).values() if len(shape) == 2]
    weights = sum(rows * columns for rows, columns in shapes)
    if trial.model.kind == "transformer":
        weights += weights * (task.positions - 1) * (trial.model.depth - 1) // trial.model.depth
    return weights, DECOMPOSITION_FLOPS * sum(min(shape) ** 2 * max(shape) for shape in shapes)


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
