"""How often stopped trials would have grokked if the rule had stopped them blindly: what is expected before any
audit.

Up to their stops all trials are seen. A cure model of time / memorisation step, fitted to that alone as if stops
were independent of what would come, continues beyond them. A rule that sees something is wrong less often than
this; audited trials tell how much less.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analysis.survival.cure.laws import distribution
from analysis.survival.cure.model import CureData, likelier_fit
from analysis.survival.observed import Observed

_EARLIEST = 0.1
"""The share of stops that count as the earliest."""
_FARTHEST = 4.0
"""Logits are kept within this of 0: no model of some tens of trials knows more."""


def blind_logits(
    trials: Observed,
    memorised: NDArray[np.float64],
    budget: NDArray[np.float64],
    cell: NDArray[np.intp],
    design: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the logit of the probability that each marked or stopped trial groks between its mark and the budget's
    end.

    Args:
        trials: [n].
        memorised: memorisation steps from the start of the phase, NaN for trials that have not memorised, [n].
        budget: ends of the budgets, [n]; like the trials' steps from the start of the phase.
        cell: number of each trial's cell, [n].
        design: settings of the cells, [c, k].

    Returns:
        Shape [n], 0 for trials that the rule would never stop.
    """
    known = np.isfinite(memorised)
    usual = float(np.median(memorised[known])) if known.any() else 1.0
    unit = np.maximum(np.where(known, memorised, usual), 1.0)
    acted = trials.stopped | trials.marked
    after, at = np.where(acted, trials.mark, trials.after), np.where(acted, np.inf, trials.at)
    after = np.where(trials.over & ~acted, budget, after)
    if acted.any():
        # Trials that continue beyond where the rule stops others do so because they were about to grok, as far as
        # the rule sees it. They tell nothing of the stopped ones: nothing is looked at beyond the earliest stops.
        until = float(np.quantile(trials.mark[acted] / unit[acted], _EARLIEST)) * unit
        at = np.where(after >= until, np.inf, at)
        after = np.minimum(after, until)
    constant = np.ones((len(design), 1))
    data = CureData.of(after / unit, at / unit, np.ones(len(at)), cell, np.concatenate([constant, design], axis=1))
    fit = likelier_fit(data)
    logit, middle, log_scale = fit.local[cell[acted]].T
    with np.errstate(divide="ignore"):
        start = (np.log(trials.mark[acted] / unit[acted]) - middle) / np.exp(log_scale)
        end = (np.log(np.maximum(budget, trials.mark)[acted] / unit[acted]) - middle) / np.exp(log_scale)
    share = 1 / (1 + np.exp(-logit))
    before, by_end = (distribution(fit.law, z) for z in (start, end))
    chance = share * (by_end - before) / (1 - share * before)
    result = np.zeros(len(at))
    result[acted] = np.clip(np.log(np.maximum(chance, 1e-9) / np.maximum(1 - chance, 1e-9)), -_FARTHEST, _FARTHEST)
    return result
