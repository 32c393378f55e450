"""Settings as numbers for models: each between -1 and 1, whatever its scale or words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.survival.false_stops import Situation

if TYPE_CHECKING:
    import pandas as pd


def situations(
    events: pd.DataFrame, keys: Sequence[str], cell: NDArray[np.intp], mark: NDArray[np.float64]
) -> Situation:
    """Describe trials for the model of false stops.

    Args:
        events: one row per trial, or phase, with its settings and memorisation step.
        keys: the settings that distinguish cells.
        cell: number of each trial's cell, [n].
        mark: step at which the rule would stop each trial, NaN if it never would, [n].
    """
    columns = [levels(events[name]) for name in keys]
    settings = np.concatenate(columns, axis=1) if columns else np.zeros((len(events), 0))
    began = (
        events["phase_start_step"].to_numpy(np.float64) if "phase_start_step" in events else np.zeros(len(events))
    )
    memorised = events["memorisation_step"].to_numpy(np.float64) - began
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.log(np.maximum(mark - began, 1.0) / np.maximum(memorised, 1.0))
    known = np.isfinite(ratio)
    centre = float(ratio[known].mean()) if known.any() else 0.0
    return Situation(settings, np.where(known, ratio - centre, 0.0), cell)


def levels(column: pd.Series[Any]) -> NDArray[np.float64]:
    """Return numbers between -1 and 1 for the levels of a setting, [n, k].

    Numbers become their rank among the distinct values, since grids of settings are spaced as their author thinks
    of them: 0, 0.1, 1. Words become one column each.

    Args:
        column: a setting; a missing value is a level of its own.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if is_numeric_dtype(column) and not is_bool_dtype(column):
        values, rank = np.unique(column.to_numpy(np.float64, na_value=np.nan), return_inverse=True)
        return np.asarray(2 * rank.ravel()[:, None] / max(len(values) - 1, 1) - 1.0)
    codes, words = column.astype("object").astype("str").factorize()
    return np.asarray(codes[:, None] == np.arange(len(words)), dtype=np.float64)
