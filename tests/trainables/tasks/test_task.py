"""A task out of any arrays, and what is wrong with some."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from trainables import ConfigError, Task

X = torch.ones(4, 2)
Y = torch.tensor([0, 1, 2, 1])


def test_arrays_become_a_table_of_their_own() -> None:
    images, labels = np.zeros((6, 1, 8, 8)), np.array([0.0, 1.0, 2.0, 0.0, 1.0, 2.0])
    group = labels == 2
    task = Task.of(images, labels, name="images", grokked_at=0.9, group=group)
    images[:] = 7
    group[:] = False
    labels[:] = 7
    assert task.inputs.dtype == torch.float32
    assert bool((task.inputs == 0).all())
    assert task.targets.tolist() == [0, 1, 2, 0, 1, 2]
    assert task.group is not None
    assert task.group.tolist() == [False, False, True, False, False, True]
    assert (task.classes, task.vocabulary, task.examples, task.positions) == (3, None, 6, 64)
    assert (task.memorised_at, task.grokked_at, task.question) == (0.99, 0.9, None)


def test_tokens_keep_what_is_fixed() -> None:
    task = Task.of(np.array([[0, 5, 1], [2, 5, 1]]), [0, 1], vocabulary=6)
    assert task.inputs.dtype == torch.int64
    assert task.fixed_tokens == (None, 5, 1)
    assert task.question == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group": [True, False]}, r"group must be bool \[4\], true of its members, got torch.bool \[2\]"),
        ({"group": Y}, r"group must be bool \[4\], true of its members, got torch.int64 \[4\]"),
        ({"group": Y > 2}, "group must have members, got none; leave it out"),
        ({"targets": Y[:3]}, r"of the same examples, got inputs \[4, 2\] and targets \[3\]"),
        ({"targets": Y[:, None].repeat(1, 2)}, r"targets \[N\].*got inputs \[4, 2\] and targets \[4, 2\]"),
        ({"inputs": X[:, 0]}, r"inputs must be \[N, ...\]"),
        ({"inputs": X[:0], "targets": Y[:0], "classes": 2}, "there must be examples"),
        ({"inputs": X[:, :0]}, "there must be examples, and something in them"),
        ({"targets": Y - 1}, "targets must lie from 0 to 1, the 2 classes, got -1"),
        ({"classes": 2}, "targets must lie from 0 to 1, the 2 classes, got 2"),
        ({"targets": torch.arange(4), "classes": 2}, "got 2, 3"),
        ({"targets": Y * 0}, "classes must be at least 2, got 1"),
        ({"targets": Y + 0.5}, r"targets of tiny must be classes, whole numbers, got 0\.5"),
        ({"inputs": X / 0}, "inputs must be finite, got 8 values that are not; remove or replace them"),
        ({"inputs": X, "vocabulary": 1}, "inputs must lie from 0 to 0, the 1 tokens of the vocabulary, got 1"),
        ({"inputs": X[..., None], "vocabulary": 2}, r"token sequences must be \[N, T\], got \[4, 2, 1\]"),
        ({"grokked_at": 1.5}, r"grokked_at must lie in \(0, 1\], got 1.5"),
        ({"memorised_at": 0.0}, r"memorised_at must lie in \(0, 1\], got 0.0"),
    ],
)
def test_what_is_no_task_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Task.of(**({"inputs": X, "targets": Y, "name": "tiny"} | arguments))
    assert "tiny" in str(caught.value)
