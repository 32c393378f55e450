"""Equal values have equal digests and different ones different digests, whatever they are and wherever they are."""

from __future__ import annotations

import collections
import copy
import dataclasses
import enum
import functools
import math
import random
import threading
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from trainables.config.source import source_digest
from trainables.errors import ConfigError


def of(value: Any) -> str:
    """Digest of a function that uses a value."""
    return source_digest(lambda: value)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass
class Settings:
    width: int
    layers: tuple[str, ...] = ()


ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.complex_numbers(), st.text(), st.binary(),
    st.sampled_from(Colour),
)  # fmt: skip
KEYS = st.one_of(st.integers(), st.text(), st.booleans())
VALUES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
        st.frozensets(KEYS, max_size=4),
        st.sets(KEYS, max_size=4),
        st.builds(Settings, st.integers(), st.tuples(st.text())),
        inner.map(lambda value: functools.partial(max, value)),
        st.lists(st.integers(-9, 9), max_size=4).map(np.array),
        st.lists(st.floats(), max_size=4).map(lambda numbers: torch.tensor(numbers, dtype=torch.float64)),
    ),
    max_leaves=8,
)


def written(value: Any) -> Any:
    """An independent notation of a value, without what does not count: the order of sets, which NaN."""
    if isinstance(value, Colour):
        return repr(value)
    if isinstance(value, float):
        return "float", "nan" if math.isnan(value) else value.hex()
    if isinstance(value, complex):
        return "complex", written(value.real), written(value.imag)
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [written(item) for item in value]
    if isinstance(value, dict):
        return "dict", [(written(key), written(item)) for key, item in value.items()]
    if isinstance(value, (set, frozenset)):
        return type(value).__name__, sorted(repr(written(item)) for item in value)
    if isinstance(value, Settings):
        return "Settings", value.width, value.layers
    if isinstance(value, functools.partial):
        return "partial", written(list(value.args))
    if isinstance(value, np.ndarray):
        return "array", str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, torch.Tensor):
        return "tensor", tuple(value.shape), value.numpy().tobytes()
    return type(value).__name__, value


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_a_copy_has_the_same_digest(value: Any) -> None:
    assert of(value) == of(copy.deepcopy(value))


@settings(max_examples=150, deadline=None)
@given(VALUES, VALUES)
def test_digests_are_equal_where_values_are(one: Any, other: Any) -> None:
    assert (of(one) == of(other)) == (repr(written(one)) == repr(written(other)))


def test_what_python_calls_equal_but_acts_otherwise_differs() -> None:
    values: list[Any] = [
        0, 0.0, -0.0, False, None, "", b"", bytearray(), (), [], {}, set(), frozenset(), 0j, "0", b"0", [()], [[]],
        np.zeros(1), np.zeros(1, np.float32), np.zeros((1, 1)), np.float64(0), torch.zeros(1), torch.zeros(1, 1),
        torch.nn.Parameter(torch.zeros(1)), torch.float32, torch.device("cpu"), collections.OrderedDict(),
        {"a": 1, "b": 2}, {"b": 2, "a": 1}, {1: 2}, {1: 2.0}, range(3), slice(3), Colour.RED, Colour, Settings(0),
    ]  # fmt: skip
    digests = [of(value) for value in values]
    assert len(set(digests)) == len(values)


def test_circles_and_shared_objects_are_what_they_hold() -> None:
    once, twice = [1], [1]
    assert of([once, once]) == of([once, twice])

    def circle(length: int, last: int) -> list[Any]:
        nodes: list[list[Any]] = [[0] for _ in range(length)]
        for node, following in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
            node.append(following)
        nodes[-1][0] = last
        return nodes[0]

    assert of(circle(3, 1)) == of(circle(3, 1))
    assert len({of(circle(3, 1)), of(circle(3, 2)), of(circle(4, 1)), of(circle(1, 1))}) == 4


def even(n: int) -> bool:
    return n == 0 or odd(n - 1)


def odd(n: int) -> bool:
    return n != 0 and even(n - 1)


def test_functions_that_use_each_other() -> None:
    assert source_digest(even) != source_digest(odd)
    assert source_digest(even) == source_digest(even)


def test_a_large_array_counts_to_its_last_number() -> None:
    numbers = np.zeros(2_000_000)
    before = of(numbers)
    numbers[-1] = 1e-300
    assert of(numbers) != before
    assert of(numbers.reshape(-1, 2)[::-1]) == of(numbers.reshape(-1, 2)[::-1].copy())


def used_up() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (threading.Lock, "a _thread.lock, which has no content"),
        (used_up, "a generator, which changes as it is read"),
        (lambda: open("/dev/null"), "a _io.TextIOWrapper, which changes as it is read"),  # noqa: SIM115
        (lambda: iter([1]), "a list_iterator, which changes as it is read"),
        (lambda: np.random.default_rng(0), "whose state changes as it is used"),
        (lambda: random.Random(0), "a random.Random, whose state changes as it is used"),
        (torch.Generator, "a torch._C.Generator, whose state changes as it is used"),
        (lambda: eval, "a function that looks names up as it runs"),
    ],
)
def test_what_has_no_content_is_refused_by_name(make: Callable[[], Any], said: str) -> None:
    held = {"inside": [make()]}
    with pytest.raises(ConfigError) as error:
        source_digest(lambda: held)
    assert "it uses [0] (in " in str(error.value)
    assert "> held > ['inside'])" in str(error.value)
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1
