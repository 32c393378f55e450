"""Where half the networks grok: the value of a setting at which the share within the budget crosses a half.

For each row of a map the share is a logistic curve of the setting, or of its logarithm where it is always above 0:
the median effective dose of bioassay (Finney 1971, Probit Analysis). Rows have centres of their own, and slopes
that are drawn to each other. A centre's interval is where the profile likelihood is not much below its maximum; it
is open on a side where the tested values do not bound it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.intervals import CONFIDENCE
from analysis.survival.estimates import estimates
from analysis.survival.settling import effective_numbers

if TYPE_CHECKING:
    import pandas as pd

_SLOPE_SD = 0.5
"""How far the logarithms of the rows' slopes are from the common one."""
_SLOPES = np.linspace(math.log(0.3), math.log(60.0), 60)
"""Logarithms of slopes that are tried: logits from the lowest to the highest tested value."""
_CENTRES = np.linspace(-1.5, 2.5, 801)
"""Centres that are tried; 0 is the lowest tested value and 1 the highest."""

Floats = NDArray[np.float64]


def boundary(
    events: pd.DataFrame,
    x: str = "data_fraction",
    y: str = "weight_decay",
    facets: Sequence[str] | None = None,
    audits: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return one row per value of `y` and of the facets: the value of `x` at which half the networks grok.

    With the defaults this is the critical data fraction for each weight decay.

    Args:
        events: one row per trial, from `analysis.events`.
        x: a setting of numbers.
        y: setting that has a boundary for each of its values.
        facets: further settings that distinguish cells, as in `analysis.grok_map`.
        audits: from `analysis.audits`.

    Returns:
        Sorted by facets and `y`, which are the first columns:

        - `boundary`: the value of `x`, NaN where it is not among the tested values or near them.
        - `boundary_low`, `boundary_high`: its 95 % interval; infinite, or 0 below where `x` is always above 0, on a
          side where the trials do not bound it.
        - `lowest`, `highest`: tested values of `x`; `n`: trials.

    Raises:
        AnalysisError: `x` is no column of numbers, or settings would be pooled.
    """
    import pandas as pd
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    cells = estimates(events, x, y, facets, audits)
    if not is_numeric_dtype(cells[x]) or is_bool_dtype(cells[x]):
        raise AnalysisError(f"a boundary needs a setting of numbers as x, got {x}; pass one, e.g. data_fraction")
    keys = [name for name in cells.columns[: cells.columns.get_loc("n")] if name != x]
    known = cells[cells["share"].notna() & cells[x].notna()]
    logs = bool((known[x] > 0).all())
    scaled = np.log(known[x]) if logs else known[x]
    low, span = float(scaled.min()), max(float(scaled.max() - scaled.min()), 1e-12)
    known = known.assign(_place=(scaled - low) / span, _trials=effective_numbers(known))
    # The common direction: shares may fall with x.
    rising = np.average((known["_place"] - known["_place"].mean()) * (known["share"] - known["share"].mean())) >= 0
    rows = list(known.groupby(keys, observed=True, dropna=False, sort=True)) if len(known) else []
    tables = [_log_likelihoods(frame, 1.0 if rising else -1.0) for _, frame in rows]
    slope = _common_slope(tables)
    records: list[dict[str, Any]] = []
    for (values, frame), table in zip(rows, tables, strict=True):
        profile = (table - ((_SLOPES - slope) / _SLOPE_SD)[:, None] ** 2 / 2).max(axis=0)
        ends = _interval(profile)
        scale = [_CENTRES[int(profile.argmax())], *ends]
        back = [low + span * one if math.isfinite(one) else one for one in scale]
        best, *outer = [(math.exp(one) if one < math.inf else one) if logs else one for one in back]
        inside = all(math.isfinite(one) for one in ends) or 0 <= scale[0] <= 1
        records.append(
            {
                **dict(zip(keys, values if isinstance(values, tuple) else (values,), strict=True)),
                "boundary": best if inside else math.nan,
                "boundary_low": outer[0],
                "boundary_high": outer[1],
                "lowest": float(frame[x].min()),
                "highest": float(frame[x].max()),
                "n": int(frame["n"].sum()),
            }
        )
    names = [*keys, "boundary", "boundary_low", "boundary_high", "lowest", "highest", "n"]
    return pd.DataFrame(records, columns=names)


def _log_likelihoods(cells: pd.DataFrame, direction: float) -> Floats:
    """Return the log-likelihood of a row of a map for each slope and centre that is tried."""
    place, share = cells["_place"].to_numpy(np.float64), cells["share"].to_numpy(np.float64)
    trials = cells["_trials"].to_numpy(np.float64)
    total = np.zeros((len(_SLOPES), len(_CENTRES)))
    for at, groks, others in zip(place, trials * share, trials * (1 - share), strict=True):
        logit = direction * np.exp(_SLOPES)[:, None] * (at - _CENTRES)
        total -= groks * np.logaddexp(0, -logit) + others * np.logaddexp(0, logit)
    return total


def _common_slope(tables: Sequence[Floats]) -> float:
    """Return the logarithm of the slope that is likeliest for all rows, each with its best centre."""
    if not tables:
        return float(_SLOPES[0])
    # A weak preference for a slope of 8 logits decides where shares are all 0 or 1, which any steep slope explains.
    prior = -(((_SLOPES - math.log(8.0)) / 1.0) ** 2) / 2
    return float(_SLOPES[int((sum(table.max(axis=1) for table in tables) + prior).argmax())])


def _interval(profile: Floats) -> tuple[float, float]:
    """Return the centres that are not much less likely than the best; infinite at the edge of those tried."""
    from scipy.stats import chi2

    inside = np.flatnonzero(profile >= profile.max() - float(chi2.ppf(CONFIDENCE, 1)) / 2)
    low = -math.inf if inside[0] == 0 else float(_CENTRES[inside[0] - 1])
    high = math.inf if inside[-1] == len(profile) - 1 else float(_CENTRES[inside[-1] + 1])
    return low, high
