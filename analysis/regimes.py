"""The four regimes of Liu et al. 2022 (arXiv 2205.10343, Table 1), which the paper and the columns call phases.

| regime        | training accuracy above 90 % | validation accuracy above 90 % | validation after training by |
|---------------|------------------------------|--------------------------------|------------------------------|
| comprehension | within the budget            | within the budget              | fewer than 1,000 steps       |
| grokking      | within the budget            | within the budget              | 1,000 steps or more          |
| memorisation  | within the budget            | no                             |                              |
| confusion     | no                           | no                             |                              |

The paper's budget is 100,000 steps, and the gap is a hundredth of it. Results with another budget are comparable
only if `within_steps` is set. The gap is counted between evaluated steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.errors import AnalysisError
from analysis.events import by_phase

if TYPE_CHECKING:
    import pandas as pd

#: The names in the order of the paper's table.
REGIMES = ("comprehension", "grokking", "memorisation", "confusion")


@dataclass(frozen=True, kw_only=True, slots=True)
class RegimeThresholds:
    """The thresholds that separate the regimes; the defaults are the paper's."""

    above: float = 0.9
    """An accuracy strictly above this share counts."""
    gap_steps: int = 1_000
    """Comprehension, if validation follows training by fewer steps than this, counted between evaluated steps."""
    within_steps: int | None = None
    """Crossings after this step do not count; by default each trial's own budget. The paper used 100,000."""


def regimes(df: pd.DataFrame, thresholds: RegimeThresholds = RegimeThresholds()) -> pd.DataFrame:
    """Return one row per trial with its regime.

    A trial's regime is missing, never memorisation or confusion, if it was not followed to the end (stopped,
    failed, running, or with a budget below `within_steps`) and has not crossed in validation.

    With drift, each phase of the training set is judged by itself, from its exchange to the next.

    Args:
        df: rows from `load`, in any order; `trial_id`, `step`, `train_accuracy`, `val_accuracy`,
            `budget_steps`, `ended_because` are needed.
        thresholds: the thresholds that separate the regimes.

    Returns:
        Sorted by `trial_id`: `trial_id`, `training_phase` (the drift phase, `phase` of the rows, if that has more
        than one value), `phase` (the regime, a category, missing if undetermined), `train_step` and `val_step`, the
        first evaluated steps with an accuracy above the threshold (NaN without one).

    Raises:
        AnalysisError: a needed column is missing.
    """
    import pandas as pd

    needed = ["trial_id", "step", "train_accuracy", "val_accuracy", "budget_steps", "ended_because"]
    missing = [name for name in needed if name not in df.columns]
    if missing:
        raise AnalysisError(
            f"regimes need the columns {', '.join(needed)}; {', '.join(missing)} missing; load them too"
        )
    ordered, _ = by_phase(df)
    ordered["own_step"] = ordered["step"] - ordered["phase_start_step"]
    keys = ["trial_id", "phase"]
    result = ordered.groupby(keys, observed=True).agg(
        start=("phase_start_step", "last"),
        last_step=("own_step", "last"),
        end=("phase_end_step", "last"),
        because=("ended_because", "last"),
    )
    within = result["end"] - result["start"] if thresholds.within_steps is None else thresholds.within_steps
    for name, column in (("train_step", "train_accuracy"), ("val_step", "val_accuracy")):
        # All trials stay in the grouping: if none has crossed, pandas cannot align an index without categories.
        crossed = (
            ordered["own_step"]
            .where(ordered[column] > thresholds.above)
            .groupby([ordered[key] for key in keys], observed=True)
            .min()
        )
        result[name] = crossed.where(crossed <= within)

    trained, validated = result["train_step"].notna(), result["val_step"].notna()
    soon = result["val_step"] - result["train_step"] < thresholds.gap_steps
    # A diverged trial has no usable weights, so it cannot cross later.
    followed = (result["last_step"] >= within) | (result["because"] == "diverged")
    phase = np.select(
        [trained & validated & soon, trained & validated, trained & ~validated & followed, ~validated & followed],
        REGIMES,
        default="",
    )
    for name in ("train_step", "val_step"):
        result[name] += result["start"]
    result = result.reset_index(names=["trial_id", "training_phase"])
    result["phase"] = pd.Series(phase).where(phase != "").astype(pd.CategoricalDtype(list(REGIMES)))
    several = ["training_phase"] if result["training_phase"].nunique() > 1 else []
    return result[["trial_id", *several, "phase", "train_step", "val_step"]]


phases = regimes
"""The name this function had before phases of drift came; both are offered."""
