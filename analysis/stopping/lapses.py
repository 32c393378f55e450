"""Lapses: trials that grokked and fell below the threshold again, and how many came back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.events import Thresholds, first_sustained
from analysis.trajectory import Trajectory
from analysis.words import counted


@dataclass(frozen=True, slots=True)
class Lapse:
    """A time below the threshold after a grok."""

    lost_step: int
    """First evaluated step below it."""
    recovered_step: int | None
    """First evaluated step at the threshold again; None if it was below at its last one."""
    seen_steps: int
    """Steps for which it was below, as far as it was followed."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What lapses of other trials tell about one that has not recovered."""

    lapses: int
    """Number of those that lasted at least as long."""
    recovered: int
    further_steps: int | None
    """Steps from then on in which half of those recovered that did; None if none did."""

    @property
    def chance(self) -> float:
        """Share that recovered, shrunken towards a half as by one lapse that half recovered."""
        return (self.recovered + 0.5) / (self.lapses + 1)

    @property
    def sentence(self) -> str:
        """One sentence to show to people."""
        of = f"{counted(self.lapses, 'lapse')} of other trials that lasted as long"
        return f"Of {of} {self.recovered or 'none'} recovered."


def lapses(trials: Iterable[tuple[str, Trajectory, Thresholds]]) -> dict[str, list[Lapse]]:
    """Return trial id -> its lapses, oldest first, for the trials that have any.

    Args:
        trials: id, evaluated steps and thresholds of each trial.
    """
    known = {trial_id: _of_one(path, thresholds) for trial_id, path, thresholds in trials}
    return {trial_id: each for trial_id, each in known.items() if each}


def _of_one(path: Trajectory, thresholds: Thresholds) -> list[Lapse]:
    there = path.val_accuracy >= thresholds.grokked_at
    grokked = first_sustained(there, thresholds.sustained)
    if grokked is None:
        return []
    changes = np.flatnonzero(np.diff(there[grokked:])) + grokked + 1
    each = []
    # It begins at the threshold, so every other change is a fall.
    for lost, back in zip(changes[::2], [*changes[1::2], None], strict=False):
        until = int(path.step[-1 if back is None else back])
        lost_step = int(path.step[lost])
        each.append(Lapse(lost_step, None if back is None else until, until - lost_step))
    return each


def recovery(lapse: Lapse, others: Sequence[Lapse]) -> Recovery:
    """Count the lapses of other trials that lasted at least as long as one has, and those that recovered.

    Args:
        lapse: a lapse that has not recovered.
        others: lapses of other trials.
    """
    # One that was followed for exactly as long and has not recovered tells nothing.
    as_long = [
        one for one in others if (one.seen_steps, one.recovered_step is not None) > (lapse.seen_steps, False)
    ]
    back = sorted(one.seen_steps - lapse.seen_steps for one in as_long if one.recovered_step is not None)
    return Recovery(len(as_long), len(back), back[(len(back) - 1) // 2] if back else None)
