"""Profile likelihood intervals of the cure model's coefficients (Venzon and Moolgavkar 1988, Applied Statistics 37,
87).

A coefficient is held at a value, everything else is maximised, and the values that are not much less likely than
the best are its interval. Where a level has no grok, or nothing but groks, the odds have no bound on one side, and
the interval says so; a standard error would not.
"""

from __future__ import annotations

import math

import numpy as np

from analysis.intervals import CONFIDENCE
from analysis.survival.cure.model import CureFit, maximise, without

_FARTHEST = 12.0
"""Logarithms of ratios beyond this are not looked for: e^12 is 160,000."""
_TOLERANCE = 0.02
"""Of an end, as a share of the standard error."""


def profile_interval(fit: CureFit, column: int) -> tuple[float, float]:
    """Return the interval of a coefficient; infinite where the likelihood does not bound it.

    Args:
        fit: the fitted model.
        column: number of the common parameter: of beta, then of gamma.
    """
    from scipy.stats import chi2

    less, values = without(fit.data, column)
    acts_on_share = column < fit.data.share_design.shape[1]
    here, rest = float(fit.common[column]), np.delete(fit.common, column)
    state = rest, fit.cells

    def objective(value: float) -> float:
        nonlocal state
        shift = values * value
        offset = (shift, 0.0) if acts_on_share else (0.0, shift)
        common, cells, best = maximise(less, fit.law, fit.sizes, *state, offset)
        state = common, cells
        return best

    top = objective(here)
    drop = float(chi2.ppf(CONFIDENCE, 1)) / 2
    size = min(max(math.sqrt(max(fit.covariance[column, column], 1e-6)), 0.05), 3.0)
    ends = []
    for side in (-1.0, 1.0):
        state = rest, fit.cells
        inside, reach = here, size
        low = top
        while True:
            outside = here + side * reach
            if abs(outside) > _FARTHEST and reach > size:
                ends.append(side * math.inf)
                break
            low = objective(outside)
            top = max(top, low)
            if low < top - drop:
                while abs(outside - inside) > _TOLERANCE * size:
                    middle = (inside + outside) / 2
                    inside, outside = (inside, middle) if objective(middle) < top - drop else (middle, outside)
                ends.append((inside + outside) / 2)
                break
            inside, reach = outside, 2 * reach
    return ends[0], ends[1]
