"""Maps: whether and when each cell of a grid of settings groks; what is unknown stays unknown.

For each trial the time to grok T, in steps, is one of three things:

- known: it grokked, T is its grok step;
- not within the budget: it was followed to the end without a grok, T is infinite. The end is the largest budget in
  its cell, or a divergence, after which no grok can come;
- censored: it was stopped, failed, still runs, its budget ended before the cell's largest, or its last evaluations
  reach the threshold and are too few to be certain of a grok; T is only known to be later than its last step, or
  than the one before these evaluations, and may be infinite.

'Infinite' means no more than that.

The median of n trials is the ceil(n/2)-th smallest T (the lower one of two). It lies between `median_at_least`,
which is its value if every censored T is just after the last step, and its value if every censored T is infinite.
If these agree, that is the median: a step, or infinite when fewer than half grokked. If they differ, censoring
leaves it undetermined and it is missing (NaN).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.intervals import wilson

if TYPE_CHECKING:
    import pandas as pd

#: Endings of trials without a grok, each counted in a column `censored_<name>` of a map.
CENSORINGS = ("budget", "stopped", "diverged", "failed", "unfinished")


def grok_map(df: pd.DataFrame, x: str, y: str, facets: Sequence[str] | None = None) -> pd.DataFrame:
    """Return one row per cell: how many trials grokked there, and when.

    Args:
        df: events, one row per trial, from `analysis.events`; rows from `load` work, too.
        x: setting on the horizontal axis.
        y: setting on the vertical axis.
        facets: settings that distinguish maps, drawn side by side. By default every other setting that varies,
            except the seed, and `phase` where training sets are exchanged. A setting that another axis or facet
            determines (hidden width by width) needs no facet of its own.

    Returns:
        Sorted by facets, `y`, `x`, which are the first columns; then those of `CELL_COLUMNS`:

        - `n`: trials; `grokked`; `censored` (the others; `censored_budget`, `censored_stopped`,
          `censored_diverged`, `censored_failed`, `censored_unfinished` by how they ended); `undetermined`:
          censored trials not followed to the end, which may yet have grokked.
        - `share`: grokked / n. `share_low`: lower end of its 95 % Wilson interval; `share_high`: upper end of
          that of (grokked + undetermined) / n. Without undetermined trials that is the Wilson interval of the
          share; with them it holds whatever their outcome.
        - `median_grok_step`: steps; infinite when fewer than half grokked; NaN when censoring leaves it
          undetermined. `median_at_least`: the median is not earlier than this.
        - `budget_steps`: the largest budget of the cell's trials, or the end of their phase: 'infinite' means not
          within it.
        - `lost`: grokked trials whose last validation accuracy is below the threshold again; `lost_val_accuracy`:
          the lowest of these accuracies, NaN if there are none or events do not tell.

    Raises:
        AnalysisError: an axis is not a column, or settings would be pooled.
    """
    import pandas as pd

    from analysis.events import events, with_phases

    cells = df if "grok_step" in df.columns else events(df)
    missing = [name for name in ("last_step", "ended_because", "budget_steps") if name not in cells.columns]
    if missing:
        raise AnalysisError(f"a map needs the columns {', '.join(missing)} to tell how trials ended; load them too")
    cells = with_phases(cells)
    keys = [*facets_of(cells, x, y, facets), y, x]
    rows = [
        {**dict(zip(keys, values if isinstance(values, tuple) else (values,), strict=True)), **_cell(trials)}
        for values, trials in cells.groupby(keys, observed=True, dropna=False, sort=True)
    ]
    return pd.DataFrame(rows, columns=[*keys, *CELL_COLUMNS])


#: The columns that a map has for each cell, after those of its settings.
CELL_COLUMNS = (
    "n",
    "grokked",
    "censored",
    *(f"censored_{name}" for name in CENSORINGS),
    "undetermined",
    "share",
    "share_low",
    "share_high",
    "median_grok_step",
    "median_at_least",
    "budget_steps",
    "lost",
    "lost_val_accuracy",
)


def varying_settings(df: pd.DataFrame) -> list[str]:
    """Return what distinguishes trials and has more than one value in the frame, except the seed.

    These are settings, then the sweep and the user's own columns of words or of true and false, then `phase`. Own
    columns of numbers are taken for measurements; they become facets only where they are named.
    """
    from analysis.schema import SETTINGS, TABLES

    settings = [column.name for column in SETTINGS]
    ours = {column.name for table in TABLES.values() for column in table} | {*settings, *_DERIVED}
    own = [name for name in df.columns if name not in ours and _is_label(df[name])]
    names = [*(name for name in settings if name != "seed"), "sweep", *own, "phase"]
    return [name for name in names if name in df.columns and df[name].nunique(dropna=False) > 1]


#: Columns of labels that this package derives, which are results and no settings.
_DERIVED = ("censored", "tail_complete", "grok_lost", "phase", "sweep", "status", "state", "action", "reason")


def _is_label(column: pd.Series[Any]) -> bool:
    from pandas.api.types import is_bool_dtype, is_string_dtype

    return column.dtype == "category" or is_bool_dtype(column) or is_string_dtype(column)


def facets_of(cells: pd.DataFrame, x: str, y: str, facets: Sequence[str] | None = None) -> list[str]:
    """Return the settings that distinguish maps, as `grok_map` describes them.

    Args:
        cells: one row per trial, with its settings.
        x: setting on the horizontal axis.
        y: setting on the vertical axis.
        facets: the chosen settings; None for all that are needed.

    Raises:
        AnalysisError: an axis is not a column, or settings would be pooled.
    """
    chosen = list(facets or ())
    if x == y or {x, y} & set(chosen) or len(set(chosen)) < len(chosen):
        raise AnalysisError(f"axes and facets must be different settings, got x={x}, y={y}, facets={chosen}")
    absent = [name for name in (x, y, *chosen) if name not in cells.columns]
    if absent:
        raise AnalysisError(f"no column {', '.join(absent)}; the frame has {', '.join(cells.columns)}")
    keys = [x, y, *chosen]
    pooled = []
    for name in varying_settings(cells):
        if name in keys or any(determines(cells, key, name) for key in keys):
            continue
        keys.append(name)
        pooled.append(name)
    if pooled and facets is not None:
        raise AnalysisError(
            f"{', '.join(pooled)} would be pooled: select one value of each, or add them to facets "
            "(leave facets out to have that done)"
        )
    return [*chosen, *pooled]


def determines(cells: pd.DataFrame, key: str, name: str) -> bool:
    """Check whether each value of `key` occurs with one value of `name` only."""
    pairs = cells[[key, name]].drop_duplicates()
    return not bool(pairs[key].duplicated().any())


def ordered(values: pd.Series[Any]) -> tuple[Any, ...]:
    """Return distinct values: numbers by size, words alphabetically, missing values last."""
    import pandas as pd

    from analysis.load import by_size

    distinct = list(pd.unique(values.dropna()))
    tail = [None] if values.isna().any() else []
    return (*sorted(distinct, key=by_size), *tail)


def median_bounds(
    grok_step: NDArray[np.float64], last_step: NDArray[np.float64], never: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return bounds on the lower median of the time to grok; all arrays are [n], n at least 1.

    Args:
        grok_step: steps, NaN where no grok was seen.
        last_step: steps by which those without a grok had certainly not begun to grok.
        never: whether no grok was seen and none can come.

    Returns:
        The median if every censored trial grokked right after its last step, and the median if none of them ever
        did.
    """
    grokked = ~np.isnan(grok_step)
    earliest = np.where(grokked, grok_step, np.where(never, np.inf, last_step))
    latest = np.where(grokked, grok_step, np.inf)
    middle = (len(grok_step) + 1) // 2 - 1
    return float(np.sort(earliest)[middle]), float(np.sort(latest)[middle])


