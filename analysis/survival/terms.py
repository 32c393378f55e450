"""Settings as terms of a regression: levels against the first one, or a slope where there are many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

MOST_LEVELS = 6
"""A setting of numbers with more levels than this is a slope."""


@dataclass(frozen=True, slots=True)
class Term:
    """One coefficient."""

    setting: str
    level: Any
    """The level that is compared; for a slope, how much of a change: `doubled`, or `+1`."""
    reference: Any
    """What it is compared with; missing for a slope."""
    column: NDArray[np.float64]
    """Its value for each cell, [c]."""


def terms(cells: pd.DataFrame) -> list[Term]:
    """Return the terms of all settings.

    Args:
        cells: one row per cell, with its settings. One that another determines has no term of its own.
    """
    from analysis.maps import determines, ordered

    kept: list[str] = []
    result: list[Term] = []
    for name in cells.columns:
        if any(determines(cells, one, name) for one in kept) or cells[name].nunique(dropna=False) < 2:
            continue
        kept.append(name)
        result += _of_setting(name, cells[name], ordered(cells[name]))
    return result


def _of_setting(name: str, column: pd.Series[Any], levels: tuple[Any, ...]) -> list[Term]:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    number = is_numeric_dtype(column) and not is_bool_dtype(column) and not column.isna().any()
    if number and len(levels) > MOST_LEVELS:
        values = column.to_numpy(np.float64)
        if values.min() > 0:
            logs = np.log2(values)
            return [Term(name, "doubled", None, logs - logs.mean())]
        return [Term(name, "+1", None, values - values.mean())]
    own = column.isna().to_numpy()
    masks = [own if level is None else (column == level).to_numpy() & ~own for level in levels]
    return [
        Term(name, level, levels[0], mask.astype(np.float64))
        for level, mask in zip(levels[1:], masks[1:], strict=True)
    ]
