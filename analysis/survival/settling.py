"""How many more trials would settle whether most networks of a cell grok."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from analysis.intervals import CONFIDENCE

NARROW = 0.3
"""An interval of a share that is at most this wide settles it, on whichever side of a half."""
_MOST = 64
"""Trials after which every interval is narrow: a share of a half needs 39."""


def seeds_to_settle(
    share: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    n: NDArray[np.float64],
    imputed: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return how many more trials a cell needs, if its share is as estimated.

    A cell is settled once the interval of its share is on one side of a half, or at most `NARROW` wide. Trials
    whose fate is imputed tell less than those that were followed, so a cell with such trials counts as many as its
    interval is worth, and more of the same kind are as little worth. Widths are those of Wilson's interval.

    Args:
        share: shares, NaN where they are not known, [k].
        low: lower ends of their intervals, [k].
        high: upper ends, [k].
        n: numbers of trials, [k].
        imputed: whether the fate of some of them was imputed, [k].

    Returns:
        Numbers of trials, 0 where a cell is settled and NaN where its share is not known, [k].
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    shares, counts = np.nan_to_num(share, nan=0.5)[:, None], np.arange(1.0, _MOST + 1)
    variance = shares * (1 - shares) / counts + z**2 / (4 * counts**2)
    width = 2 * z * np.sqrt(variance) / (1 + z**2 / counts)
    apart = 2 * np.abs(shares - 0.5) * np.sqrt(counts) > z
    needed = counts[((width <= NARROW) | apart).argmax(axis=1)]
    wide = (high - low)[:, None]
    worth = np.minimum(counts[np.where((width <= wide).any(axis=1), (width <= wide).argmax(axis=1), -1)], n)
    worth = np.where(imputed, worth, n)
    settled = (low > 0.5) | (high < 0.5) | (high - low <= NARROW)
    more = np.ceil(np.maximum(needed - worth, 1) * n / worth)
    return np.where(np.isnan(share), np.nan, np.where(settled, 0.0, more))
