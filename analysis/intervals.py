"""Confidence intervals: of shares and their differences, of medians, and of any statistic by resampling trials."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95

RESAMPLES = 1000
"""Number of resamples of a bootstrap."""

Numbers = TypeVar("Numbers", float, NDArray[np.float64])

_CHUNK_VALUES = 250_000
"""Values of resamples held at once, a bound on memory: 2 MB for each array, which fits into a cache."""


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the Wilson score interval of a share; (0, 1) when nothing was observed.

    Args:
        successes: the number of successes among `n`.
        n: the number of observations.
        confidence: two-sided target coverage.

    Returns:
        Lower and upper end, both within [0, 1].
    """
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = wilson_width(share, n, confidence) / 2
    # At the edges the ends are exact; rounding would give 1e-17 instead of 0.
    return (
        0.0 if successes == 0 else max(0.0, centre - half),
        1.0 if successes == n else min(1.0, centre + half),
    )


def wilson_width(share: Numbers, n: Numbers, confidence: float = CONFIDENCE) -> Numbers:
    """Return the width of the Wilson score interval, before its ends are kept within [0, 1].

    Args:
        share: of successes, a number or an array.
        n: the number of observations, above 0; a number or an array.
        confidence: two-sided target coverage.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    spread: Numbers = (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return 2 * z / (1 + z**2 / n) * spread


def paired_difference(
    both: int, first_only: int, second_only: int, neither: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Return the interval of the second share minus the first, when both were observed on the same pairs.

    This is Newcombe's method 10 (Statistics in Medicine 17, 1998, 2635): the Wilson intervals of the two shares,
    added in squares with the correlation of the pairs. Among the methods recommended for few pairs (Fagerland,
    Lydersen and Laake, Statistics in Medicine 33, 2014, 2850) it is the one that needs no search.

    Args:
        both: pairs with a success in both.
        first_only: pairs with a success in the first only.
        second_only: pairs with a success in the second only.
        neither: pairs with a success in neither.
        confidence: two-sided target coverage.

    Returns:
        Lower and upper end, both within [-1, 1]; (-1, 1) when there are no pairs.
    """
    n = both + first_only + second_only + neither
    if n == 0:
        return -1.0, 1.0
    first, second = (both + first_only) / n, (both + second_only) / n
    first_low, first_high = wilson(both + first_only, n, confidence)
    second_low, second_high = wilson(both + second_only, n, confidence)
    margins = (both + first_only) * (second_only + neither) * (both + second_only) * (first_only + neither)
    agreement = both * neither - first_only * second_only
    corrected = max(0.0, agreement - n / 2) if agreement > 0 else agreement
    correlation = corrected / math.sqrt(margins) if margins else 0.0

    def added(one: float, other: float) -> float:
        return math.sqrt(one**2 + other**2 - 2 * correlation * one * other)

    difference = second - first
    return (
        difference - added(second - second_low, first_high - first),
        difference + added(second_high - second, first - first_low),
    )


def median_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the interval of a median, between two values, that the sign test does not reject (Thompson 1936).

    It covers at least `CONFIDENCE`, whatever the distribution; the interval of logarithms has the logarithms of the
    ends.

    Args:
        values: shape [n], no NaN.

    Returns:
        Lower and upper end; NaN for fewer than six values, of which no two are far enough apart.
    """
    from scipy.stats import binom

    count = len(values)
    rank = int(binom.ppf((1 - CONFIDENCE) / 2, count, 0.5)) if count else 0
    if rank == 0:
        return math.nan, math.nan
    ordered = np.sort(values)
    return float(ordered[rank - 1]), float(ordered[count - rank])


def bootstrap(
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]], count: int, generator: np.random.Generator
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a statistic (Efron 1979).

    A resample is given by how often it holds each value, so a statistic of ranks need not sort again.

    Args:
        statistic: a function of multiplicities, [k, n], that returns the statistic of k resamples, [k]; resamples
            for which it is NaN are left out.
        count: n, the number of values.
        generator: draws the resamples.

    Returns:
        Lower and upper end; NaN for fewer than two values, or if no resample has a statistic.
    """
    ((low, high),) = bootstraps(lambda times: statistic(times)[:, None], count, generator)
    return low, high


def bootstraps(
    statistics: Callable[[NDArray[np.float64]], NDArray[np.float64]], count: int, generator: np.random.Generator
) -> list[tuple[float, float]]:
    """Return the percentile bootstrap intervals of several statistics of the same resamples, see `bootstrap`.

    Args:
        statistics: a function of multiplicities, [k, n], that returns m statistics of k resamples, [k, m].
        count: n, the number of values.
        generator: draws the resamples.

    Returns:
        Lower and upper end of each.
    """
    # Nothing is resampled of fewer than two values, but how many statistics there are is not known otherwise.
    if count < 2:
        return [(math.nan, math.nan)] * statistics(np.ones((1, count))).shape[1]
    chunk = max(1, min(RESAMPLES, _CHUNK_VALUES // count))
    parts = []
    for first in range(0, RESAMPLES, chunk):
        size = min(chunk, RESAMPLES - first)
        draws = generator.integers(count, size=(size, count))
        draws += count * np.arange(size)[:, None]
        times = np.bincount(draws.ravel(), minlength=size * count).reshape(size, count)
        parts.append(statistics(times.astype(np.float64)))
    return [_middle(resampled) for resampled in np.concatenate(parts).T]


def _middle(resampled: NDArray[np.float64]) -> tuple[float, float]:
    """Return the quantiles of a statistic between which it lies with `CONFIDENCE`; NaN values are left out."""
    resampled = resampled[~np.isnan(resampled)]
    if not len(resampled):
        return math.nan, math.nan
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def resampled_mean(values: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of values [n], or of m columns of values [n, m], in resamples.

    Args:
        values: the values.
        times: how often each of them is in each resample, [k, n].

    Returns:
        Shape [k], or [k, m].
    """
    return np.asarray(times @ values / len(values))
