"""How well complexity and cheaper numbers tell whether a network generalises.

All comparisons use ranks, so a number and any increasing function of it do equally well. All use measured steps
only, so that no number gains from being known at more steps. Intervals are percentile bootstraps over trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.intervals import bootstrap

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
    rows = []
    statistic: Callable[..., _Floats]
    arrays: tuple[_Floats, ...]
    for question in ("within", "across", "early"):
        for name in columns:
            if question == "within":
                statistic, arrays = _mean, _within(learned, name)
            elif question == "across":
                statistic, arrays = rank_correlation, (_numbers(last, name), _numbers(last, "val_accuracy"))
            else:
                statistic, arrays = probability_smaller, (_numbers(early, name)[known], will_grok[known])
            low, high = bootstrap(statistic, arrays, generator)
            rows.append((question, name, float(statistic(*arrays)), low, high, len(arrays[0])))
    return pd.DataFrame(rows, columns=["question", "predictor", "value", "low", "high", "trials"])


def rank_correlation(x: _Floats, y: _Floats) -> _Floats:
    """Return Spearman's correlation (Pearson's of the mean ranks); 0 if only x is constant, NaN if y is constant.

    Args:
        x: shape [..., n].
        y: shape [..., n].

    Returns:
        Shape [...].
    """
    from scipy.stats import rankdata

    ranks_x, ranks_y = (rankdata(values, axis=-1) - (values.shape[-1] + 1) / 2 for values in (x, y))
    squares_x, squares_y = (ranks_x**2).sum(axis=-1), (ranks_y**2).sum(axis=-1)
    products = (ranks_x * ranks_y).sum(axis=-1)
    correlation = products / np.sqrt(np.where(squares_x * squares_y > 0, squares_x * squares_y, 1))
    return np.where(squares_y > 0, correlation, np.nan)


def probability_smaller(x: _Floats, outcome: _Floats) -> _Floats:
    """Return the probability that x is smaller if the outcome is 1 than if it is 0, ties counting half.

    Args:
        x: shape [..., n].
        outcome: zeros and ones, shape [..., n].

    Returns:
        Shape [...]; NaN if only one outcome occurs.
    """
    from scipy.stats import rankdata

    yes = outcome.sum(axis=-1)
    no = outcome.shape[-1] - yes
    larger = (rankdata(x, axis=-1) * outcome).sum(axis=-1) - yes * (yes + 1) / 2
    return np.where(yes * no > 0, 1 - larger / np.maximum(yes * no, 1), np.nan)


def _mean(values: _Floats) -> _Floats:
    return values.mean(axis=-1) if values.shape[-1] else np.full(values.shape[:-1], np.nan)


def _numbers(frame: pd.DataFrame, name: str) -> _Floats:
    return frame[name].to_numpy(dtype=np.float64)


def _within(learned: pd.DataFrame, name: str) -> tuple[_Floats]:
    correlations = [
        rank_correlation(_numbers(rows, name), _numbers(rows, "val_accuracy"))
        for _, rows in learned.groupby("trial_id", observed=True)
        if len(rows) >= FEWEST_STEPS
    ]
    values = np.array(correlations, dtype=np.float64)
    return (values[~np.isnan(values)],)


def _outcomes(early: pd.DataFrame, events_of: pd.DataFrame) -> tuple[_Floats, NDArray[np.bool_]]:
    """Return, for trials at their early look, 1 if they grok, else 0; and whether it is open and known."""
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
