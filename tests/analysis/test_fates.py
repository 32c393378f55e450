from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from analysis.fates import FATES, fates, kept_words, representative_trials, trial_subtitle
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


@pytest.mark.parametrize(
    ("lost", "ends", "words"),
    [
        ([False, False], [1.0, 1.0], ""),
        ([False, True], [1.0, 0.45], "1 of them kept it to the last evaluation, the other ended at a validation "
         "accuracy of 0.45"),
        ([True, True, False], [0.45, 0.98, 1.0], "1 of them kept it to the last evaluation, the other 2 ended at a "
         "validation accuracy of 0.45 to 0.98"),
        ([True, True], [0.45, 0.45], "none of them kept it to the last evaluation, they ended at a validation "
         "accuracy of 0.45"),
        ([True], [0.45], "none kept it to the last evaluation, it ended at a validation accuracy of 0.45"),
    ],
)  # fmt: skip
def test_how_many_kept_their_grok(lost: list[bool], ends: list[float], words: str) -> None:
    steps = [10.0] * len(lost)
    assert kept_words(pd.DataFrame({"grok_step": steps, "grok_lost": lost, "final_val_accuracy": ends})) == words


def test_the_trial_that_shows_a_grok_has_kept_it_and_a_lost_one_says_so() -> None:
    frame = pd.DataFrame(
        {
            "trial_id": ["a", "b", "c"],
            "last_step": [900.0] * 3,
            "memorisation_step": [10.0] * 3,
            "grok_step": [100.0, 200.0, 300.0],
            "ended_because": ["grokked"] * 3,
            "grok_lost": [False, True, False],
            "final_val_accuracy": [1.0, 0.45, 1.0],
        }
    )
    assert representative_trials(frame) == ["a"]  # of two the sooner; b has the median delay and lost its grok
    assert representative_trials(frame.assign(grok_lost=True)) == ["b"]
    assert trial_subtitle(frame.iloc[[1]], []) == "memorised at 10, grokked at 200, at 0.45 in the end"
    assert trial_subtitle(frame.iloc[[0]], []) == "memorised at 10, grokked at 100"
