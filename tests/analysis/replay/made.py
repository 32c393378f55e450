"""Recordings made up for tests: flat failures, grokkers, and whole sweeps of them."""

from __future__ import annotations

import numpy as np

from analysis.events import Thresholds
from analysis.replay.recordings import SIGNALS, Recording
from analysis.trajectory import Trajectory

BUDGET = 1000
STEPS = list(range(0, BUDGET + 1, 50))


def recording(
    name: str,
    grok: int | None = None,
    *,
    cell: object = "a",
    seed: int = 0,
    last_fall: int | None = None,
    accuracy: float = 0.1,
    sweep: str = "s",
    budget: int = BUDGET,
) -> Recording:
    """Make a trial evaluated every 50 steps whose loss is flat until `last_fall`, and falls in one step there.

    Args:
        name: the trial's id.
        grok: step of the grok; None for a failure.
        cell: its cell.
        seed: its seed.
        last_fall: the step up to which validation loss falls all the time; by default the grok step, or 0.
        accuracy: validation accuracy before the grok, or of a failure.
        sweep: its sweep.
        budget: its budget in steps.
    """
    steps = [step for step in STEPS if step <= budget]
    falls_to = last_fall if last_fall is not None else (grok or 0)
    loss = [5.0 * (max(min(step, falls_to), 1)) ** -0.5 for step in steps]
    val = [0.995 if grok is not None and step >= grok else accuracy for step in steps]
    end = steps.index(min(2 * grok, budget)) + 1 if grok is not None else len(steps)
    trajectory = Trajectory.of(steps, [1.0] * len(steps), val, [100.0] * len(steps), loss)
    return Recording(
        trial_id=name,
        sweep=sweep,
        cell=(cell,),
        seed=seed,
        budget_steps=budget,
        trajectory=trajectory.prefix(end),
        thresholds=Thresholds(),
        memorisation_step=0.0,
        grok_step=float("nan") if grok is None else float(grok),
        settings={"weight_decay": float(seed)},
        signals={name: np.zeros(end) for name in SIGNALS},
    )
