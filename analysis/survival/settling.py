"""How many trials a cell is worth, and how many more would settle whether most of its networks grok."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.intervals import CONFIDENCE, wilson_width

if TYPE_CHECKING:
    import pandas as pd

NARROW = 0.3
"""An interval of a share that is at most this wide settles it, on whichever side of a half."""
_MOST = 64
"""Trials after which every interval is narrow: a share of a half needs 39."""
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


def seeds_to_settle(cells: pd.DataFrame) -> NDArray[np.float64]:
    """Return how many more trials each cell needs, if its share is as estimated.

    A cell is settled once the interval of its share is on one side of a half, or at most `NARROW` wide. More trials
    of the same kind are worth as much as the present ones, see `effective_numbers`.

    Args:
        cells: columns `share`, `share_low`, `share_high`, `n`, `stopped` and `followed` of estimates.

    Returns:
        Numbers of trials, 0 where a cell is settled and NaN where its share is not known, [c].
    """
    share, low, high = (cells[name].to_numpy(np.float64) for name in ("share", "share_low", "share_high"))
    shares, counts = np.nan_to_num(share, nan=0.5)[:, None], np.arange(1.0, _MOST + 1)
    apart = 2 * np.abs(shares - 0.5) * np.sqrt(counts) > _Z
    needed = counts[((wilson_width(shares, counts) <= NARROW) | apart).argmax(axis=1)]
    worth = effective_numbers(cells)
    settled = (low > 0.5) | (high < 0.5) | (high - low <= NARROW)
    more = np.ceil(np.maximum(needed - worth, 1) * cells["n"].to_numpy(np.float64) / worth)
    return np.where(np.isnan(share), np.nan, np.where(settled, 0.0, more))


def effective_numbers(cells: pd.DataFrame) -> NDArray[np.float64]:
    """Return how many trials, all followed to their end, would give intervals of the share as wide as these.

    Where all trials were followed that is their number.

    Args:
        cells: columns as for `seeds_to_settle`.

    Returns:
        Numbers from 1 to `n`, [c].
    """
    share, n = cells["share"].to_numpy(np.float64), cells["n"].to_numpy(np.float64)
    wide = (cells["share_high"] - cells["share_low"]).to_numpy(np.float64)[:, None]
    counts = np.unique(np.geomspace(1, max(float(n.max(initial=1)), 2.0), 300))
    enough = wilson_width(np.nan_to_num(share, nan=0.5)[:, None], counts) <= wide
    worth = counts[np.where(enough.any(axis=1), enough.argmax(axis=1), -1)]
    return np.where(cells["followed"].to_numpy(np.float64) == n, n, np.minimum(worth, n))
