"""Forecast when a trial will grok that has memorised and not grokked yet, from trials that were followed further.

The clock is a trial's own: steps in multiples of its memorisation step. Compared are the trials that had memorised
and not grokked at the same age, and of interest is the factor by which their grok step exceeds that age. Take n of
them, of which some never grokked while they were followed.

    lower end   the k-th smallest factor, k = floor(alpha (n + 1)), where a trial without a grok counts with the
                factor to which it was followed: a conformal lower bound (Candès, Lei and Ren, arXiv 2103.09763)
    upper end   the k-th largest factor of the trials that grokked: one of them comes later with probability alpha
                at most. It says when a trial groks if it does, and is stated only where at least half do
    half        the factor by which half have grokked (Kaplan and Meier): how long to wait

Where trials are exchangeable, a grok comes before the lower end with probability alpha at most. Tasks are not
exchangeable, so for a new one this is an estimate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.stopping.calibration import Calibration

ENOUGH = 20
"""Number of trials of the same sweep at the same age that make a forecast by themselves."""

MISSED = 0.1
"""Alpha, the share of groks that may come before the lower end, and as many after the upper one."""


LIKELY = 0.5
"""Probability of a grok within the budget from which on an upper end is stated."""


class Course(NamedTuple):
    """How a trial went."""

    memorisation_step: float
    """NaN if it has not memorised."""
    grok_step: float
    """NaN if it has not grokked."""
    followed_steps: float
    """Steps to which it could be followed: its budget, or its steps so far if it still runs or waits."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a trial will grok, in its own steps."""

    earliest_step: float
    """Lower end: a grok before this step is unlikely."""
    latest_step: float | None
    """Upper end: if the trial groks, it has probably done so by this step. None where less than half such trials
    grok within the budget."""
    half_step: float | None
    """By this step half of such trials have grokked; None if it is beyond the budget or not known."""
    probability: float
    """Share of such trials that grok within this trial's budget."""
    trials: int
    """Number of trials that this rests on."""
    own_sweep: bool
    """Whether these are of the same sweep; otherwise they are of recorded sweeps."""
    step: int
    """The step that the forecast was made at."""

    @property
    def further_steps(self) -> float | None:
        """Steps to wait from now until half of such trials have grokked; None where that is not known."""
        return None if self.half_step is None else self.half_step - self.step

    @property
    def sentence(self) -> str:
        """One or two sentences to show to people."""
        earliest = f"a grok before step {self.earliest_step:,.0f} is unlikely"
        latest = "" if self.latest_step is None else f", and if it groks, then by step {self.latest_step:,.0f}"
        wait = (
            "less than half of such trials grok within the budget"
            if self.further_steps is None
            else f"half of such trials have grokked after {self.further_steps:,.0f} more steps"
        )
        source = "of this sweep" if self.own_sweep else "of recorded sweeps"
        return f"{earliest.capitalize()}{latest}; {wait} ({self.trials} trials {source})."


def recorded_courses(calibration: Calibration) -> list[Course]:
    """Return how the trials of a ledger went."""
    return [Course(one.memorisation_step, one.grok_step, one.budget_steps) for one in calibration.trials]


def forecast(
    step: int,
    memorisation_step: float,
    budget_steps: int,
    *,
    recorded: Iterable[Course],
    same_sweep: Iterable[Course] = (),
    missed: float = MISSED,
) -> Forecast:
    """Forecast the grok of a trial that has memorised and not grokked.

    Args:
        step: its steps so far, at or after its memorisation.
        memorisation_step: the step at which it memorised.
        budget_steps: steps that it may have in all.
        recorded: how trials of recorded sweeps went, from `recorded_courses`.
        same_sweep: how all other trials of its sweep have gone so far, those included that still run: to leave them
            out would make groks look early. Used instead of `recorded` if `ENOUGH` of them were as old without a
            grok.
        missed: alpha, in (0, 1).

    Raises:
        AnalysisError: the trial has not memorised, or alpha is no share.
    """
    if not 0 <= memorisation_step <= step:
        raise AnalysisError(
            f"a forecast needs a trial that has memorised by step {step}, got memorisation step {memorisation_step}"
        )
    if not 0 < missed < 1:
        raise AnalysisError(f"missed is a share of groks and must lie in (0, 1), got {missed}")
    age = _age(step, memorisation_step)
    own = _Factors.at(age, list(same_sweep))
    own_sweep = len(own.until) >= ENOUGH
    factors = own if own_sweep else _Factors.at(age, list(recorded))
    now = max(step, 1)
    latest, half = now * factors.upper(missed), now * factors.median()
    probability = 1 - factors.survival(budget_steps / now)
    return Forecast(
        earliest_step=min(now * factors.lower(missed), budget_steps),
        latest_step=min(latest, budget_steps) if probability >= LIKELY else None,
        half_step=half if half <= budget_steps else None,
        probability=probability,
        trials=len(factors.until),
        own_sweep=own_sweep,
        step=step,
    )


def _age(step: float, memorisation_step: float) -> float:
    return max(step, 1) / max(memorisation_step, 1)


class _Factors(NamedTuple):
    """Factors by which trials of one age went further, rising."""

    until: NDArray[np.float64]
    """Factor at the grok, or to which the trial was followed, [n]."""
    grokked: NDArray[np.bool_]
    """Shape [n]."""

    @classmethod
    def at(cls, age: float, courses: Sequence[Course]) -> _Factors:
        """Collect the trials that had memorised at an age and had not grokked."""
        table = np.array(courses, dtype=np.float64).reshape(-1, 3)
        table = table[~np.isnan(table[:, 0])]
        grokked = ~np.isnan(table[:, 1])
        until = np.where(grokked, table[:, 1], table[:, 2]) / (age * np.maximum(table[:, 0], 1))
        at_risk = until > 1
        # At ties groks come first, as a trial that was followed to a step could have grokked at it.
        order = np.lexsort((~grokked[at_risk], until[at_risk]))
        return cls(until[at_risk][order], grokked[at_risk][order])

    def lower(self, missed: float) -> float:
        k = math.floor(missed * (len(self.until) + 1))
        return float(self.until[k - 1]) if k else 1.0

    def upper(self, missed: float) -> float:
        factors = self.until[self.grokked]
        k = math.floor(missed * (len(factors) + 1))
        return float(factors[len(factors) - k]) if k else math.inf

    def survival(self, factor: float) -> float:
        """Return the estimated share that has not grokked by a factor; 1 if there is no trial."""
        at = int(np.searchsorted(self.until, factor, side="right"))
        return float(self._survival()[at - 1]) if at else 1.0

    def median(self) -> float:
        """Return the factor by which half have grokked; infinite if that is not known."""
        reached = np.flatnonzero(self._survival() <= 0.5)
        return float(self.until[reached[0]]) if len(reached) else math.inf

    def _survival(self) -> NDArray[np.float64]:
        left = len(self.until) - np.arange(len(self.until))
        return np.asarray(np.cumprod(1 - self.grokked / left), dtype=np.float64)
