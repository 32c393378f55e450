"""Why a trial was parked or stopped, in numbers and in one sentence."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.stopping.parking import Evidence
from analysis.stopping.stall import StallParameters
from analysis.trajectory import Trajectory
from analysis.words import counted


class Standstill(NamedTuple):
    """What a trial did before it was parked."""

    since_step: int
    """The first of the evaluations in a row at which it was stalled."""
    loss_change: float
    """Relative change of validation loss over the last `loss_factor` of steps; NaN if it is not known."""
    complexity_change: float
    """Relative change of complexity over the last `complexity_factor` of steps; NaN if it is not known."""


def standstill(trajectory: Trajectory, stalled: NDArray[np.bool_], parameters: StallParameters) -> Standstill:
    """Describe the stall at the last step of a trajectory.

    Args:
        trajectory: evaluated steps, oldest first; the trial is stalled at the last of them.
        stalled: at which of them it was stalled, from `analysis.stopping.stall.stalls`.
        parameters: what a stall is.
    """
    moving = np.flatnonzero(~stalled)
    first = int(moving[-1]) + 1 if len(moving) else 0
    return Standstill(
        int(trajectory.step[min(first, len(trajectory) - 1)]),
        _change(trajectory.step, trajectory.val_loss, parameters.loss_factor),
        _change(trajectory.step, trajectory.complexity_bytes, parameters.complexity_factor),
    )


def reason(stood: Standstill, evidence: Evidence, *, budget_steps: int, patience: float, cells: bool) -> str:
    """Say in one or two sentences why a trial was stopped while it was parked.

    Args:
        stood: what it did before it was parked.
        evidence: what was known of its cell when the sweep ended.
        budget_steps: optimiser updates it was allowed.
        patience: the share of the budget after which it was given up, by this evidence.
        cells: whether the cell's other seeds counted.
    """
    changes = [
        f"{name} {change:+.0%}"
        for name, change in (("validation loss", stood.loss_change), ("complexity", stood.complexity_change))
        if not math.isnan(change)
    ]
    text = f"No progress since step {stood.since_step:,} ({stood.since_step / budget_steps:.0%} of the budget)"
    if changes:
        text += f": {', '.join(changes)}"
    others = f" {_others(evidence)};" if cells else ""
    return f"{text}.{others} patience ended at step {patience * budget_steps:,.0f}."


def _others(evidence: Evidence) -> str:
    if evidence.grokked:
        return f"{counted(evidence.grokked, 'other seed')} of this setting grokked"
    if evidence.failed:
        return f"{counted(evidence.failed, 'other seed')} of this setting ended without a grok and far from one"
    return "Nothing was known from other seeds of this setting"


def _change(step: NDArray[np.int64], values: NDArray[np.float64], factor: float) -> float:
    """Return the last value divided by the one a factor of steps before, interpolated in log step, minus 1."""
    known = np.isfinite(values) & (step > 0) & (values > 0)
    if known.sum() < 2:
        return math.nan
    log_step, log_value = np.log(step[known]), np.log(values[known])
    before = np.interp(log_step[-1] - math.log(factor), log_step, log_value)
    return math.expm1(float(log_value[-1] - before))
