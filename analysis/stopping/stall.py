"""Find where a trial has stalled: neither its validation loss nor its complexity is falling.

Complexity falls when a network groks, and before it does the validation loss begins to fall. So a trial in which
neither happens has nothing to wait for just now. A fall counts while it lasts: of 174 recorded trials that never
grokked, complexity had fallen by a tenth at some time in 90.

Write L(t) for the validation loss at step t, interpolated in the logarithm of both, and C for complexity:

    progress(t)   ln(L(t / 1.3) / L(t)) >= 0.1    or   d ln C / d ln t <= -0.2 over the last factor 2.2 of steps
    stalled(t)    no progress at t, and none at any evaluation since the last one before t / 1.15

The numbers were chosen on recorded sweeps, which were never stopped, each judged by what saves most on the others
(`benchmarks/parking_choice.py`; docs/stopping.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError, require_finite
from analysis.events import Thresholds
from analysis.trajectory import Trajectory

Signal = Literal["loss and complexity", "loss", "complexity"]
"""What counts as progress. With `complexity` alone the rule never looks at validation data."""

# A loss is exactly 0 once every probability of a right answer rounds to 1; its logarithm must be finite even so.
_SMALLEST_LOSS = 1e-300


@dataclass(frozen=True, kw_only=True, slots=True)
class StallParameters:
    """Parameters of a stall."""

    signal: Signal = "loss and complexity"
    """A fall of which of these is progress."""
    loss_factor: float = 1.3
    """The validation loss is compared with its value this factor of steps ago ..."""
    loss_fall: float = 0.1
    """... and must have fallen by this much in its natural logarithm."""
    complexity_factor: float = 2.2
    """The slope of complexity is taken over the measurements of this last factor of steps ..."""
    complexity_fall: float = 0.2
    """... and complexity must fall at least as fast as this power of the steps."""
    apart: float = 1.15
    """A trial is stalled after two evaluations without progress that are at least this factor of steps apart."""
    minimum_measurements: int = 3
    """Number of complexity measurements before a trial can be called stalled."""

    def __post_init__(self) -> None:
        if self.signal not in get_args(Signal):
            raise AnalysisError(f"stall.signal must be one of {', '.join(get_args(Signal))}, got {self.signal!r}")
        require_finite(self, "loss_factor", "complexity_factor", "apart", prefix="stall.", above=1)
        require_finite(self, "loss_fall", "complexity_fall", prefix="stall.", above=0)
        require_finite(self, "minimum_measurements", prefix="stall.", at_least=1)


def stalls(
    trajectory: Trajectory,
    parameters: StallParameters = StallParameters(),
    thresholds: Thresholds = Thresholds(),  # noqa: B008 (frozen)
) -> NDArray[np.bool_]:
    """Return at which evaluated steps a trial is stalled; what comes later does not matter.

    A trial is never stalled once its validation accuracy has touched the grok threshold, before it has enough
    measurements of complexity, or where its validation loss is not finite.

    Args:
        trajectory: evaluated steps, oldest first.
        parameters: what counts as progress.
        thresholds: what counts as grokked.

    Returns:
        Shape [n].
    """
    progress = np.zeros(len(trajectory), dtype=bool)
    measured = ~np.isnan(trajectory.complexity_bytes)
    spared = np.logical_or.accumulate(trajectory.val_accuracy >= thresholds.grokked_at)
    spared |= np.cumsum(measured) < parameters.minimum_measurements
    if parameters.signal != "complexity":
        progress |= _loss_falls(trajectory, parameters)
        spared |= ~np.isfinite(trajectory.val_loss)
    if parameters.signal != "loss":
        progress |= _complexity_falls(trajectory, parameters)
    return _none_since(progress, trajectory.step, parameters.apart) & ~spared


def _loss_falls(trajectory: Trajectory, parameters: StallParameters) -> NDArray[np.bool_]:
    """Return where validation loss has fallen enough, shape [n]; True where it is too early to say."""
    falls = np.ones(len(trajectory), dtype=bool)
    known = (trajectory.step > 0) & np.isfinite(trajectory.val_loss)
    if not known.any():
        return falls
    step = np.log(trajectory.step[known])
    loss = np.log(np.maximum(trajectory.val_loss[known], _SMALLEST_LOSS))
    before = step - math.log(parameters.loss_factor)
    # Before the first known step np.interp would repeat the first loss, which looks like a standstill.
    falls[known] = (np.interp(before, step, loss) - loss >= parameters.loss_fall) | (before < step[0])
    return falls


def _complexity_falls(trajectory: Trajectory, parameters: StallParameters) -> NDArray[np.bool_]:
    """Return where complexity is falling by its last measurements, shape [n]; False where the slope is unknown."""
    at = np.flatnonzero((trajectory.step > 0) & (trajectory.complexity_bytes > 0))
    if not len(at):
        return np.zeros(len(trajectory), dtype=bool)
    step, size = np.log(trajectory.step[at]), np.log(trajectory.complexity_bytes[at])
    first = np.searchsorted(step, step - math.log(parameters.complexity_factor))
    falls = np.array([_slope(step[a : b + 1], size[a : b + 1]) for b, a in enumerate(first)])
    # Complexity is measured more rarely than losses are: in between, the slope of the last measurement holds.
    last = np.searchsorted(at, np.arange(len(trajectory)), side="right") - 1
    falling: NDArray[np.bool_] = (falls <= -parameters.complexity_fall)[np.maximum(last, 0)] & (last >= 0)
    return falling


def _slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return the slope of the least-squares line; NaN for a single point."""
    if len(x) < 2:
        return math.nan
    centred = x - x.mean()
    return float((centred * y).sum() / (centred * centred).sum())


def _none_since(progress: NDArray[np.bool_], step: NDArray[np.int64], apart: float) -> NDArray[np.bool_]:
    """Return where there was no progress, and none since the last evaluation a factor `apart` earlier."""
    # count[n] is the progress in the first n evaluations, so the difference covers `earlier` and `here`, too.
    count = np.concatenate([[0], np.cumsum(progress)])
    earlier = np.searchsorted(step, step / apart, side="right") - 1
    here = np.arange(len(step)) + 1
    none: NDArray[np.bool_] = (count[here] == count[np.maximum(earlier, 0)]) & (earlier >= 0)
    return none
