"""What each setting does to the time to grok and to the odds that a network ever groks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.survival.cell import Records
from analysis.survival.cure.laws import Law, distribution
from analysis.survival.cure.model import CureData, CureFit, fit_cure, likelier_fit
from analysis.survival.cure.profiles import profile_interval
from analysis.survival.estimates import stop_chances
from analysis.survival.observed import observed
from analysis.survival.terms import Term, terms

if TYPE_CHECKING:
    import pandas as pd

_BINS = 5
"""Of the check of fit: fifths of the fitted distribution of times."""


@dataclass(frozen=True, slots=True)
class FittedSweep:
    """A cure model of a sweep."""

    fit: CureFit
    terms: list[Term]
    cells: pd.DataFrame
    """The settings of each cell of the model."""
    log_budget: NDArray[np.float64]
    """Logarithm of the steps of each cell's budget, [c]."""


def fitted_sweep(
    events: pd.DataFrame,
    audits: pd.DataFrame | None = None,
    settings: Sequence[str] | None = None,
    law: Law | None = None,
) -> FittedSweep:
    """Fit the cure model to a sweep.

    Args:
        events: one row per trial, from `analysis.events`.
        audits: from `analysis.audits`.
        settings: those whose effects are asked for; by default all that vary, which they must include.
        law: of the logarithm of time; by default the likelier one.

    Raises:
        AnalysisError: nothing grokked, so there is no time to model; or a column is missing.
    """
    from analysis.events import with_phases
    from analysis.maps import varying_settings

    trials = with_phases(events).reset_index(drop=True)
    keys = list(dict.fromkeys([*(settings or ()), *varying_settings(trials)]))
    known = observed(trials, audits)
    if not known.grokked.any():
        raise AnalysisError("effects need trials that grokked, got none; use analysis.estimates for shares alone")
    number = (
        trials.groupby(keys, observed=True, dropna=False, sort=True).ngroup().to_numpy().astype(np.intp)
        if keys
        else np.zeros(len(trials), dtype=np.intp)
    )
    chance, _ = stop_chances(trials, keys, number, known)
    began, end = (trials[name].to_numpy(np.float64) for name in ("phase_start_step", "phase_end_step"))
    records, whose = Records.of(known.since(began), chance, end - began)
    first = np.unique(number, return_index=True)[1]
    cells = trials.iloc[first][keys].reset_index(drop=True)
    columns = terms(cells)
    design = np.stack([np.ones(len(cells)), *(one.column for one in columns)], axis=1)
    data = CureData.of(records.after, records.at, records.weight, number[whose], design)
    fit = likelier_fit(data) if law is None else fit_cure(data, law)
    budget = np.zeros(len(cells))
    np.maximum.at(budget, number, end - began)
    return FittedSweep(fit, columns, cells, np.log(np.maximum(budget, 1.0)))


