"""Tables of the six operations, and their splits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.config import TaskConfig
from trainables.errors import ConfigError
from trainables.tasks import build_task, split
from trainables.tasks.modular import OPERATIONS

MEANING = {
    "addition": lambda x, y, z: (x + y) - z,
    "subtraction": lambda x, y, z: (x - y) - z,
    "multiplication": lambda x, y, z: x * y - z,
    "division": lambda x, y, z: z * y - x,
    "square_sum": lambda x, y, z: x * x + y * y - z,
    "square_sum_product": lambda x, y, z: x * x + x * y + y * y - z,
}


@pytest.mark.parametrize("family", OPERATIONS)
@pytest.mark.parametrize("modulus", [2, 7, 12])
def test_every_row_is_a_true_statement(family: str, modulus: int) -> None:
    task = build_task(TaskConfig(family=family, modulus=modulus))
    x, operation, y, equals = task.inputs.unbind(1)
    assert torch.all(MEANING[family](x, y, task.targets) % modulus == 0)
    assert torch.all(operation == modulus)
    assert torch.all(equals == modulus + 1)
    assert (task.fixed_tokens[0], *task.fixed_tokens[1::2]) == (None, modulus, modulus + 1)
    assert task.classes == modulus
    assert task.vocabulary == modulus + 2
    assert int(task.targets.min()) >= 0
    assert int(task.targets.max()) < modulus
    assert len(set(map(tuple, task.inputs.tolist()))) == task.examples


def test_division_leaves_out_what_has_no_inverse() -> None:
    assert build_task(TaskConfig(family="division", modulus=7)).examples == 7 * 6
    divisors = build_task(TaskConfig(family="division", modulus=12)).inputs[:, 2].unique().tolist()
    assert divisors == [1, 5, 7, 11]


def test_an_unknown_family_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="addition"):
        build_task(TaskConfig(family="adition"))


@settings(max_examples=40)
@given(
    modulus=st.integers(5, 13),
    fraction=st.floats(0.1, 0.9),
    noise=st.floats(0, 0.9),
    seed=st.integers(0, 2**40),
)
def test_a_split_is_disjoint_complete_and_noisy_in_the_training_part_only(
    modulus: int, fraction: float, noise: float, seed: int
) -> None:
    task = build_task(TaskConfig(modulus=modulus))
    parts = split(task, fraction, noise, seed)
    assert sorted([*parts.train.tolist(), *parts.validation.tolist()]) == list(range(task.examples))
    assert len(parts.train) == round(fraction * task.examples)
    assert not parts.corrupted[parts.validation].any()
    assert int(parts.corrupted.sum()) == round(noise * len(parts.train))
    assert torch.equal(parts.targets != task.targets, parts.corrupted)
    assert int(parts.targets.max()) < task.classes


def test_training_sets_of_one_seed_are_nested_and_those_of_two_differ() -> None:
    task = build_task(TaskConfig(modulus=11))
    small, large, other = split(task, 0.2, 0, 4), split(task, 0.6, 0, 4), split(task, 0.2, 0, 5)
    assert set(small.train.tolist()) < set(large.train.tolist())
    assert set(small.train.tolist()) != set(other.train.tolist())


def test_noisy_labels_of_one_seed_are_the_same_wherever_they_occur() -> None:
    task = build_task(TaskConfig(modulus=11))
    small, large = split(task, 0.5, 0.1, 4), split(task, 0.5, 0.4, 4)
    assert torch.all(large.corrupted[small.corrupted])
    assert torch.equal(small.targets[small.corrupted], large.targets[small.corrupted])


@pytest.mark.parametrize("fraction", [1e-6, 1 - 1e-6])
def test_an_empty_part_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match="at least one example"):
        split(build_task(TaskConfig(modulus=5)), fraction, 0, 0)
