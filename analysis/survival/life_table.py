"""The life table of the time to grok, with weights and late entry, and pointwise intervals for few trials.

Time is known on the grid of evaluated steps, so events are counted at grid points, and a trial that was followed to
a grid point without a grok is at risk there. This is the Kaplan-Meier estimate on the grid.

Intervals are by the beta product (Fay, Brittain and Proschan 2013, Biostatistics 14, 723; with mid-p: Fay and
Brittain 2016, Statistics in Medicine 35, 2726). With d events among r at risk, survival past a grid point is
between Beta(r - d + 1, d) and that times Beta(r - d, 1), and products of beta variables are matched by their first
two moments. Without censoring this is the Clopper-Pearson interval, and its mid-p version. It needs no normal
approximation, so it holds for three trials and for shares of 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.intervals import CONFIDENCE

_BISECTIONS = 60


@dataclass(frozen=True, slots=True)
class LifeTable:
    """Events and trials at risk at each grid point; all arrays have shape [k]."""

    step: NDArray[np.float64]
    """Grid points, rising: all finite right ends, and the ends of follow-up."""
    events: NDArray[np.float64]
    """Weight of the events at each grid point."""
    at_risk: NDArray[np.float64]
    """Weight of the trials that are at risk there."""

    @property
    def survival(self) -> NDArray[np.float64]:
        """Probability of a time beyond each grid point; it stays as it is where no trial is at risk."""
        hazard = np.divide(self.events, self.at_risk, out=np.zeros(len(self.step)), where=self.at_risk > 0)
        return np.cumprod(1 - np.minimum(hazard, 1.0))


def life_table(
    at: ArrayLike,
    followed: ArrayLike,
    weight: ArrayLike | None = None,
    entry: ArrayLike | None = None,
) -> LifeTable:
    """Count events and trials at risk.

    Args:
        at: grid point of each event, infinite where there was none, shape [n].
        followed: last step to which it is known that there was none, for trials without an event, shape [n].
        weight: how often each trial counts, shape [n]; by default once.
        entry: a trial is at risk only beyond this step, shape [n]; by default from the beginning. A trial that
            counts more from some step on is two: one that is censored there, one that enters there.
    """
    times, ends = np.asarray(at, dtype=np.float64), np.asarray(followed, dtype=np.float64)
    seen = np.isfinite(times)
    weights = np.ones(len(times)) if weight is None else np.asarray(weight, dtype=np.float64)
    step, place = np.unique(np.where(seen, times, ends), return_inverse=True)
    count = len(step)
    leaving = np.bincount(place, weights, count)
    at_risk = np.cumsum(leaving[::-1])[::-1]
    if entry is not None:
        # At risk at the grid points above the entry: taken off those up to it.
        before = np.searchsorted(step, np.asarray(entry, dtype=np.float64), side="right")
        late = np.bincount(before, weights, count + 1)
        at_risk = at_risk - (late.sum() - np.cumsum(late)[:count])
    events = np.bincount(place, weights * seen, count).astype(np.float64)
    return LifeTable(step, events, np.maximum(at_risk, 0.0))


@dataclass(frozen=True, slots=True)
class BetaProduct:
    """What is known of survival past some steps: a mid-p mixture of two matched beta variables at each.

    All arrays have shape [k]. `mean` and `square` are first and second moments of the larger variable, and
    `lower_mean` and `lower_square` of the smaller one.
    """

    mean: NDArray[np.float64]
    square: NDArray[np.float64]
    lower_mean: NDArray[np.float64]
    lower_square: NDArray[np.float64]

    @classmethod
    def of(cls, table: LifeTable, variance: float | NDArray[np.float64] = 0.0) -> BetaProduct:
        """Multiply the beta variables of a life table up to each of its grid points.

        Args:
            table: events and trials at risk.
            variance: what is added to the variance because some events were not counted but estimated; [k] or a
                number.
        """
        r, d = table.at_risk, np.minimum(table.events, table.at_risk)
        once, twice = (r - d + 1) / (r + 1), (r - d + 1) * (r - d + 2) / ((r + 1) * (r + 2))
        first, second = (np.cumprod(factors, dtype=np.float64) for factors in (once, twice))
        left = np.asarray(r - d)
        return cls(first, second + variance, first * left / (left + 1), second * left / (left + 2) + variance)

    def probability_below(self, survival: ArrayLike) -> NDArray[np.float64]:
        """Return the probability, by mid-p, that survival is at most this, shape [k].

        Args:
            survival: in (0, 1), a number or shape [k].
        """
        x = np.asarray(survival, dtype=np.float64)
        return np.asarray(
            (_beta_cdf(x, self.mean, self.square) + _beta_cdf(x, self.lower_mean, self.lower_square)) / 2
        )

    def interval(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the ends of the interval of survival past each step, by bisection, shape [k] each."""
        tail = (1 - CONFIDENCE) / 2
        return self._quantile(tail), self._quantile(1 - tail)

    def _quantile(self, probability: float) -> NDArray[np.float64]:
        low, high = np.zeros(len(self.mean)), np.ones(len(self.mean))
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            below = self.probability_below(middle) < probability
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        middle = (low + high) / 2
        # Ends of exactly 0 and 1 are met to the last bit but one.
        return np.where(middle < 1e-12, 0.0, np.where(middle > 1 - 1e-12, 1.0, middle))


def _beta_cdf(
    x: NDArray[np.float64], mean: NDArray[np.float64], square: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distribution function of the beta variables with these moments; without variance, of constants."""
    from scipy.special import betainc

    # More variance than a coin has is none that a share can have.
    variance = np.minimum(square - mean**2, 0.999 * mean * (1 - mean))
    spread = variance > 1e-15
    size = np.where(spread, mean * (1 - mean) / np.where(spread, variance, 1.0) - 1, 1.0)
    a, b = np.where(spread, mean * size, 1.0), np.where(spread, (1 - mean) * size, 1.0)
    return np.where(spread, betainc(a, b, x), x >= mean)