def effects(
    events: pd.DataFrame,
    audits: pd.DataFrame | None = None,
    settings: Sequence[str] | None = None,
    law: Law | None = None,
) -> pd.DataFrame:
    """Return one row per setting and level: by which factor it changes the time to grok, and the odds to ever grok.

    The model is that of `analysis.survival.cure.model`: all settings act together, and cells differ beyond them.

    Args:
        events: one row per trial, from `analysis.events`.
        audits: from `analysis.audits`; trials that the rule stopped count by what audited ones tell.
        settings: settings whose effects are asked for; every one that varies is in the model in any case.
        law: `normal` or `logistic`, of the logarithm of time; by default the likelier one.

    Returns:
        - `setting`, `level`, `reference`: the level, and what it is compared with. A setting of numbers with many
          values has one row, whose level is `doubled`, or `+1` where it is not always above 0.
        - `time_ratio`, `time_ratio_low`, `time_ratio_high`: the factor on the time to grok of networks that grok
          some day, with its 95 % profile likelihood interval; below 1 is sooner.
        - `odds_ratio`, `odds_ratio_low`, `odds_ratio_high`: the factor on the odds to grok some day; an end of 0 or
          infinity says that the trials do not bound it.

        `attrs` has `law`, `cell_sd_logit` and `cell_sd_log_time` (how much cells differ beyond their settings), and
        `spread` (the standard deviation of log time within a cell, or the logistic's scale).

    Raises:
        AnalysisError: nothing grokked, or a needed column is missing.
    """
    import pandas as pd

    sweep = fitted_sweep(events, audits, settings, law)
    fit, j = sweep.fit, sweep.fit.data.share_design.shape[1]
    rows: list[dict[str, Any]] = []
    for number, term in enumerate(sweep.terms, 1):
        if settings is not None and term.setting not in settings:
            continue
        row: dict[str, Any] = {"setting": term.setting, "level": term.level, "reference": term.reference}
        for name, column in (("time_ratio", j + number), ("odds_ratio", number)):
            low, high = profile_interval(fit, column)
            logs = (float(fit.common[column]), low, high)
            row |= {
                f"{name}{end}": math.exp(log) if log < math.inf else math.inf
                for end, log in zip(("", "_low", "_high"), logs, strict=True)
            }
        rows.append(row)
    names = ["setting", "level", "reference"]
    names += [f"{name}{end}" for name in ("time_ratio", "odds_ratio") for end in ("", "_low", "_high")]
    result = pd.DataFrame(rows, columns=names)
    result.attrs |= {
        "law": fit.law,
        "cell_sd_logit": fit.sizes[0],
        "cell_sd_log_time": fit.sizes[1],
        "spread": float(np.exp(fit.common[-1])),
    }
    return result


def fit_check(events: pd.DataFrame, audits: pd.DataFrame | None = None, law: Law | None = None) -> pd.DataFrame:
    """Return observed and expected numbers of groks, by fifths of the fitted times, and of trials without one.

    If the model fits, numbers agree up to chance in each row: its times are neither too early, too late nor too
    spread, and its share that never groks is right.

    Args:
        events: one row per trial, from `analysis.events`.
        audits: from `analysis.audits`.
        law: `normal` or `logistic`; by default the likelier one.

    Returns:
        `part` (`first fifth` ... `last fifth` of the times of networks that grok, `no grok seen`), `observed`,
        `expected`. `attrs` has `chi_square` and `p_value`, which is approximate: below 0.05 the model is doubtful.

    Raises:
        AnalysisError: nothing grokked, or a needed column is missing.
    """
    import pandas as pd
    from scipy.stats import chi2

    fit = fitted_sweep(events, audits, None, law).fit
    data = fit.data
    logit, middle, log_scale = fit.local[data.cell].T
    share = 1 / (1 + np.exp(-logit))
    seen = np.isfinite(data.log_at)
    low, high = (distribution(fit.law, (one - middle) / np.exp(log_scale)) for one in (data.log_after, data.log_at))
    edges = np.linspace(0, 1, _BINS + 1)
    # A grok counts in the fifths that its interval touches, in proportion; a follow-up reaches to its own quantile.
    width = np.maximum(high - low, 1e-12)
    part = np.clip(np.minimum(high[:, None], edges[1:]) - np.maximum(low[:, None], edges[:-1]), 0, None)
    observed = np.append((data.weight * seen) @ (part / width[:, None]), data.weight[~seen].sum())
    # Where a grok was seen the trial would have been followed to its budget, which is not in the records: its
    # cell's.
    reach = np.ones(len(seen))
    furthest = np.full(data.cells, -np.inf)
    np.maximum.at(furthest, data.cell, np.where(seen, data.log_at, data.log_after))
    ends = np.where(seen, furthest[data.cell], data.log_after)
    reach = distribution(fit.law, (ends - middle) / np.exp(log_scale))
    inside = np.clip(np.minimum(reach[:, None], edges[1:]) - edges[:-1], 0, None)
    expected = (data.weight * share) @ inside
    expected = np.append(expected, data.weight.sum() - expected.sum())
    words = ["first fifth", "second fifth", "third fifth", "fourth fifth", "last fifth", "no grok seen"]
    result = pd.DataFrame({"part": words, "observed": observed, "expected": expected})
    statistic = float(((observed - expected) ** 2 / np.maximum(expected, 0.5)).sum())
    result.attrs |= {"law": fit.law, "chi_square": statistic, "p_value": float(chi2.sf(statistic, _BINS))}
    return result
