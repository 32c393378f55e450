"""What to do with each trial now: continue, compress or abandon it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.errors import AnalysisError
from analysis.events import Events, Thresholds, by_phase, thresholds_of, trajectories, trajectory_events
from analysis.stopping import decline
from analysis.stopping.decline import DeclineParameters
from analysis.trajectory import Trajectory

if TYPE_CHECKING:
    import pandas as pd

ACTIONS = ("continue", "compress", "abandon")

_NEEDED = (
    "trial_id",
    "step",
    "train_accuracy",
    "val_accuracy",
    "complexity_bytes",
    "budget_steps",
    "ended_because",
)


def decide(
    df: pd.DataFrame,
    parameters: DeclineParameters = DeclineParameters(),  # noqa: B008 (frozen)
    thresholds: Thresholds | None = None,
) -> pd.DataFrame:
    """Advise on each trial.

    `compress`: it grokked and was followed through its tail. `abandon`: it diverged; or the decline rule says that
    it will not decline within its budget; or that budget is over and neither accuracy nor complexity was moving.
    `continue`: anything else. If the trial's budget is over that means a longer budget; if it failed, another
    attempt.

    Where the training set is exchanged, the advice is about the present one and counts steps from the exchange.

    Args:
        df: rows from `load`, in any order.
        parameters: parameters of the decline rule.
        thresholds: thresholds for all trials; by default each trial's own, as in `analysis.events`.

    Returns:
        Sorted by `trial_id`: `trial_id`, `action` (category), `reason` (one sentence), `probability` (the estimate
        that the trial shows the decline within its budget; 1 once it has).

    Raises:
        AnalysisError: a needed column is missing.
    """
    import pandas as pd

    missing = [name for name in _NEEDED if name not in df.columns]
    if missing:
        raise AnalysisError(f"advice needs the columns {', '.join(_NEEDED)}; {', '.join(missing)} missing")
    ordered, _ = by_phase(df)
    # Use each trial's current phase only: earlier training sets say nothing about this one.
    present = ordered["phase"] == ordered.groupby("trial_id", observed=True)["phase"].transform("max")
    ordered, starts = by_phase(ordered[present])
    result = ordered.iloc[starts].reset_index(drop=True)
    result["budget_steps"] = result["phase_end_step"] - result["phase_start_step"]
    advice = [
        _advise(trajectory, int(budget), because, parameters, own)
        for trajectory, budget, because, own in zip(
            trajectories(ordered, starts),
            result["budget_steps"],
            result["ended_because"],
            thresholds_of(result, thresholds),
            strict=True,
        )
    ]
    result["action"] = pd.Categorical([action for action, _, _ in advice], categories=list(ACTIONS))
    result["reason"] = pd.Series([reason for _, reason, _ in advice], dtype="str")
    result["probability"] = np.array([probability for _, _, probability in advice], dtype=np.float64)
    return result[["trial_id", "action", "reason", "probability"]]


def _advise(
    trajectory: Trajectory,
    budget_steps: int,
    because: object,
    parameters: DeclineParameters,
    thresholds: Thresholds,
) -> tuple[str, str, float]:
    events = trajectory_events(trajectory, thresholds)
    decision = decline.stop_decision(trajectory, budget_steps, parameters, thresholds)
    if events.tail_complete:
        return "compress", _grokked(events), decision.probability
    if because == "diverged":
        return "abandon", "It diverged.", 0.0
    if decision.stop:
        return "abandon", decision.reason, decision.probability
    if because == "budget" and decline.spared_because(trajectory, events, parameters, thresholds) is None:
        return "abandon", decision.reason, decision.probability
    return "continue", decision.reason, decision.probability


def _grokked(events: Events) -> str:
    if events.decline is None or events.complexity_peak_bytes is None:
        return f"Grokked at step {events.grok_step:,}."
    return (
        f"Grokked at step {events.grok_step:,}; complexity is {events.decline:.0%} below its peak of "
        f"{events.complexity_peak_bytes:,.0f} bytes."
    )
