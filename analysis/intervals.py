"""Confidence intervals: of shares, and of any statistic of trials by resampling them."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95

RESAMPLES = 1000
"""Of a bootstrap."""


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson score interval of a share; (0, 1) when nothing was observed.

    Args:
        successes: how many of the `n`.
        n: how many were observed.
        confidence: two-sided coverage aimed at.

    Returns:
        Lower and upper end, both within [0, 1].
    """
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    # At the edges the ends are exact; rounding would leave 1e-17 instead of 0.
    return (
        0.0 if successes == 0 else max(0.0, centre - half),
        1.0 if successes == n else min(1.0, centre + half),
    )


def bootstrap(
    statistic: Callable[..., NDArray[np.float64]],
    arrays: tuple[NDArray[np.float64], ...],
    generator: np.random.Generator,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic (Efron 1979).

    Args:
        statistic: of all the arrays, along the last axis; resamples for which it is NaN are left out.
        arrays: each of shape [n], drawn from together, with replacement.
        generator: draws the resamples.

    Returns:
        Lower and upper end; NaN for fewer than two values, or if no resample has a statistic.
    """
    count = len(arrays[0])
    if count < 2:
        return math.nan, math.nan
    draws = generator.integers(count, size=(RESAMPLES, count))
    resampled = statistic(*(array[draws] for array in arrays))
    resampled = resampled[~np.isnan(resampled)]
    if not len(resampled):
        return math.nan, math.nan
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
