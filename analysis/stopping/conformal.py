"""Choose a rule's one number so that it loses at most a given share of the trials that would have grokked.

The method is conformal risk control (Angelopoulos et al., arXiv 2208.02814). With n recorded grokkers, of which a
number loses k, the number is admitted if (k + 1) / (n + 1) <= alpha, for itself and for all more patient numbers.
Then a grokker that is exchangeable with the recorded ones is lost with probability alpha at most, on average over
recordings. Nothing below 1 / (n + 1) can be promised: 1 % needs 99 grokkers, 5 % needs 19.

Where the settings of a new sweep differ from the recorded ones, a recorded grokker counts with the weight
w = q(settings) / p(settings), the density of the new settings over that of the recorded ones, and the new grokker
with its own weight instead of 1 (Tibshirani et al., arXiv 1904.06019).

For a rule that looks at a trial's own trajectory only this is a theorem. Where a cell's other seeds count, the
evidence depends on what the rule itself ended, and the level is a calibration, not a theorem.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.errors import AnalysisError

PATIENCES = tuple(round(0.01 * n, 2) for n in range(10, 101))
"""Shares of the budget that are tried, from the boldest to never."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A number that is admitted at a level, and what it rests on."""

    patience: float
    alpha: float
    grokkers: float
    """Number of recorded grokkers, or the sum of their weights."""
    lost: float
    """How many of them it loses, or the sum of the weights of those."""


def fewest_grokkers(alpha: float) -> int:
    """Return the number of recorded grokkers below which nothing can be promised at a level.

    Raises:
        AnalysisError: alpha is not in (0, 1).
    """
    if not 0 < alpha < 1:
        raise AnalysisError(f"alpha is a share of grokkers and must lie in (0, 1), got {alpha}")
    n = int(1 / alpha) - 1
    return n if 1 / (n + 1) <= alpha else n + 1


def calibrate(
    lost_by_patience: Mapping[float, float], grokkers: float, alpha: float, new_weight: float = 1.0
) -> Calibrated | None:
    """Return the boldest admitted patience; None if there are too few grokkers for this level.

    Args:
        lost_by_patience: patience -> number of recorded grokkers lost with it, or the sum of their weights.
        grokkers: the number of recorded grokkers, or the sum of their weights.
        alpha: the share of grokkers that may be lost, in (0, 1).
        new_weight: the largest weight that a new grokker may have.

    Raises:
        AnalysisError: alpha is not in (0, 1).
    """
    fewest_grokkers(alpha)
    admitted: float | None = None
    for patience in sorted(lost_by_patience, reverse=True):
        if (lost_by_patience[patience] + new_weight) / (grokkers + new_weight) > alpha:
            break
        admitted = patience
    return None if admitted is None else Calibrated(admitted, alpha, grokkers, lost_by_patience[admitted])
