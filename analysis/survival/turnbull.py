"""The nonparametric maximum likelihood estimate of a distribution that is seen through intervals (Turnbull 1976).

A grok is known to lie in (previous evaluated step, evaluated step], a trial without a grok beyond its last step.
The estimate puts mass only on innermost intervals, and says nothing of where in one of them the mass is. Hence its
quantiles are intervals, too.

It is found by the constrained Newton method (Wang 2008, Computational Statistics and Data Analysis 52, 2388), which
needs some steps where the EM of Turnbull's paper needs thousands. Where all trials share one grid of evaluated
steps the estimate is the life table, which needs no iteration: `analysis.survival.life_table`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.errors import AnalysisError

_GAP = 1e-10
"""The estimate is accepted once no mass moved elsewhere can gain more than this for each unit of weight."""
_STEPS = 200
_HALVINGS = 40
_DUST = 1e-14
"""Mass below this is rounding, and is set to 0."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A distribution of times as masses on intervals, which do not overlap and rise."""

    after: NDArray[np.float64]
    """Left ends, open, shape [m]."""
    at: NDArray[np.float64]
    """Right ends, closed, shape [m]; the last one may be infinite."""
    mass: NDArray[np.float64]
    """Shape [m], sums to 1."""

    def known_by(self, time: ArrayLike) -> NDArray[np.float64]:
        """Return the mass of the intervals that end by a time: the least that the probability of T <= time can be.

        Args:
            time: times, any shape.
        """
        sums = np.concatenate([[0.0], np.cumsum(self.mass)])
        return sums[np.searchsorted(self.at, np.asarray(time, dtype=np.float64), side="right")]

    def quantile(self, share: float) -> tuple[float, float]:
        """Return the interval (after, at] that holds a quantile: the first whose cumulated mass reaches the share.

        Args:
            share: in (0, 1); a half is the median, the lower one where the mass is exactly a half.
        """
        # The tolerance keeps half of the trials a half, whatever their masses round to.
        index = int(np.argmax(np.cumsum(self.mass) >= share - 1e-9))
        return float(self.after[index]), float(self.at[index])


def innermost_intervals(
    after: NDArray[np.float64], at: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the intervals that can have mass: each begins at a left end that a right end follows at once.

    Args:
        after: left ends of the observed intervals, open, shape [n].
        at: right ends, closed, shape [n].

    Returns:
        Left and right ends, rising, shape [m] each.
    """
    lefts, rights = np.unique(after), np.unique(at)
    # A right end comes before an equal left end: (1, 2] and (2, 3] have no point in common.
    nearest = np.searchsorted(lefts, rights, side="left") - 1
    first = np.diff(nearest, prepend=-1) > 0
    return lefts[nearest[first]], rights[first]


def turnbull(after: ArrayLike, at: ArrayLike, weight: ArrayLike | None = None) -> Distribution:
    """Estimate the distribution of times of which only intervals are known.

    Args:
        after: left ends of the intervals, open, shape [n].
        at: right ends, closed, shape [n], each above its left end; infinite for a time that is censored.
        weight: how often each interval counts, at least 0, shape [n]; by default once.

    Returns:
        Masses on the innermost intervals, those without mass included.

    Raises:
        AnalysisError: an interval is empty, a weight is negative, or no interval has weight.
    """
    left, right = np.asarray(after, dtype=np.float64), np.asarray(at, dtype=np.float64)
    weights = np.ones(len(left)) if weight is None else np.asarray(weight, dtype=np.float64)
    if not (left < right).all():
        raise AnalysisError("each interval (after, at] must have after < at; give a time at step 0 as (-1, 0]")
    if not ((weights >= 0).all() and weights.sum() > 0):
        raise AnalysisError("weights must be at least 0, and one of them above 0")
    seen, which = np.unique(np.stack([left, right])[:, weights > 0], axis=1, return_inverse=True)
    weights = np.bincount(which.ravel(), weights[weights > 0]).astype(np.float64)
    begin, end = innermost_intervals(seen[0], seen[1])
    holds = ((seen[0][:, None] <= begin) & (end <= seen[1][:, None])).astype(np.float64)
    return Distribution(begin, end, _maximised(holds, weights / weights.sum()))


def _maximised(holds: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the masses [m] that maximise the sum of weight x log(holds @ mass); holds is [n, m]."""
    from scipy.optimize import nnls

    mass = _em(holds, weight, np.full(holds.shape[1], 1 / holds.shape[1]))
    for _ in range(_STEPS):
        likelihood = holds @ mass
        scaled = holds / likelihood[:, None]
        gradient = weight @ scaled
        if gradient.max() - 1 < _GAP:
            break
        # The quadratic approximation of the log-likelihood, with the masses' sum as one more equation (Wang, eq.
        # 6).
        root = np.sqrt(weight)[:, None]
        equations = np.vstack([root * scaled, np.ones(holds.shape[1])])
        target, _ = nnls(equations, np.append(2 * root[:, 0], 1.0))
        target = target / target.sum()
        mass = _em(holds, weight, _on_the_way(holds, weight, mass, target))
    mass = np.where(mass < _DUST, 0.0, mass)
    return np.asarray(mass / mass.sum())


def _em(holds: NDArray[np.float64], weight: NDArray[np.float64], mass: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the masses after one step of EM: each interval's weight is shared out by the masses that it holds."""
    return np.asarray(mass * (weight / (holds @ mass) @ holds))


def _on_the_way(
    holds: NDArray[np.float64],
    weight: NDArray[np.float64],
    mass: NDArray[np.float64],
    target: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the first masses on the way back from a target that are likelier than the present ones."""

    def log_likelihood(masses: NDArray[np.float64]) -> float:
        with np.errstate(divide="ignore"):
            return float(weight @ np.log(holds @ masses))

    now, size = log_likelihood(mass), 1.0
    for _ in range(_HALVINGS):
        between = mass + size * (target - mass)
        if log_likelihood(between) > now:
            return np.asarray(between)
        size /= 2
    return mass
