"""Two arms of a study compared on pairs of trials of one seed: which groks, how soon, and the state at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.intervals import median_interval, paired_difference

if TYPE_CHECKING:
    import pandas as pd

    from analysis.events import Thresholds

_Floats = NDArray[np.float64]

_GROK_STEPS = ["grok_step_first", "grok_step_second"]

#: The columns that are compared at the end by default.
FINAL = ("complexity_bytes", "effective_rank", "l2_norm")


def paired_arms(
    df: pd.DataFrame,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    *,
    final: Sequence[str] = FINAL,
    thresholds: Thresholds | None = None,
) -> pd.DataFrame:
    """Compare the second of two arms with the first, on pairs that agree in all other settings.

    An arm is given by one or more settings, e.g. `{"spectral_entropy_weight": 0.1,
    "spectral_start": "at_decline"}` against `{"spectral_entropy_weight": 0}`; a setting that only one arm names
    need not agree within a pair. All pairs are pooled: to keep conditions apart, compare them one by one.

    Args:
        df: rows from `analysis.load`.
        first: setting -> value, of the first arm.
        second: setting -> value, of the second arm.
        final: columns of positive numbers to compare.
        thresholds: the thresholds for all trials; None for each trial's own.

    Returns:
        A row for each question, `quantity` and `at`:

        - `grokked` (`at` is `end`): the share of trials that grokked. A pair is left out if one of its trials
          neither grokked nor was followed to its budget.
        - `grok_step`: the pairs in which both grokked. Only `first_lower`, `second_lower` and `p` count all pairs
          in which it is known which trial grokked sooner, also because the other one did not grok as far as it was
          followed.
        - each of `final`, at `end`: the last measured step of trials that were followed through the tail of their
          grok or to their budget (other pairs are left out); at `both_grokked`: the same, for pairs in which both
          grokked; at `same_step`: the last step at which both trials of a pair have been measured. A step counts
          as measured if complexity was measured there.

        `pairs`; `first` and `second`, the arms' share or median; `change`, for `grokked` the second minus the
        first, otherwise the median of second / first over the pairs; `low` and `high`, its 95 % interval
        (Newcombe's, or that of a median, NaN for fewer than six pairs); `first_lower` and `second_lower`, the
        number of pairs in which the number is smaller in this arm; `p`, the exact two-sided sign test of these two
        counts (for `grokked` it is McNemar's), 1 if both are 0.

    Raises:
        AnalysisError: a setting or column is missing, rows have several phases, there are no pairs, or an arm has
            several trials for one pair.
    """
    import pandas as pd

    from analysis.events import events, require_one_phase

    require_one_phase(df, "paired arms")
    missing = [name for name in final if name not in df.columns]
    if missing:
        raise AnalysisError(
            f"these rows have no column {', '.join(missing)}; load it too, or leave it out of final"
        )
    pairs = _pairs(events(df, thresholds), first, second)
    measured = df.loc[df["complexity_bytes"].notna(), ["trial_id", "step", *final]]
    last = measured.sort_values("step", kind="stable").groupby("trial_id", observed=True).tail(1)
    followed = pairs[_whole(pairs, "followed")]
    at_end = _joined(followed, last, ["trial_id"])
    both_grokked = _joined(followed[followed[_GROK_STEPS].notna().all(axis=1)], last, ["trial_id"])
    at_same_step = _joined(pairs, measured, ["trial_id", "step"]).sort_values("step", kind="stable")
    at_same_step = at_same_step.groupby(["trial_id_first", "trial_id_second"], observed=True).tail(1)
    comparisons = [_grokked(pairs), _grok_step(pairs)]
    for name in final:
        for at, those in (("end", at_end), ("both_grokked", both_grokked), ("same_step", at_same_step)):
            comparisons.append(_ratios(name, at, *_values(those, name)))
    return pd.DataFrame(comparisons)


def _pairs(trials: pd.DataFrame, first: Mapping[str, Any], second: Mapping[str, Any]) -> pd.DataFrame:
    """Make one row per pair; each trial's own columns occur twice, ending in `_first` and `_second`."""
    from analysis.schema import SETTINGS

    names = [column.name for column in SETTINGS if column.name in trials.columns]
    unknown = [name for name in (*first, *second) if name not in names]
    if unknown:
        raise AnalysisError(f"{unknown[0]!r} is not among the settings in these rows: {', '.join(names)}")
    to_budget = trials["last_step"] >= trials["budget_steps"]
    own = trials[names].assign(
        trial_id=trials["trial_id"],
        grok_step=trials["grok_step"],
        last_step=trials["last_step"],
        told=trials["grok_step"].notna() | to_budget,
        followed=trials["tail_complete"] | to_budget,
    )
    alike = [name for name in names if name not in first and name not in second]
    arms = []
    for settings in (first, second):
        arm = own[np.logical_and.reduce([_has(own[name], value) for name, value in settings.items()])]
        if arm.duplicated(alike).any():
            raise AnalysisError(
                f"an arm must have one trial of a seed where all else is alike, that of {_words(settings)} has "
                f"several; name more of its settings, at least {', '.join(dict.fromkeys((*first, *second)))}"
            )
        arms.append(arm)
    pairs = arms[0].merge(arms[1], on=alike, suffixes=("_first", "_second"))
    if pairs.empty:
        raise AnalysisError(f"no two trials are alike but for {_words(first)} here and {_words(second)} there")
    return pairs


def _has(column: pd.Series[Any], value: Any) -> NDArray[np.bool_]:
    # A start is a text in a frame, "0" or "at_decline", and may be a number in the caller's settings.
    return (column == (str(value) if column.dtype == "category" else value)).to_numpy(dtype=np.bool_)


def _words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def _joined(pairs: pd.DataFrame, measured: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Join the measurements of both trials of each pair where the other keys agree."""
    joined = pairs[["trial_id_first", "trial_id_second"]]
    for arm in ("first", "second"):
        own = {name: f"{name}_{arm}" for name in measured.columns if name == "trial_id" or name not in keys}
        on = [own.get(key, key) for key in keys if own.get(key, key) in joined.columns]
        joined = joined.merge(measured.rename(columns=own), on=on)
    return joined


def _values(pairs: pd.DataFrame, name: str) -> tuple[_Floats, _Floats]:
    return pairs[f"{name}_first"].to_numpy(dtype=np.float64), pairs[f"{name}_second"].to_numpy(dtype=np.float64)


def _whole(pairs: pd.DataFrame, name: str) -> NDArray[np.bool_]:
    """Mark the pairs in which both trials have a value."""
    return (pairs[f"{name}_first"] & pairs[f"{name}_second"]).to_numpy(dtype=np.bool_)


def _grokked(pairs: pd.DataFrame) -> dict[str, Any]:
    first, second = (~np.isnan(steps) for steps in _values(pairs[_whole(pairs, "told")], "grok_step"))
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    low, high = paired_difference(
        int((first & second).sum()), only_first, only_second, int((~first & ~second).sum())
    )
    shares = (first.mean(), second.mean()) if len(first) else (np.nan, np.nan)
    return _row("grokked", "end", len(first), shares, shares[1] - shares[0], (low, high), only_second, only_first)


def _grok_step(pairs: pd.DataFrame) -> dict[str, Any]:
    first, second = _values(pairs, "grok_step")
    first_end, second_end = _values(pairs, "last_step")
    both = ~np.isnan(first) & ~np.isnan(second)
    row = _ratios("grok_step", "end", first[both], second[both])
    # A trial that has not grokked so far groks later than that, if at all. Comparisons with NaN are false.
    first_sooner = (first < second) | (np.isnan(second) & (first <= second_end))
    second_sooner = (second < first) | (np.isnan(first) & (second <= first_end))
    return row | _counts(int(first_sooner.sum()), int(second_sooner.sum()))


def _ratios(quantity: str, at: str, first: _Floats, second: _Floats) -> dict[str, Any]:
    ratio = second / first
    medians = (np.median(first), np.median(second)) if len(ratio) else (np.nan, np.nan)
    return _row(
        quantity,
        at,
        len(ratio),
        medians,
        np.median(ratio) if len(ratio) else np.nan,
        median_interval(ratio),
        int((first < second).sum()),
        int((second < first).sum()),
    )


def _row(
    quantity: str,
    at: str,
    pairs: int,
    arms: tuple[float, float],
    change: float,
    interval: tuple[float, float],
    first_lower: int,
    second_lower: int,
) -> dict[str, Any]:
    return {
        "quantity": quantity,
        "at": at,
        "pairs": pairs,
        "first": float(arms[0]),
        "second": float(arms[1]),
        "change": float(change),
        "low": interval[0],
        "high": interval[1],
        **_counts(first_lower, second_lower),
    }


def _counts(first_lower: int, second_lower: int) -> dict[str, Any]:
    from scipy.stats import binomtest

    discordant = first_lower + second_lower
    p = float(binomtest(first_lower, discordant).pvalue) if discordant else 1.0
    return {"first_lower": first_lower, "second_lower": second_lower, "p": p}
