"""How well complexity and cheaper numbers tell whether a network generalises.

All comparisons use ranks, so a number and any increasing function of it do equally well. All use measured steps
only, so that no number gains from being known at more steps. Intervals are percentile bootstraps over trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.intervals import bootstraps, resampled_mean

if TYPE_CHECKING:
    import pandas as pd

#: The columns that are compared by default: complexity, and numbers that cost next to nothing.
PREDICTORS = ("complexity_bytes", "zstd_bytes", "l2_norm", "effective_rank", "spectral_entropy")
#: The early look at a trial is at its first measurement from this multiple of its memorisation step on.
EARLY_RATIO = 2.0
#: The fewest measured steps from memorisation on with which a trial has a rank correlation of its own.
FEWEST_STEPS = 4

_Floats = NDArray[np.float64]


def predictors(
    df: pd.DataFrame,
    columns: Sequence[str] = PREDICTORS,
    *,
    early_ratio: float = EARLY_RATIO,
    seed: int = 0,
) -> pd.DataFrame:
    """Correlate ranks with validation accuracy, and test how well each number predicts early that a trial groks.

    Args:
        df: rows from `analysis.load`, of networks of one architecture.
        columns: the columns to compare; any numeric columns of `df`.
        early_ratio: the time of the early look, in multiples of the memorisation step.
        seed: seed of the bootstrap.

    Returns:
        A row for each question and each of `columns`: `question`, `predictor`, `value`, `low`, `high` (ends of
        the 95 % interval), `trials` (the number behind the value). NaN where undefined. Questions:

        - `within`: do they move together within a trial? Spearman's rank correlation (Pearson's of the ranks,
          ties sharing their mean rank) with validation accuracy over the trial's measured steps from its
          memorisation step on; the mean over the trials that memorised, have `FEWEST_STEPS` such steps and whose
          validation accuracy moves. A number that does not move counts as 0.
        - `across`: do they rank trials, at their last measured step, alike? Spearman's rank
          correlation with validation accuracy over all trials that were measured.
        - `early`: the probability that the number is smaller in a trial that will grok than in one that will not
          (a tie counts half): U / (n1 n2) of Mann and Whitney, the area under the ROC curve. Each trial that
          memorised is seen at its first measured step at or after `early_ratio` memorisation steps. Trials that
          have grokked by then are left out, and so are trials that were not followed to the end, whose outcome is
          unknown.

        -1 and 0 are as good as 1: smaller is better. A number without information has 0 (`early`: 0.5).

    Raises:
        AnalysisError: a column is missing, rows have several phases, or networks of several architectures
            are mixed.
    """
    import pandas as pd

    from analysis.events import events, require_one_phase

    _check(df, columns)
    require_one_phase(df, "this")
    events_of = events(df).set_index("trial_id")
    measured = df[df["complexity_bytes"].notna()].sort_values(["trial_id", "step"], kind="stable")
    trial_ids = measured["trial_id"]
    memorised_at = trial_ids.map(events_of["memorisation_step"].to_dict()).astype(float)
    learned = measured[measured["step"].to_numpy() >= memorised_at.to_numpy()]
    last = measured.groupby("trial_id", observed=True).tail(1)
    early = measured[measured["step"].to_numpy() >= early_ratio * memorised_at.to_numpy()]
    early = early.groupby("trial_id", observed=True).head(1)
    will_grok, known = _outcomes(early, events_of)

    generator = np.random.default_rng(seed)
    followed, groks = known, will_grok[known]
    rows = []
    for question in ("within", "across", "early"):
        if question == "within":
            values = _within(learned, columns)
        else:
            frame = last if question == "across" else early[followed]
            values = [_numbers(frame, name) for name in columns]
        # Those of one length share their resamples, which are drawn once.
        of_length: dict[int, list[int]] = {}
        for place, each in enumerate(values):
            of_length.setdefault(len(each), []).append(place)
        answers: dict[int, tuple[float, float, float]] = {}
        for n, places in of_length.items():
            stacked = np.stack([values[place] for place in places], axis=1)
            statistics: Callable[[_Floats], _Floats]
            if question == "within":
                statistics = partial(resampled_mean, stacked)
            elif question == "across":
                statistics = RankCorrelations(stacked, _numbers(last, "val_accuracy"))
            else:
                statistics = ProbabilitiesSmaller(stacked, groks)
            found = statistics(np.ones((1, n)))[0].tolist() if n else [np.nan] * len(places)
            ends = bootstraps(statistics, n, generator) if n else [(np.nan, np.nan)] * len(places)
            answers |= {place: (one, *end) for place, one, end in zip(places, found, ends, strict=True)}
        rows += [(question, name, *answers[place], len(values[place])) for place, name in enumerate(columns)]
    return pd.DataFrame(rows, columns=["question", "predictor", "value", "low", "high", "trials"])


class Ranks:
    """Mean ranks of values in resamples, without sorting any of these.

    Args:
        values: shape [n].
    """

    def __init__(self, values: _Floats) -> None:
        self._order = np.argsort(values, kind="stable")
        ordered = values[self._order]
        self._starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        self._group = np.empty(len(values), dtype=np.intp)
        self._group[self._order] = np.repeat(np.arange(len(self._starts)), np.diff([*self._starts, len(values)]))

    def __call__(self, times: _Floats) -> _Floats:
        """Return the mean rank of each value in each resample, counted from 1, [k, n]; times are [k, n]."""
        tied = times[:, self._order]
        if len(self._starts) < len(self._order):
            tied = np.add.reduceat(tied, self._starts, axis=1)
        ranks: _Floats = (np.cumsum(tied, axis=1) - (tied - 1) / 2)[:, self._group]
        return ranks


class RankCorrelations:
    """Spearman's correlation of each column of x with y (Pearson's of the mean ranks).

    It is 0 if only x is constant, NaN if y is.

    Args:
        x: shape [n, m].
        y: shape [n].
    """

    def __init__(self, x: _Floats, y: _Floats) -> None:
        self._x, self._y = [Ranks(column) for column in x.T], Ranks(y)
        self._unknown = [bool(np.isnan(column).any() or np.isnan(y).any()) for column in x.T]

    def __call__(self, times: _Floats) -> _Floats:
        """Return the correlations in each resample, [k, m], given multiplicities [k, n]."""
        middle = (times.sum(axis=1, keepdims=True) + 1) / 2
        ranks_y = self._y(times) - middle
        weighted_y = times * ranks_y
        squares_y = np.einsum("kn,kn->k", weighted_y, ranks_y)
        columns = []
        for ranks, unknown in zip(self._x, self._unknown, strict=True):
            if unknown:
                columns.append(np.full(len(times), np.nan))
                continue
            ranks_x = ranks(times) - middle
            products = np.einsum("kn,kn->k", weighted_y, ranks_x)
            squares_x = np.einsum("kn,kn,kn->k", times, ranks_x, ranks_x)
            moves = squares_x * squares_y > 0
            correlation = products / np.sqrt(np.where(moves, squares_x * squares_y, 1))
            columns.append(np.where(squares_y > 0, correlation, np.nan))
        return np.stack(columns, axis=1)


class ProbabilitiesSmaller:
    """The probability that a column of x is smaller if the outcome is 1 than if it is 0.

    A tie counts half; without both outcomes it is NaN.

    Args:
        x: shape [n, m].
        outcome: zeros and ones, shape [n].
    """

    def __init__(self, x: _Floats, outcome: _Floats) -> None:
        self._ranks, self._outcome = [Ranks(column) for column in x.T], outcome
        self._unknown = [bool(np.isnan(column).any()) for column in x.T]

    def __call__(self, times: _Floats) -> _Floats:
        """Return the probabilities in each resample, [k, m], given multiplicities [k, n]."""
        yes = times @ self._outcome
        no = times.sum(axis=1) - yes
        groks = times * self._outcome
        columns = []
        for ranks, unknown in zip(self._ranks, self._unknown, strict=True):
            larger = np.einsum("kn,kn->k", groks, ranks(times)) - yes * (yes + 1) / 2
            known = (yes * no > 0) & (not unknown)
            columns.append(np.where(known, 1 - larger / np.maximum(yes * no, 1), np.nan))
        return np.stack(columns, axis=1)


def _numbers(frame: pd.DataFrame, name: str) -> _Floats:
    return frame[name].to_numpy(dtype=np.float64)


def _within(learned: pd.DataFrame, names: Sequence[str]) -> list[_Floats]:
    """Return the rank correlations of columns with validation accuracy, each in the trials where it is defined."""
    import pandas as pd

    trials = learned["trial_id"].astype(str)
    size = trials.groupby(trials).transform("size")
    long = learned[size.to_numpy() >= FEWEST_STEPS]
    codes, distinct = pd.factorize(trials[long.index])
    count = len(distinct)
    groups = long[[*dict.fromkeys([*names, "val_accuracy"])]].groupby(codes, sort=False)
    middle = (np.bincount(codes, minlength=count)[codes] + 1) / 2
    y = groups["val_accuracy"].rank().to_numpy() - middle
    squares_y = np.bincount(codes, y * y, minlength=count)
    correlations = []
    for name in names:
        x = groups[name].rank().to_numpy() - middle
        # A missing value leaves its trial without a correlation.
        squares_x, covariance = (np.bincount(codes, product, minlength=count) for product in (x * x, x * y))
        correlation = covariance / np.sqrt(np.where(squares_x * squares_y > 0, squares_x * squares_y, 1))
        defined: _Floats = correlation[(squares_y > 0) & ~np.isnan(correlation)]
        correlations.append(defined)
    return correlations


def _outcomes(early: pd.DataFrame, events_of: pd.DataFrame) -> tuple[_Floats, NDArray[np.bool_]]:
    """Return for each trial at its early look 1 if it groks, else 0; and whether it counts.

    It counts if it had not grokked by then and was followed to its end.
    """
    of_trial = events_of.loc[early["trial_id"]]
    grok_step = of_trial["grok_step"].to_numpy(dtype=np.float64)
    will_grok = ~np.isnan(grok_step)
    followed = of_trial["ended_because"].isin(["budget", "diverged"]).to_numpy()
    ahead = grok_step > early["step"].to_numpy()
    return will_grok.astype(np.float64), np.where(will_grok, ahead, followed)


def _check(df: pd.DataFrame, columns: Sequence[str]) -> None:
    needed: list[Any] = ["trial_id", "step", "val_accuracy", "complexity_bytes", "ended_because", *columns]
    missing = [name for name in dict.fromkeys(needed) if name not in df.columns]
    if missing:
        raise AnalysisError(f"predictors are computed from the columns {', '.join(missing)}, too; load them")
    of_size = [name for name in ("modulus", "model_kind", "width", "layers", "hidden_width") if name in df.columns]
    mixed = [name for name in of_size if df[name].nunique() > 1]
    if mixed:
        raise AnalysisError(
            f"numbers of networks of different size cannot be compared, and {', '.join(mixed)} varies; "
            "pass the rows of one size"
        )
