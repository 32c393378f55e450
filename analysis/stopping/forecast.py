"""Forecast when a trial will grok that has memorised and not grokked yet, from trials that were followed further.

The clock is a trial's own: steps in multiples of its memorisation step. Compared are the trials that had memorised
and not grokked at the same age, and of interest is the factor by which their grok step exceeds that age. Take n of
them, of which some never grokked while they were followed.

    lower end   the k-th smallest factor, k = floor(alpha (n + 1)), where a trial without a grok counts with the
                factor to which it was followed: a conformal lower bound (Candès, Lei and Ren, arXiv 2103.09763)
    chance      the share that has grokked by the budget (Kaplan and Meier)
    upper end   the factor by which m - k + 1 of the m that grokked within the budget had done so, with k as above
                and m for n, and those that were not followed as far accounted for in the same way. It says when a
                trial groks if it does, and is stated only where at least half do
    half        the factor by which half have grokked: how long to wait

Trials of the same sweep are asked as far as at least half of those without a grok were followed, recorded ones
beyond: while a sweep runs all its trials are young, and that none has grokked late says nothing yet.

Where trials are exchangeable, a grok comes before the lower end with probability alpha at most. Tasks are not
exchangeable, so for a new one this is an estimate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.stopping.calibration import Calibration

ENOUGH = 20
"""Number of trials of the same sweep at the same age that make a forecast by themselves."""

_ROUNDING = 1e-9

KNOWN_FATES = 10
"""Number of trials whose fate by the end of a budget must be known for a chance to mean anything."""

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


@dataclass(frozen=True, slots=True, eq=False)
class Courses:
    """How many trials went, sorted once, so that each question about an age is a look-up; arrays of shape [n]."""

    ratio: NDArray[np.float64]
    """Steps at the grok, or to which the trial was followed, in multiples of its memorisation step; rising."""
    survival: NDArray[np.float64]
    """Estimated share that has not grokked once the trial of the same place has passed (Kaplan and Meier)."""
    followed: NDArray[np.float64]
    """Estimated share, of those without a grok, that was followed to each ratio; falling."""
    grok_ratio: NDArray[np.float64]
    """The ratios of those that grokked, rising, shape [number of grokkers]."""

    @classmethod
    def of(cls, courses: Courses | Iterable[Course]) -> Courses:
        """Sort courses; those of trials that have not memorised say nothing and are left out."""
        if isinstance(courses, Courses):
            return courses
        table = np.array(list(courses), dtype=np.float64).reshape(-1, 3)
        table = table[~np.isnan(table[:, 0])]
        grokked = ~np.isnan(table[:, 1])
        ratio = np.where(grokked, table[:, 1], table[:, 2]) / np.maximum(table[:, 0], 1)
        # At ties groks come first, as a trial that was followed to a step could have grokked at it.
        order = np.lexsort((~grokked, ratio))
        ratio, grokked = ratio[order], grokked[order]
        left = len(ratio) - np.arange(len(ratio))
        survival = np.asarray(np.cumprod(1 - grokked / left), dtype=np.float64)
        followed = left / max(len(ratio), 1) / np.append(1.0, survival)[: len(ratio)]
        return cls(ratio, survival, followed, ratio[grokked])

    def at(self, age: float) -> _AtAge:
        """Return those that had memorised at an age and had not grokked."""
        return _AtAge(self, int(np.searchsorted(self.ratio, age, side="right")))


@dataclass(frozen=True, slots=True)
class _AtAge:
    """The courses that continue beyond an age: the last ones of all that are sorted."""

    courses: Courses
    first: int
    """The first of them."""

    def __len__(self) -> int:
        return len(self.courses.ratio) - self.first

    @property
    def groks(self) -> NDArray[np.float64]:
        """Ratios of those that grokked, rising."""
        at = np.searchsorted(self.courses.grok_ratio, self.courses.ratio[self.first]) if len(self) else 0
        return self.courses.grok_ratio[at:] if len(self) else self.courses.grok_ratio[:0]

    @property
    def _before(self) -> float:
        """Share that had not grokked at the age, never 0 where courses continue."""
        return float(self.courses.survival[self.first - 1]) if self.first else 1.0

    def until(self) -> float:
        """Return the ratio to which at least half of those without a grok were followed; 0 if there is no trial."""
        if not len(self):
            return 0.0
        followed = self.courses.followed
        at = int(np.searchsorted(-followed, -followed[self.first] / 2 + _ROUNDING, side="right"))
        return float(self.courses.ratio[at - 1])

    def lower(self, missed: float) -> float:
        """Return the ratio that a grok comes before with probability `missed` at most; 0 if too few are known."""
        k = math.floor(missed * (len(self) + 1))
        return float(self.courses.ratio[self.first + k - 1]) if k else 0.0

    def grokked_by(self, ratio: float) -> float:
        """Return the estimated share that has grokked by a ratio; 0 if there is no trial."""
        at = int(np.searchsorted(self.courses.ratio, ratio, side="right"))
        return 1 - float(self.courses.survival[at - 1]) / self._before if at > self.first else 0.0

    def ratio_at(self, share: float) -> float:
        """Return the ratio by which a share has grokked; infinite if that is not known."""
        # A tiny surplus, so that what products of fractions have rounded up is still reached.
        left = self._before * (1 - share) + _ROUNDING
        at = self.first + int(np.searchsorted(-self.courses.survival[self.first :], -left))
        return float(self.courses.ratio[at]) if at < len(self.courses.ratio) else math.inf


@dataclass(frozen=True, slots=True)
class _Others:
    """What trials of the same age tell: those of the same sweep as far as enough of them went, then recorded."""

    own: _AtAge
    recorded: Courses
    age: float
    until: float
    """The ratio to which the own sweep tells; at most the age if it tells nothing."""

    @property
    def own_sweep(self) -> bool:
        return self.until > self.age

    @property
    def first(self) -> _AtAge:
        """Those that tell what comes next."""
        return self.own if self.own_sweep else self.recorded.at(self.age)

    def _own_share(self) -> float:
        return self.own.grokked_by(self.until) if self.own_sweep else 0.0

    def _beyond(self) -> _AtAge:
        return self.recorded.at(max(self.until, self.age))

    def lower(self, missed: float) -> float:
        lower = self.first.lower(missed)
        groks = self.first.groks
        if self.own_sweep and not (len(groks) and groks[0] <= lower):
            # They were not followed to any grok, and so do not contradict the recorded ones.
            return max(lower, self.recorded.at(self.age).lower(missed))
        return lower

    def grokked_by(self, ratio: float) -> float:
        if self.own_sweep and ratio <= self.until:
            return self.own.grokked_by(ratio)
        return 1 - (1 - self._own_share()) * (1 - self._beyond().grokked_by(ratio))

    def fates(self, ratio: float) -> int:
        """Return the number of trials whose fate by a ratio is known."""
        one = self.own if self.own_sweep and ratio <= self.until else self._beyond()
        followed = len(one) - int(np.searchsorted(one.courses.ratio[one.first :], ratio))
        return followed + int(np.searchsorted(one.groks, ratio, side="left"))

    def ratio_at(self, share: float) -> float:
        own = self._own_share()
        if share <= own + _ROUNDING:
            return self.own.ratio_at(min(share, own))
        return self._beyond().ratio_at((share - own) / (1 - own))

    def upper(self, missed: float, budget: float) -> float:
        """Return the ratio by which those have grokked that grok within a budget, but for a share `missed`."""
        groks = len(self.first.groks)
        k = math.floor(missed * (groks + 1))
        return self.ratio_at((groks - k + 1) / groks * self.grokked_by(budget)) if k else math.inf


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
    """Number of trials that this rests on: of the same sweep if it tells anything, else of recorded ones."""
    fates: int
    """Number of trials, as old at the step to which the same sweep tells, or now, that are known to have grokked by
    the end of the budget or not to have."""
    own_until_step: float | None
    """The step to which trials of the same sweep tell; None if too few of them were as old without a grok."""
    budget_steps: int
    """Steps that it may have in all."""
    step: int
    """The step that the forecast was made at."""

    @property
    def is_known(self) -> bool:
        """Whether enough trials were followed as far as the budget for the chance to mean anything."""
        return self.fates >= KNOWN_FATES

    @property
    def own_sweep(self) -> bool:
        """Whether the trials that tell what comes next are of the same sweep; otherwise they were recorded."""
        return self.own_until_step is not None

    @property
    def further_steps(self) -> float | None:
        """Steps to wait from now until half of such trials have grokked; None where that is not known."""
        return None if self.half_step is None else self.half_step - self.step

    def with_chance(self, probability: float) -> Forecast:
        """Return the forecast with a chance that is known from elsewhere; a later end and a half only if likely.

        Args:
            probability: share of such trials that grok within the budget.
        """
        if probability >= LIKELY:
            return replace(self, probability=probability, fates=KNOWN_FATES)
        return replace(self, probability=probability, fates=KNOWN_FATES, latest_step=None, half_step=None)

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
        source = "of recorded sweeps"
        if self.own_until_step is not None:
            source = "of this sweep"
            if self.own_until_step < self.budget_steps:
                source += f" to step {self.own_until_step:,.0f}, and recorded ones beyond"
        return f"{earliest.capitalize()}{latest}; {wait} ({self.trials} trials {source})."


def recorded_courses(calibration: Calibration) -> Courses:
    """Return how the trials of a ledger went."""
    return Courses.of(Course(one.memorisation_step, one.grok_step, one.budget_steps) for one in calibration.trials)


def forecast(
    step: int,
    memorisation_step: float,
    budget_steps: int,
    *,
    recorded: Courses | Iterable[Course],
    same_sweep: Courses | Iterable[Course] = (),
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
            grok, up to the age to which half of those were followed that had not grokked by then. The trial itself
            may be among them: it counts only beyond its own age.
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
    unit = max(memorisation_step, 1)
    age, budget = max(step, 1) / unit, budget_steps / unit
    own = Courses.of(same_sweep).at(age)
    others = _Others(own, Courses.of(recorded), age, own.until() if len(own) >= ENOUGH else 0.0)
    probability = others.grokked_by(budget)
    earliest = max(unit * others.lower(missed), step, 1)
    latest, half = unit * others.upper(missed, budget), unit * others.ratio_at(0.5)
    return Forecast(
        earliest_step=min(earliest, budget_steps),
        latest_step=min(latest, budget_steps) if probability >= LIKELY else None,
        half_step=half if half <= budget_steps else None,
        probability=probability,
        trials=len(others.first),
        fates=others.fates(budget),
        own_until_step=unit * others.until if others.own_sweep else None,
        budget_steps=budget_steps,
        step=step,
    )
