"""Two values of one setting compared on pairs of trials that agree in everything else, including the seed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.errors import AnalysisError
from analysis.intervals import bootstrap, resampled_mean

if TYPE_CHECKING:
    import pandas as pd


def paired_accuracy(
    df: pd.DataFrame, setting: str, values: tuple[Any, Any], steps: Sequence[int], *, seed: int = 0
) -> pd.DataFrame:
    """Compare validation accuracy under two values of a setting, at equal steps.

    A trial that has grokked and was followed through its tail ends there; at later steps its last accuracy counts.
    A pair is left out at a step if one of its trials ended otherwise before the step, or has not reached it.

    Args:
        df: rows from `analysis.load`.
        setting: a column of settings, e.g. `spectral_entropy_weight`.
        values: its two values; the difference is the second minus the first.
        steps: steps at which to compare, each by the last evaluation up to it.
        seed: seed of the bootstrap.

    Returns:
        A row for each step: `step`, `pairs`, `first` and `second` (mean validation accuracies), `difference` (mean
        of second - first), `low` and `high` (95 % percentile bootstrap over the pairs), `first_better` and
        `second_better` (number of pairs).

    Raises:
        AnalysisError: the setting does not exist, or no pair has both values.
    """
    import pandas as pd

    from analysis.schema import SETTINGS

    names = [column.name for column in SETTINGS if column.name in df.columns]
    if setting not in names:
        raise AnalysisError(f"{setting!r} is not among the settings in these rows: {', '.join(names)}")
    others = [name for name in names if name != setting]
    at_steps = []
    for step in steps:
        reached = df[df["step"] <= step].groupby("trial_id", observed=True).tail(1)
        last = df.groupby("trial_id", observed=True)["step"].max()
        whole = reached["trial_id"].map(last.to_dict()).astype(float) >= step
        counted = reached[whole.to_numpy() | reached["ended_because"].eq("grokked").to_numpy()]
        first, second = (counted.loc[counted[setting] == value, [*others, "val_accuracy"]] for value in values)
        pairs = first.merge(second, on=others, suffixes=("_first", "_second"))
        difference = (pairs["val_accuracy_second"] - pairs["val_accuracy_first"]).to_numpy(dtype=np.float64)
        n = len(difference)
        low, high = bootstrap(partial(resampled_mean, difference), n, np.random.default_rng(seed))
        at_steps.append(
            {
                "step": step,
                "pairs": n,
                "first": pairs["val_accuracy_first"].mean(),
                "second": pairs["val_accuracy_second"].mean(),
                "difference": difference.mean() if len(pairs) else np.nan,
                "low": low,
                "high": high,
                "first_better": int((difference < 0).sum()),
                "second_better": int((difference > 0).sum()),
            }
        )
    if not any(row["pairs"] for row in at_steps):
        raise AnalysisError(f"no two trials differ in nothing but {setting} {values[0]} and {values[1]}")
    return pd.DataFrame(at_steps)
