"""Choose a rule's one number so that it loses at most a given share of the trials that would have grokked.

The method is conformal risk control (Angelopoulos et al., arXiv 2208.02814). With n recorded grokkers, of which a
number loses k, the number is admitted if (k + 1) / (n + 1) <= alpha, for itself and for all more patient numbers.
Then a grokker that is exchangeable with the recorded ones is lost with probability alpha at most, on average over
recordings. Nothing below 1 / (n + 1) can be promised: 1 % needs 99 grokkers, 5 % needs 19.

For a rule that looks at a trial's own trajectory only this is a theorem. Where a cell's other seeds count, the
evidence depends on what the rule itself ended, and the level is a calibration, not a theorem.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from analysis.errors import AnalysisError
from analysis.replay.lanes import Rule
from analysis.replay.score import Score, Scoring, total

PATIENCES = tuple(round(0.01 * n, 2) for n in range(10, 101))
"""Shares of the budget that are tried, from the boldest to never."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A number that is admitted at a level, and what it rests on."""

    patience: float
    alpha: float
    grokkers: int
    """Number of recorded grokkers."""
    lost: int
    """How many of them it loses."""


def fewest_grokkers(alpha: float) -> int:
    """Return the number of recorded grokkers below which nothing can be promised at a level.

    Raises:
        AnalysisError: alpha is not in (0, 1).
    """
    if not 0 < alpha < 1:
        raise AnalysisError(f"alpha is a share of grokkers and must lie in (0, 1), got {alpha}")
    n = int(1 / alpha) - 1
    return n if 1 / (n + 1) <= alpha else n + 1


def calibrate(lost_by_patience: Mapping[float, int], grokkers: int, alpha: float) -> Calibrated | None:
    """Return the boldest admitted patience; None if there are too few grokkers for this level.

    Args:
        lost_by_patience: patience -> number of recorded grokkers lost with it.
        grokkers: the number of recorded grokkers.
        alpha: the share of grokkers that may be lost, in (0, 1).
    """
    if grokkers < fewest_grokkers(alpha):
        return None
    admitted: float | None = None
    for patience in sorted(lost_by_patience, reverse=True):
        if (lost_by_patience[patience] + 1) / (grokkers + 1) > alpha:
            break
        admitted = patience
    return None if admitted is None else Calibrated(admitted, alpha, grokkers, lost_by_patience[admitted])


class Replayed:
    """The scores of a family of rules, one rule for each patience, on each of several sweeps."""

    def __init__(self, scoring: Scoring, family: Callable[[float], Rule]) -> None:
        self._scores = {patience: scoring(family(patience)) for patience in PATIENCES}

    def at(self, patience: float) -> dict[str, Score]:
        """Return sweep -> score at one of `PATIENCES`."""
        return self._scores[patience]

    def calibrate(self, alpha: float, without: str | None = None) -> Calibrated | None:
        """Return the boldest admitted patience on all sweeps, or on all but one."""
        kept = {
            patience: total(one for name, one in scores.items() if name != without)
            for patience, scores in self._scores.items()
        }
        grokkers = next(iter(kept.values())).grokkers
        return calibrate({patience: len(one.lost) for patience, one in kept.items()}, grokkers, alpha)

    def left_out(self, alpha: float) -> dict[str, Score]:
        """Return sweep -> score with the number that is calibrated on the other sweeps.

        A sweep whose others have too few grokkers gets the most patient number, which saves next to nothing.
        """
        result = {}
        for name in self._scores[PATIENCES[-1]]:
            calibrated = self.calibrate(alpha, without=name)
            result[name] = self._scores[calibrated.patience if calibrated else PATIENCES[-1]][name]
        return result
