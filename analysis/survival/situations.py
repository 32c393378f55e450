"""Settings as numbers for models: each between -1 and 1, whatever its scale or words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.survival.blind import blind_logits
from analysis.survival.false_stops import Situation
from analysis.survival.observed import Observed

if TYPE_CHECKING:
    import pandas as pd


def situations(trials: pd.DataFrame, keys: Sequence[str], cell: NDArray[np.intp], known: Observed) -> Situation:
    """Describe trials for the model of false stops.

    Args:
        trials: one row per trial, or phase, with its settings, memorisation step, and begin and end of the phase.
        keys: the settings that distinguish cells.
        cell: number of each trial's cell, [n].
        known: what is known of the trials, [n].
    """
    columns = [levels(trials[name]) for name in keys]
    settings = np.concatenate(columns, axis=1) if columns else np.zeros((len(trials), 0))
    began, end = (trials[name].to_numpy(np.float64) for name in ("phase_start_step", "phase_end_step"))
    memorised = trials["memorisation_step"].to_numpy(np.float64) - began
    with np.errstate(invalid="ignore"):
        ratio = np.log(np.maximum(known.mark - began, 1.0) / np.maximum(memorised, 1.0))
    told = np.isfinite(ratio)
    centre = float(ratio[told].mean()) if told.any() else 0.0
    first = np.unique(cell, return_index=True)[1]
    blind = blind_logits(known.since(began), memorised, end - began, cell, settings[first])
    return Situation(settings, np.where(told, ratio - centre, 0.0), cell, blind)


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
