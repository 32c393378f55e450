"""What is estimated of one cell: from weighted records of its trials to a share, a median, and their intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.intervals import CONFIDENCE
from analysis.survival.follow_up import cannot_tell_late_from_never, steps_to_tell
from analysis.survival.life_table import BetaProduct, LifeTable, life_table
from analysis.survival.observed import Observed
from analysis.survival.turnbull import Distribution, turnbull


@dataclass(frozen=True, slots=True)
class Records:
    """Weighted intervals that hold times to grok; all arrays have shape [r]."""

    after: NDArray[np.float64]
    at: NDArray[np.float64]
    """Infinite for a time that is censored."""
    weight: NDArray[np.float64]
    imputed: NDArray[np.bool_]
    """Whether the interval lasts from a stop to the end of the budget."""

    @classmethod
    def of(
        cls, trials: Observed, chance: NDArray[np.float64], budget: NDArray[np.float64] | float
    ) -> tuple[Records, NDArray[np.intp]]:
        """Write down trials as records; a stopped one is two, if the chance that it would have grokked is known.

        Args:
            trials: [n].
            chance: probability that each stopped trial would have grokked by the end of the budget; NaN if it is
                not known, [n].
            budget: steps, of all trials or of each, [n].

        Returns:
            The records, and the trial of each.
        """
        budgets = np.broadcast_to(np.asarray(budget, dtype=np.float64), trials.after.shape)
        split = trials.stopped & ~np.isnan(chance) & (trials.after < budgets)
        # No grok comes after a divergence, so such a trial is known to the end.
        after = np.where(split | trials.over, budgets, np.minimum(trials.after, budgets))
        weight = np.where(split, 1 - chance, 1.0)
        again = np.flatnonzero(split)
        whose = np.concatenate([np.arange(len(trials)), again])
        records = cls(
            np.concatenate([after, trials.after[again]]),
            np.concatenate([trials.at, budgets[again]]),
            np.concatenate([weight, chance[again]]),
            np.arange(len(whose)) >= len(trials),
        )
        return records, whose

    def table(self, began: float, budget: float, *, early: bool = False) -> LifeTable:
        """Return their life table, imputed groks at the end of the budget, or right after the stop.

        Args:
            began: the first grid point.
            budget: the last one.
            early: whether imputed groks come right after the stop.
        """
        at = np.where(self.imputed, np.nextafter(self.after, np.inf), self.at) if early else self.at
        # Two empty records put begin and end on the grid.
        ends = np.append(self.after, [min(began, float(self.after.min(initial=began))), budget])
        return life_table(np.append(at, [np.inf, np.inf]), ends, np.append(self.weight, [0.0, 0.0]))

    def distribution(self) -> Distribution:
        """Return Turnbull's estimate: by the life table where all share one grid, which is the same."""
        seen = np.isfinite(self.at)
        at, first, place = np.unique(self.at[seen], return_index=True, return_inverse=True)
        after = self.after[seen][first]
        ends = self.after[~seen]
        inside = np.searchsorted(at, ends, side="left")
        on_a_grid = (
            not self.imputed.any()
            and bool((self.after[seen] == after[place]).all())
            and bool((after[1:] >= at[:-1]).all())
            and not bool(((ends > np.append(after, np.inf)[inside]) & (ends < np.append(at, np.inf)[inside])).any())
        )
        if not on_a_grid:
            return turnbull(self.after, self.at, self.weight)
        table = life_table(self.at, self.after, self.weight)
        beyond = table.survival
        mass = -np.diff(beyond, prepend=1.0)[np.searchsorted(table.step, at)]
        rest = beyond[-1] if len(beyond) else 1.0
        last = float(ends.max()) if len(ends) else (float(at[-1]) if len(at) else 0.0)
        return Distribution(np.append(after, last), np.append(at, np.inf), np.append(mass, max(float(rest), 0.0)))


@dataclass(frozen=True, slots=True)
class Cell:
    """Estimates of one cell; NaN for what is not known."""

    n: int
    grokked: int
    stopped: int
    """Number of trials whose fate was imputed, or is open, because the rule stopped them."""
    followed: int
    """Number of trials that grokked, diverged, or reached the end of the budget."""
    share: float
    product: BetaProduct
    """Of the share without a grok by the end of the budget, shape [1]."""
    median: tuple[float, float]
    """The interval (after, at] that holds the median."""
    median_ends: tuple[float, float]
    """The interval (low, high] that covers the median."""
    late_or_never: bool
    more_steps: float

    @classmethod
    def of(
        cls,
        trials: Observed,
        chance: NDArray[np.float64],
        chance_sd: NDArray[np.float64],
        budget: float,
        began: float = 0.0,
    ) -> Cell:
        """Estimate a cell.

        Args:
            trials: of the cell, [n].
            chance: probability that each stopped one would have grokked, NaN if it is not known, [n].
            chance_sd: its standard deviation, [n].
            budget: the largest budget of the trials, the step at which it ends.
            began: the step at which their phase began.
        """
        records, _ = Records.of(trials, chance, budget)
        curve = records.distribution()
        unknown = curve.mass[-1] if math.isinf(curve.at[-1]) and curve.after[-1] < budget else 0.0
        never = curve.mass[-1] if math.isinf(curve.at[-1]) else 0.0
        # Trials of a cell are imputed by one model, whose errors they share.
        variance = float(chance_sd[trials.stopped & ~np.isnan(chance)].sum() / len(trials)) ** 2
        table = records.table(began, budget)
        latest = BetaProduct.of(table, variance)
        median = curve.quantile(0.5)
        if math.isinf(median[1]) and median[0] < budget:
            median = math.nan, math.nan
        grok_steps = trials.at[trials.grokked] - began
        others = trials.after[~trials.grokked & ~trials.over] - began
        open_end = cannot_tell_late_from_never(grok_steps, others)
        return cls(
            n=len(trials),
            grokked=len(grok_steps),
            stopped=int(trials.stopped.sum()),
            followed=int((trials.grokked | trials.over | (trials.after >= budget)).sum()),
            share=math.nan if unknown > 1e-9 else 1 - float(never),
            product=BetaProduct(*(getattr(latest, name)[-1:] for name in BetaProduct.__slots__)),
            median=median,
            median_ends=_median_ends(records, table, latest, budget, variance, began),
            late_or_never=open_end,
            more_steps=max(steps_to_tell(grok_steps, others) + began - budget, 0.0) if open_end else 0.0,
        )


def _median_ends(
    records: Records, late: LifeTable, latest: BetaProduct, budget: float, variance: float, began: float
) -> tuple[float, float]:
    """Return the interval of the median: where survival past a step may be a half (Brookmeyer and Crowley 1982)."""
    tail = (1 - CONFIDENCE) / 2
    below = latest.probability_below(0.5)
    certain = below > 1 - tail
    early = late
    if records.imputed.any():
        early = records.table(began, budget, early=True)
        below = BetaProduct.of(early, variance).probability_below(0.5)
    possible = below >= tail
    low = float(early.step[-1])
    if possible.any():
        index = int(possible.argmax())
        when = early.step[index]
        begins = records.after[(records.at == when) & ~records.imputed]
        if early.events[index] == 0:
            low = float(early.step[index - 1]) if index else began
        else:
            # Right after a stop is no step of the grid; the stop is.
            low = float(begins.min()) if len(begins) else float(np.nextafter(when, -np.inf))
    return low, float(late.step[certain.argmax()]) if certain.any() else math.inf
