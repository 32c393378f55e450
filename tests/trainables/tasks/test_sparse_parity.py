"""Parity of a few among many bits: the bits that count, the draw, the classes."""

from __future__ import annotations

import pytest
import torch

from trainables.config import TaskConfig
from trainables.errors import ConfigError
from trainables.tasks import build_task
from trainables.tasks.sparse_parity import DEFAULT_EXAMPLES, relevant_bits


def parity(**settings: int) -> TaskConfig:
    return TaskConfig(family="sparse_parity", **settings)


@pytest.mark.parametrize(("bits", "relevant", "examples"), [(40, 3, 500), (12, 5, 300), (6, 1, 40), (64, 64, 50)])
def test_a_class_is_the_parity_of_the_relevant_ones_and_no_string_comes_twice(
    bits: int, relevant: int, examples: int
) -> None:
    config = parity(bits=bits, relevant_bits=relevant, examples=examples)
    task = build_task(config)
    counted = relevant_bits(config).tolist()
    assert len(set(counted)) == relevant
    for string, answer in zip(task.inputs.tolist(), task.targets.tolist(), strict=True):
        assert set(string) <= {-1.0, 1.0}
        assert answer == sum(string[place] == 1 for place in counted) % 2
    assert task.inputs.shape == (examples, bits)
    assert task.inputs.unique(dim=0).shape == (examples, bits)
    assert (task.classes, task.vocabulary) == (2, None)


def test_few_bits_give_all_their_strings_once() -> None:
    task = build_task(parity(bits=6, relevant_bits=2))
    assert task.inputs.unique(dim=0).shape == (64, 6)
    assert task.examples == 64
    assert int(task.targets.sum()) == 32


def test_many_bits_give_the_default_number_of_strings_evenly() -> None:
    task = build_task(parity())
    assert task.examples == DEFAULT_EXAMPLES
    # Five standard deviations of a share of fair coins.
    assert float(task.inputs.mean(0).abs().max()) < 5 / DEFAULT_EXAMPLES**0.5
    assert abs(float(task.targets.double().mean()) - 0.5) < 2.5 / DEFAULT_EXAMPLES**0.5


def test_smaller_tables_begin_larger_ones_and_fewer_relevant_bits_are_among_more() -> None:
    small, large = (build_task(parity(examples=examples)) for examples in (100, 200))
    assert torch.equal(small.inputs, large.inputs[:100])
    assert set(relevant_bits(parity(relevant_bits=3)).tolist()) < set(
        relevant_bits(parity(relevant_bits=4)).tolist()
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 0}, "task.bits must be at least 1, got 0"),
        ({"bits": 4, "relevant_bits": 5}, "task.relevant_bits must lie from 1 to task.bits, 4, got 5"),
        ({"relevant_bits": 0}, "task.relevant_bits must lie from 1 to task.bits, 40, got 0"),
        ({"examples": 1}, "task.examples must be at least 2, one to train on and one to validate, got 1"),
    ],
)
def test_impossible_settings_are_named(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parity(**settings)
    assert str(caught.value) == message
