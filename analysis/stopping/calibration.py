"""What the recorded sweeps say: patiences for a level, weights for other settings, chances of those given up."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.stopping.conformal import PATIENCES, calibrate
from analysis.stopping.evidence import Evidence, EvidenceKind
from analysis.stopping.ledger import (
    EVIDENCE,
    SHIPPED,
    SIGNALS,
    GivenUp,
    RecordedSweep,
    RecordedTrial,
    Settings,
    counted_once,
    read_ledger,
)
from analysis.stopping.stall import Signal, StallParameters

LEVELS = (0.01, 0.025, 0.05, 0.1)
"""The usual levels: shares of the trials that would have grokked that the rule may lose."""

ALPHA = LEVELS[0]
"""The level, unless another one is asked for."""

_SIGNAL = StallParameters().signal


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """How much each recorded grokker counts for a sweep with other settings."""

    of_grokkers: NDArray[np.float64]
    """Density of the new settings over that of the recorded ones, for each recorded grokker, shape [n]."""
    largest: float
    """The largest weight that a trial of the new sweep may have."""
    covered: float
    """Share of the new sweep's trials whose settings have been recorded."""

    @property
    def effective(self) -> float:
        """Effective sample size: the number of equally weighted grokkers that would be as good."""
        return float(self.of_grokkers.sum() ** 2 / (self.of_grokkers**2).sum())

    @property
    def sentence(self) -> str:
        """One sentence to show to people."""
        n = len(self.of_grokkers)
        text = f"Weighted by the new settings the {n} recorded grokkers are worth {self.effective:.0f}"
        if self.covered < 1:
            text += f"; {1 - self.covered:.0%} of the new trials have settings that were never recorded"
        return f"{text}."


