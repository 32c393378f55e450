"""What a stopping rule cannot do in a sweep as it is specified, said before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from analysis.stopping.decline import DeclineParameters
from analysis.stopping.parking import ParkingParameters
from sweep.specification.config import SweepConfig
from trainables.config import TrialConfig
from trainables.schedule import measured_steps


def stopping_notes(config: SweepConfig, trials: Sequence[TrialConfig]) -> list[str]:
    """Return sentences about a rule that can hardly act on these trials, and about parts that no rule uses.

    Args:
        config: the request.
        trials: its trials.
    """
    unused = [f"{name} has no effect with stop: {config.stop}" for name in _unused(config)]
    return unused + (_acts_late(config, trials) if trials else [])


def _unused(config: SweepConfig) -> list[str]:
    """Return the parts of a specification that are about another rule than the chosen one."""
    parts = {
        "decline": ("decline", DeclineParameters()),
        "parking": ("park", ParkingParameters()),
        "certify": ("park", None),
    }
    return [name for name, (rule, usual) in parts.items() if config.stop != rule and getattr(config, name) != usual]


def _acts_late(config: SweepConfig, trials: Sequence[TrialConfig]) -> list[str]:
    if config.stop == "none":
        return []
    budget = max(trial.steps for trial in trials)
    if config.stop == "decline":
        # A trial memorises in some dozens of steps at the least.
        by = budget / config.decline.patience
        if by >= _EARLIEST_MEMORISATION:
            return []
        return [
            f"the decline rule can stop only trials that memorise by step {by:,.0f} of {budget:,}, since it waits "
            f"{config.decline.patience:g} times as long, so it will save next to nothing; raise steps, lower "
            "decline.patience, or use stop: park"
        ]
    notes = []
    measured = [step for step in measured_steps(config.measuring, budget) if step > 0]
    needed = config.parking.stall.minimum_measurements
    first = measured[needed - 1] if needed <= len(measured) else budget
    if first > config.parking.first_look * budget:
        notes.append(
            f"the parking rule needs {needed} measurements of complexity, which a trial has by step {first:,} of "
            f"{budget:,}, so it acts late; raise steps, or lower measure_ratio"
        )
    if config.parking.cells and max(Counter(trial.cell_id for trial in trials).values()) == 1:
        notes.append(
            "each setting has one seed, so the parking rule learns nothing from other seeds; with two seeds or "
            "more it saves more"
        )
    return notes


_EARLIEST_MEMORISATION = 64
