"""Advice on networks that were compressed and behave otherwise."""

from __future__ import annotations

import pandas as pd

from analysis.compression.advice import COMPRESS_LESS, after_compression, less
from analysis.decide import ACTIONS
from tests.analysis.compression.entries import entry, flagged

PASSING = {"bound": "answers", "epsilon": 0.17, "stream_bytes": 2536}


def advice() -> pd.DataFrame:
    actions = ["compress", "compress", "continue", "compress"]
    return pd.DataFrame(
        {
            "trial_id": ["a", "b", "c", "d"],
            "action": pd.Categorical(actions, categories=list(ACTIONS)),
            "reason": ["Grokked."] * 4,
            "network_step": [100.0, 200.0, float("nan"), 400.0],
        }
    )


def test_the_network_that_changes_too_much_is_to_be_compressed_less() -> None:
    before = advice()
    after = after_compression(before, [flagged("a", 100, passing=PASSING), entry("b", 200)])
    assert after["action"].tolist() == [COMPRESS_LESS, "compress", "continue", "compress"]
    assert after["reason"][0] == (
        "Grokked. At epsilon 1 accuracy falls from 1.0000 to 0.6000, by more than 0.01. Compress less: epsilon "
        "0.17 with --bound answers stays within the limits, with 2,536 bytes."
    )
    assert after["reason"][1:].eq("Grokked.").all()
    pd.testing.assert_frame_equal(before, advice())  # it is not changed in place


def test_a_record_of_another_network_changes_nothing() -> None:
    """Another step of the trial, another trial, or one that is not to be compressed."""
    record = [flagged("a", 99), flagged("z", 100), flagged("c", 300)]
    pd.testing.assert_frame_equal(after_compression(advice(), record), advice())
    pd.testing.assert_frame_equal(after_compression(advice(), []), advice())


def test_where_no_bound_passes_the_weights_are_kept() -> None:
    assert less(flagged("a", 1)).endswith(
        "No smaller epsilon that was tried stays within the limits: keep the weights as they are."
    )
