"""Recorded sweeps made up for tests."""

from __future__ import annotations

import math
from collections.abc import Iterable

from analysis.stopping.ledger import SIGNALS, RecordedSweep, RecordedTrial, Settings


def grokker(name: str, patience: float, *, weight_decay: float = 1.0, grok: float = 500.0) -> RecordedTrial:
    """Make a grokker that memorised at step 100 and has the same patience for every signal."""
    return RecordedTrial(name, Settings(weight_decay, 0.5, 0.0), 1000, 100.0, grok, (patience,) * len(SIGNALS))


def failure(name: str, *, weight_decay: float = 1.0, budget: int = 1000) -> RecordedTrial:
    """Make a trial that memorised at step 100 and did not grok."""
    return RecordedTrial(name, Settings(weight_decay, 0.5, 0.0), budget, 100.0, math.nan)


def recorded(name: str, patiences: Iterable[float], failures: int = 0) -> RecordedSweep:
    """Make a sweep of grokkers with these patiences, and of failures."""
    grokkers = [grokker(f"{name}{place}", patience) for place, patience in enumerate(patiences)]
    return RecordedSweep(name, (*grokkers, *(failure(f"{name}f{place}") for place in range(failures))))
