"""Composition of permutations against the slow obvious way."""

from __future__ import annotations

from itertools import permutations
from math import factorial

import pytest
import torch

from trainables.config import TaskConfig
from trainables.errors import ConfigError
from trainables.tasks import build_task


@pytest.mark.parametrize("degree", [2, 3, 4, 5])
def test_every_pair_is_there_and_answered_by_the_left_after_the_right(degree: int) -> None:
    task = build_task(TaskConfig(family="permutations", degree=degree))
    elements = list(permutations(range(degree)))
    number = {element: rank for rank, element in enumerate(elements)}
    count = factorial(degree)
    expected = [
        ([a, count, b, count + 1], number[tuple(elements[a][elements[b][place]] for place in range(degree))])
        for a in range(count)
        for b in range(count)
    ]
    assert task.inputs.tolist() == [sequence for sequence, _ in expected]
    assert task.targets.tolist() == [answer for _, answer in expected]
    assert (task.classes, task.vocabulary, task.question) == (count, count + 2, count + 1)


def test_it_is_a_group_that_does_not_commute() -> None:
    table = build_task(TaskConfig(family="permutations", degree=4)).targets.view(24, 24)
    each = torch.arange(24)
    assert torch.equal(table[0], each)
    assert torch.equal(table[:, 0], each)
    assert all(torch.equal(line.sort().values, each) for line in [*table, *table.T])
    assert torch.equal(table[table], table[:, table])  # (a∘b)∘c is a∘(b∘c)
    assert not torch.equal(table, table.T)


def test_one_thing_has_no_permutations_to_tell_apart() -> None:
    with pytest.raises(ConfigError, match=r"^task\.degree must be at least 2, got 1$"):
        TaskConfig(family="permutations", degree=1)
