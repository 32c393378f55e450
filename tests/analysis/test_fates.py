from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from analysis.fates import FATES, fates
from analysis.words import ENDINGS


def fate(grokked: bool, memorised: bool, because: str | None) -> str:
    """Decide case by case: the slow obvious version."""
    if grokked:
        return "grokked"
    if because is None:
        return ENDINGS["unfinished"]
    if because in ("diverged", "failed"):
        return ENDINGS[because]
    if because == "stopped":
        return "memorised, then stopped" if memorised else "not learned, then stopped"
    return "memorised only" if memorised else "never learned"


def test_every_combination_has_its_fate() -> None:
    endings = ["grokked", "budget", "stopped", "diverged", "failed", None]
    cases = list(itertools.product([False, True], [False, True], endings))
    frame = pd.DataFrame(
        {
            "grok_step": [7.0 if grokked else np.nan for grokked, _, _ in cases],
            "memorisation_step": [3.0 if memorised else np.nan for _, memorised, _ in cases],
            "ended_because": pd.Categorical([because for _, _, because in cases]),
        }
    )
    expected = tuple(fate(*case) for case in cases)
    assert fates(frame) == expected
    assert set(expected) == set(FATES)
    assert fates(frame.astype({"ended_because": object})) == expected
    assert fates(frame[:0]) == ()