@dataclass(frozen=True, slots=True)
class Calibration:
    """Recorded sweeps, and the numbers that follow from them."""

    sweeps: tuple[RecordedSweep, ...]

    @classmethod
    def load(cls, path: str | Path | None = None) -> Calibration:
        """Read a ledger, by default the shipped one.

        Raises:
            AnalysisError: it cannot be read, is damaged, or a newer version wrote it.
        """
        return _shipped() if path is None else cls(read_ledger(path))

    @property
    def trials(self) -> list[RecordedTrial]:
        """All recorded trials."""
        return [trial for sweep in self.sweeps for trial in sweep.trials]

    @property
    def grokkers(self) -> list[RecordedTrial]:
        """All recorded trials that grokked."""
        return [trial for trial in self.trials if trial.grokked]

    @property
    def sentence(self) -> str:
        """What the numbers rest on, to show to people."""
        sweeps = f"{len(self.sweeps)} recorded sweep{'' if len(self.sweeps) == 1 else 's'}"
        return f"{len(self.grokkers)} grokkers of {sweeps}; for a new task an estimate"

    def patience(
        self,
        alpha: float = ALPHA,
        signal: Signal = _SIGNAL,
        weights: Weights | None = None,
    ) -> float:
        """Return the boldest patience with which at most a share of the trials that would have grokked is lost.

        Args:
            alpha: the share, in (0, 1).
            signal: a fall of what is progress.
            weights: what each recorded grokker counts for a sweep with other settings; all the same by default.

        Returns:
            The patience of an unknown cell, a share of the budget.

        Raises:
            AnalysisError: the recorded grokkers cannot promise this level; the smallest possible one is named.
        """
        of_signal = SIGNALS.index(signal)
        critical = np.array([trial.patiences[of_signal] for trial in self.grokkers])
        each, new = (np.ones(len(critical)), 1.0) if weights is None else (weights.of_grokkers, weights.largest)
        lost = {patience: float(each[critical > patience].sum()) for patience in PATIENCES}
        calibrated = calibrate(lost, float(each.sum()), alpha, new)
        if calibrated is None:
            least = (lost[PATIENCES[-1]] + new) / (float(each.sum()) + new)
            counted = "" if weights is None else f", which count as {weights.effective:.0f} here"
            raise AnalysisError(
                f"alpha must be at least {_rounded_up(least):g}, the smallest level that {len(critical)} recorded "
                f"grokkers can promise{counted}, got {alpha:g}; ask for a larger alpha, or record more sweeps"
            )
        return calibrated.patience

    def level(self, signal: Signal = _SIGNAL) -> float:
        """Return the smallest of `LEVELS` that the recorded grokkers can promise.

        Args:
            signal: a fall of what is progress.

        Raises:
            AnalysisError: they can promise none.
        """
        for alpha in LEVELS:
            try:
                self.patience(alpha, signal)
            except AnalysisError:
                if alpha == LEVELS[-1]:
                    raise
            else:
                break
        return alpha

    @property
    def given_up(self) -> dict[EvidenceKind, GivenUp]:
        """What was known of the cell -> the recorded trials that the rule would have given up, of all sweeps."""
        counts = {kind: [sweep.given_up.get(kind, GivenUp(0, 0)) for sweep in self.sweeps] for kind in EVIDENCE}
        return {
            kind: GivenUp(sum(one.trials for one in each), sum(one.grokked for one in each))
            for kind, each in counts.items()
        }

    def probability_of_grok(self, evidence: Evidence) -> float:
        """Return the chance that a trial that is given up would have grokked within its budget.

        It is the share of recorded trials that grok among those given up with the same kind of evidence, shrunken
        towards a half as by one trial that half grokked.

        Args:
            evidence: what is known of its cell.
        """
        trials, grokked = self.given_up[evidence.kind]
        return (grokked + 0.5) / (trials + 1)

    def weights_for(self, settings: Iterable[Settings]) -> Weights:
        """Weigh the recorded grokkers as if they had been recorded with other settings.

        Settings are compared in boxes: half decades of weight decay and of spectral entropy weight, tenths of the
        data fraction. Grokkers in a box that the new sweep does not have count nothing.

        Args:
            settings: the settings of each trial of the new sweep.

        Raises:
            AnalysisError: no recorded grokker has settings of the new sweep.
        """
        new = Counter(_box(one) for one in settings)
        recorded = Counter(_box(trial.settings) for trial in self.trials)
        overlap = new.keys() & recorded.keys()
        ratio = {box: (new[box] / new.total()) / (recorded[box] / recorded.total()) for box in overlap}
        of_grokkers = np.array([ratio.get(_box(trial.settings), 0.0) for trial in self.grokkers])
        if not of_grokkers.any():
            raise AnalysisError(
                "a patience for other settings needs recorded grokkers with such settings, and there are none; "
                "record a sweep with stop: none and add it by --ledger"
            )
        covered = sum(new[box] for box in overlap) / new.total()
        return Weights(of_grokkers, max(ratio.values()), covered)

    def with_sweeps(self, sweeps: Sequence[RecordedSweep]) -> Calibration:
        """Return a calibration that has these sweeps, too; each replaces earlier records of the same sweep.

        A trial that several sweeps hold counts once, in the largest of them.
        """
        kept = list(self.sweeps)
        for sweep in sweeps:
            at = [place for place, other in enumerate(kept) if sweep.is_same_as(other)]
            # A record that has grown takes the place of the old one, so that other lines of the file stay.
            kept = [other for place, other in enumerate(kept) if place not in at]
            kept.insert(at[0] if at else len(kept), sweep)
        trials = counted_once([sweep.trials for sweep in kept])
        each = (replace(sweep, trials=tuple(own)) for sweep, own in zip(kept, trials, strict=True) if own)
        return Calibration(tuple(each))


@lru_cache(maxsize=1)
def _shipped() -> Calibration:
    return Calibration(read_ledger(SHIPPED))


def _box(settings: Settings) -> tuple[float | None, ...]:
    return (
        _half_decade(settings.weight_decay),
        round(10 * settings.data_fraction) if math.isfinite(settings.data_fraction) else None,
        _half_decade(settings.spectral_entropy_weight),
    )


def _half_decade(value: float) -> float | None:
    return float(round(2 * math.log10(value))) if value > 0 else None


def _rounded_up(share: float) -> float:
    """Return a share with three digits that is not below it."""
    digits = 2 - math.floor(math.log10(share))
    return math.ceil(share * 10.0**digits) / 10.0**digits
