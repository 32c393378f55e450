"""Checkpoints: an altered one is refused, and one without a checksum is read."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter

import pytest
import torch

from benchmarks.mutated_checkpoints import (
    MEASURING,
    checkpoint,
    mutated,
    outcome,
    trials,
    without_checksum,
)
from trainables.errors import CheckpointError
from trainables.lanes import LaneRun
from trainables.lanes.checkpoint import RunRecord, check_belongs, decode

DATA = checkpoint()


def test_a_bit_altered_anywhere_is_refused() -> None:
    for place in [*range(600), *range(600, len(DATA), 41), len(DATA) - 1]:
        altered = bytearray(DATA)
        altered[place] ^= 1 << place % 8
        with pytest.raises(CheckpointError):
            decode(bytes(altered))


def test_altered_checkpoints_raise_nothing_else() -> None:
    assert {outcome(altered) for _, altered in mutated(DATA, 24, seed=1)} == {"refused"}
    old = Counter(outcome(altered) for _, altered in mutated(without_checksum(DATA), 60, seed=1))
    assert old["refused"] > old["resumed"]


def test_a_checkpoint_of_before_resumes_alike() -> None:
    now, before = (
        LaneRun.restore(data, trials(), measuring=MEASURING).advance(1) for data in (DATA, without_checksum(DATA))
    )
    assert [(m.trial_id, m.step, m.train_loss) for m in now] == [(m.trial_id, m.step, m.train_loss) for m in before]


def impossible() -> list[tuple[str, RunRecord]]:
    """Records that no run of these trials has, with what is said of each."""
    record = decode(DATA)
    first, second = record.running
    row = first.history[-1]

    def changed(**values: object) -> RunRecord:
        return dataclasses.replace(record, running=[dataclasses.replace(first, **values), second])

    return [
        ("lanes must be", dataclasses.replace(record, lanes=0)),
        ("lanes must be", dataclasses.replace(record, lanes=True)),
        ("next_trial must lie in 0 to 3", dataclasses.replace(record, next_trial=4)),
        ("trials that have begun must lie in 0 to 0", dataclasses.replace(record, next_trial=1)),
        ("a trial must run once", changed(trial_index=1)),
        ("verdicts must be one of no, here,", dataclasses.replace(record, verdicts={"a": "yes"})),
        ("verdicts must be one of no, here,", dataclasses.replace(record, verdicts=["here"])),
        ("age must be whole blocks", changed(age=96)),
        ("age must be whole blocks", changed(age=33)),
        ("seconds must be finite", changed(train_wall_s=float("nan"))),
        ("the penalty must begin at step None", changed(penalised_from=3)),
        ("rows must be of", changed(history=[row, row])),
        ("a row's phase", changed(history=[dataclasses.replace(row, phase=1)])),
        ("val_accuracy must be a float", changed(history=[dataclasses.replace(row, val_accuracy="1")])),
        *(
            (
                "weights must be float32 of shape",
                dataclasses.replace(record, tensors={**record.tensors, "weights": tensor}),
            )
            for tensor in (record.tensors["weights"][:1], record.tensors["weights"].double(), torch.empty(0))
        ),
    ]


def test_values_that_no_run_can_have_are_named() -> None:
    asked = {"trials": trials(), "measuring": dataclasses.asdict(MEASURING)}
    parameters = decode(DATA).tensors["weights"].shape[1]
    check_belongs(decode(DATA), **asked, parameters=parameters)  # type: ignore[arg-type]
    for message, record in impossible():
        with pytest.raises(CheckpointError, match=message):
            check_belongs(record, **asked, parameters=parameters)  # type: ignore[arg-type]


def test_long_lists_are_not_shown_whole() -> None:
    record = decode(DATA)
    many = [trial for trial, _ in itertools.product(trials(), range(100))]
    with pytest.raises(CheckpointError, match=r"saved with: 3 of them, got 300; pass the same"):
        check_belongs(record, many, record.measuring, 1)
    with pytest.raises(CheckpointError, match=r"at place 0, got") as caught:
        check_belongs(record, trials()[::-1], record.measuring, 1)
    assert len(str(caught.value)) < 300
