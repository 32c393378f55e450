"""Scores of a family of rules that differ in their patience, and the patience that the other sweeps admit."""

from __future__ import annotations

from collections.abc import Callable

from analysis.replay.lanes import Rule
from analysis.replay.score import Score, Scoring, total
from analysis.stopping.conformal import PATIENCES, Calibrated, calibrate


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
