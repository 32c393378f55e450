"""How well complexity and cheaper numbers tell how a network generalises.

All compare ranks, so a number and any increasing function of it do equally well; and they look at measured steps
alone, so that no number is helped by being known at more steps. Intervals are percentile bootstraps over trials.
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

#: What is compared by default: complexity, and what costs next to nothing.
PREDICTORS = ("complexity_bytes", "zstd_bytes", "l2_norm", "effective_rank", "spectral_entropy")
#: The early look at a trial is at its first measurement from this multiple of its memorisation step on.
EARLY_RATIO = 2.0
#: Measured steps that a trial must have from memorisation on, to have a rank correlation of its own.
FEWEST_STEPS = 4

_Floats = NDArray[np.float64]


def predictors(
    df: pd.DataFrame,
    columns: Sequence[str] = PREDICTORS,
    *,
    early_ratio: float = EARLY_RATIO,
    seed: int = 0,
) -> pd.DataFrame:
    """Rank correlations with validation accuracy, and how well each number tells early whether a trial will grok.

    Args:
        df: rows of networks of one architecture, as `analysis.load` gives them.
        columns: what to compare; any numeric columns of `df`.
        early_ratio: when the early look is, in memorisation steps.
        seed: of the bootstrap.

    Returns:
        A row for each question and each of `columns`: `question`, `predictor`, `value`, `low`, `high` (ends of
        the 95 % interval), `trials` (how many the value rests on). NaN where it is not defined. Questions:

        - `within`: as a trial goes on, do they move together? Spearman's rank correlation (Pearson's of the ranks,
          ties sharing their mean rank) with validation accuracy over the trial's measured steps from its
          memorisation step on; the mean over the trials that memorised, have `FEWEST_STEPS` such steps and whose
          validation accuracy moves. A number that does not move counts as 0.
        - `across`: of trials at their last measured step, do they agree which is better? Spearman's rank
          correlation with validation accuracy over all trials that were measured.
        - `early`: the probability that the number is smaller in a trial that will grok than in one that will not
          (a tie counts half): U / (n1 n2) of Mann and Whitney, the area under the ROC curve. Each trial that
          memorised is seen at its first measured step at or after `early_ratio` memorisation steps. Left out are
          trials that have grokked by then, and those that were not followed to the end: nobody knows what they
          would have done.

        -1 and 0 are as good as 1: smaller is better. A number that tells nothing has 0 (`early`: 0.5).

    Raises:
        AnalysisError: a column is missing, there are rows of several phases, or networks of several architectures
            are mixed.
    """
    import pandas as pd

    from analysis.events import events, require_one_phase

    _check(df, columns)
    require_one_phase(df, "this")
    found = events(df).set_index("trial_id")
    measured = df[df["complexity_bytes"].notna()].sort_values(["trial_id", "step"], kind="stable")
    trial_ids = measured["trial_id"]
    memorised_at = trial_ids.map(found["memorisation_step"].to_dict()).astype(float)
    learned = measured[measured["step"].to_numpy() >= memorised_at.to_numpy()]
    last = measured.groupby("trial_id", observed=True).tail(1)
    early = measured[measured["step"].to_numpy() >= early_ratio * memorised_at.to_numpy()]
    early = early.groupby("trial_id", observed=True).head(1)
    will_grok, known = _outcomes(early, found)

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
    """Spearman's: Pearson's of the ranks, ties sharing their mean rank; 0 if only x stands still, NaN if y does.

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
    """Probability that x is smaller where the outcome is 1 than where it is 0, ties counting half.

    Args:
        x: shape [..., n].
        outcome: zeros and ones, shape [..., n].

    Returns:
        Shape [...]; NaN where there is one outcome alone.
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


def _outcomes(early: pd.DataFrame, found: pd.DataFrame) -> tuple[_Floats, NDArray[np.bool_]]:
    """Of the trials at their early look: 1 if they will grok, else 0; and whether that is still open, and known."""
    of_trial = found.loc[early["trial_id"]]
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
