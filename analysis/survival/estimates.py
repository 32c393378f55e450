"""Whether and when each cell of a grid of settings groks, as estimates with intervals.

A trial counts as one or two weighted records. One that was followed is an interval that holds its grok, or is
censored at its last step. One that the rule stopped is, with the probability q of `analysis.survival.false_stops`,
a grok between its stop and the end of the budget, and else none within it: fractional imputation from the audited
trials (Kim and Fuller 2004, Biometrika 91, 559). From these records come

- the share that groks within the budget, and the median, by Turnbull's estimate;
- their intervals, by the mid-p beta product, with the variance of q added. For the ends of the median's interval
  the imputed groks come as early and as late as they may.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.survival.cell import Cell
from analysis.survival.false_stops import false_stops
from analysis.survival.life_table import BetaProduct
from analysis.survival.observed import Observed, observed
from analysis.survival.settling import seeds_to_settle
from analysis.survival.situations import situations

if TYPE_CHECKING:
    import pandas as pd

#: The columns that estimates have for each cell, after those of its settings.
ESTIMATE_COLUMNS = (
    "n",
    "grokked",
    "stopped",
    "followed",
    "share",
    "share_low",
    "share_high",
    "median_after",
    "median_at",
    "median_low",
    "median_high",
    "budget_steps",
    "late_or_never",
    "more_seeds",
    "more_steps",
)


def estimates(
    events: pd.DataFrame,
    x: str,
    y: str,
    facets: Sequence[str] | None = None,
    audits: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return one row per cell: the share that groks within its budget, and the median step, with intervals.

    Args:
        events: one row per trial, from `analysis.events`.
        x: setting on the horizontal axis.
        y: setting on the vertical axis.
        facets: further settings that distinguish cells, as in `analysis.grok_map`.
        audits: from `analysis.audits`: which trials were followed although the rule would have stopped them.
            Without it the fates of stopped trials are open.

    Returns:
        Sorted by facets, `y`, `x`, which are the first columns; then

        - `n`: trials; `grokked`: those seen to; `stopped`: those that the rule has stopped, whose fate is estimated
          from audited trials of the whole sweep; `followed`: those seen to grok, to diverge or to reach the end of
          the largest budget.
        - `share`: of networks that grok within the budget; NaN while no trial has been followed that far, or where
          trials were stopped and none is audited. `share_low`, `share_high`: its 95 % interval.
        - `median_after`, `median_at`: the median step to grok, of all networks, is in this interval (after, at],
          whose ends are evaluated steps; the lower median of an even number. `median_at` is infinite if fewer than
          half grok by step `median_after`; both are NaN if too little is known. `median_low`, `median_high`: the 95
          % interval of the median, (low, high]; `median_high` is infinite if the median may be beyond the budget.
        - `budget_steps`: the largest budget of the cell's trials, or the end of their phase.
        - `late_or_never`: trials without a grok may be late or may never grok: it cannot be told, see
          `analysis.survival.follow_up`.
        - `more_seeds`: trials to be added until the interval of the share is on one side of a half, or is narrow,
          if the share is as estimated; 0 if it is so now, NaN without a share.
        - `more_steps`: steps to be added to the budget until late and never can be told apart, if no more grok;
          NaN if no number of steps suffices, 0 if they can be told apart now.

    Raises:
        AnalysisError: an axis or a needed column is missing, or settings would be pooled.
    """
    import pandas as pd

    from analysis.events import with_phases
    from analysis.maps import facets_of

    trials = with_phases(events)
    keys = [*facets_of(trials, x, y, facets), y, x]
    if trials.empty:
        return pd.DataFrame(columns=[*keys, *ESTIMATE_COLUMNS])
    known = observed(trials, audits)
    number = trials.groupby(keys, observed=True, dropna=False, sort=True).ngroup().to_numpy().astype(np.intp)
    chance, chance_sd = stop_chances(trials, keys, number, known)
    ends = trials["phase_end_step"].to_numpy(np.float64)
    began = trials["phase_start_step"].to_numpy(np.float64)
    order = np.argsort(number, kind="stable")
    edges = np.searchsorted(number[order], np.arange(number.max() + 2))
    members = [order[low:high] for low, high in pairwise(edges)]
    budgets = np.array([ends[one].max() for one in members])
    cells = [
        Cell.of(known.of(one), chance[one], chance_sd[one], budget, float(began[one].min()))
        for one, budget in zip(members, budgets.tolist(), strict=True)
    ]
    settings = trials.iloc[[one[0] for one in members]][keys].reset_index(drop=True)
    columns = pd.DataFrame(_columns(cells, budgets))
    columns = columns.assign(more_seeds=seeds_to_settle(columns))[list(ESTIMATE_COLUMNS)]
    result = pd.concat([settings, columns], axis=1)
    steps = ["median_after", "median_at", "median_low", "median_high", "budget_steps", "more_steps"]
    shares = ["share", "share_low", "share_high"]
    result.attrs["units"] = dict.fromkeys(steps, "step") | dict.fromkeys(shares, "share")
    return result


def stop_chances(
    trials: pd.DataFrame, keys: Sequence[str], number: NDArray[np.intp], known: Observed
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Estimate the probability that each stopped trial would have grokked, and its standard deviation.

    Args:
        trials: one row per trial, or phase, with its settings.
        keys: the settings that distinguish cells.
        number: number of each trial's cell, [n].
        known: what is known of the trials, [n].

    Returns:
        Two arrays of shape [n]: NaN for trials that were not stopped, and where stopped trials are never followed.
    """
    probability, sd = np.full(len(known), np.nan), np.full(len(known), np.nan)
    asked = known.stopped & (known.followed_probability > 0)
    if asked.any():
        to_the_end = known.after >= trials["phase_end_step"].to_numpy(np.float64)
        told = known.marked & (known.grokked | known.over | to_the_end)
        of_trials = situations(trials, keys, number, known)
        model = false_stops(of_trials.of(told), known.grokked[told], of_trials.of(asked))
        probability[asked], sd[asked] = model.probability, model.sd
    return probability, sd


def _columns(cells: Sequence[Cell], budgets: NDArray[np.float64]) -> dict[str, Any]:
    """Return the columns of `ESTIMATE_COLUMNS`; intervals of all shares are found together."""
    product = BetaProduct(
        *(np.concatenate([getattr(cell.product, name) for cell in cells]) for name in BetaProduct.__slots__)
    )
    low, high = product.interval()
    share = np.array([cell.share for cell in cells])
    n = np.array([cell.n for cell in cells])
    # Rounding may leave an estimate of exactly 0 or 1 beyond its own end.
    share_low, share_high = np.fmin(1 - high, share), np.fmax(1 - low, share)
    return {
        "n": n,
        "grokked": [cell.grokked for cell in cells],
        "stopped": [cell.stopped for cell in cells],
        "followed": [cell.followed for cell in cells],
        "share": share,
        "share_low": share_low,
        "share_high": share_high,
        **{
            name: [pair[side] for pair in pairs]
            for pairs, names in (
                ([cell.median for cell in cells], ("median_after", "median_at")),
                ([cell.median_ends for cell in cells], ("median_low", "median_high")),
            )
            for side, name in enumerate(names)
        },
        "budget_steps": budgets.astype(np.int64),
        "late_or_never": [cell.late_or_never for cell in cells],
        "more_steps": [cell.more_steps for cell in cells],
    }