def ungrokked_until(trials: pd.DataFrame) -> NDArray[np.float64]:
    """Return the step by which a trial without a grok had certainly not begun to grok, for each trial.

    It is the last evaluated step, or the one before the last evaluations if these reach the threshold: too few of
    them to be certain of a grok, and not nothing. What it is for trials that grokked does not matter.

    Args:
        trials: one row per trial, from `analysis.events`.

    Returns:
        Steps, shape [n].
    """
    last_step = np.asarray(trials["last_step"], dtype=np.float64)
    if "ungrokked_step" not in trials.columns:
        return last_step
    until = np.asarray(trials["ungrokked_step"], dtype=np.float64)
    return np.where(np.isnan(until), last_step, until)


def _cell(trials: pd.DataFrame) -> dict[str, Any]:
    grok_step = trials["grok_step"].to_numpy(dtype=np.float64)
    ungrokked = ungrokked_until(trials)
    grokked = ~np.isnan(grok_step)
    # A trial in its tail counts as grokked. A `grokked` ending that other thresholds do not confirm counts as no
    # ending.
    because = trials["ended_because"].astype("object").where(~grokked, None).to_numpy()
    budget_steps = int(trials["phase_end_step"].max())
    to_the_end = (because == "budget") & (ungrokked >= budget_steps)
    never = to_the_end | (because == "diverged")
    lower, upper = median_bounds(grok_step, ungrokked, never)

    n, count = len(trials), int(grokked.sum())
    undetermined = n - count - int(never.sum())
    known = {name: int((because == name).sum()) for name in CENSORINGS[:-1]}
    return {
        "n": n,
        "grokked": count,
        "censored": n - count,
        **{f"censored_{name}": number for name, number in known.items()},
        "censored_unfinished": n - count - sum(known.values()),
        "undetermined": undetermined,
        "share": count / n,
        "share_low": wilson(count, n)[0],
        "share_high": wilson(count + undetermined, n)[1],
        "median_grok_step": upper if lower == upper else np.nan,
        "median_at_least": lower,
        "budget_steps": budget_steps,
        **_lost(trials),
    }


def _lost(trials: pd.DataFrame) -> dict[str, Any]:
    if "grok_lost" not in trials.columns:
        return {"lost": 0, "lost_val_accuracy": np.nan}
    ends = trials.loc[trials["grok_lost"].astype(bool), "final_val_accuracy"]
    return {"lost": len(ends), "lost_val_accuracy": float(ends.min()) if len(ends) else np.nan}
