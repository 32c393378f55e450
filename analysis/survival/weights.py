"""Inverse-probability weights: audited trials speak for those that the stopping rule has stopped like them.

A trial counts once up to the step at which the rule would stop it. From there on it counts not at all if it was
stopped, and 1 / (probability to be followed) times if it was followed all the same (Robins and Finkelstein 2000,
Biometrics 56, 779). Who is followed is drawn by a hash, so the weights are known and need no model, and the
weighted life table is unbiased in large cells. In a cell with less than a few audited trials it is not, and
`analysis.survival.false_stops` borrows from other cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.survival.life_table import LifeTable, life_table
from analysis.survival.observed import Observed, observed

if TYPE_CHECKING:
    import pandas as pd


def stop_weights(events: pd.DataFrame, audits: pd.DataFrame) -> pd.DataFrame:
    """Return one row per row of events: how much a trial counts from the step at which the rule would stop it.

    Args:
        events: one row per trial, or phase, from `analysis.events`.
        audits: from `analysis.audits`.

    Returns:
        In the order of events: `trial_id`, `phase` where events have it, `mark_step` (where the rule stopped the
        trial, or would have; NaN if it never would), `weight` (beyond that step; 1 without one;
        NaN for a stopped one where nothing is audited, so that its fate is unknown).

    Raises:
        AnalysisError: a needed column is missing.
    """
    known = observed(events, audits)
    names = [name for name in ("trial_id", "phase") if name in events.columns]
    with np.errstate(divide="ignore"):
        weight = np.where(known.stopped, 0.0, np.where(known.marked, 1 / known.followed_probability, 1.0))
    weight[known.stopped & (known.followed_probability == 0)] = np.nan
    return events[names].reset_index(drop=True).assign(mark_step=known.mark, weight=weight)


def weighted_life_table(trials: Observed) -> LifeTable:
    """Count events and trials at risk, each trial beyond its mark by its weight.

    Args:
        trials: of one cell; those that were stopped have no weight beyond their mark.
    """
    acted = trials.stopped | trials.marked
    later = trials.of(trials.marked)
    at = np.concatenate([np.where(acted, np.inf, trials.at), later.at])
    # Nothing can come after a divergence, so such a trial stays at risk to the end.
    end = float(np.max(np.concatenate([trials.after, trials.at[trials.grokked]]), initial=0.0))
    followed = np.where(trials.over, end, trials.after)
    return life_table(
        at,
        np.concatenate([np.where(acted, trials.mark, followed), followed[trials.marked]]),
        np.concatenate([np.ones(len(trials)), 1 / later.followed_probability]),
        np.concatenate([np.full(len(trials), -np.inf), later.mark]),
    )
