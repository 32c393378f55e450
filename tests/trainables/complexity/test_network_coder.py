"""The codes of a whole network."""

from __future__ import annotations

import numpy as np
import pytest

from trainables.complexity.codes import Code, Direct, Factors, Zeros
from trainables.complexity.entropy_coder import Decoder, Encoder
from trainables.complexity.network_coder import LARGEST_EXPONENT, LARGEST_STEP, code_network
from trainables.errors import BitstreamError


def integers(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def factors(*exponents: int, step: int = 0) -> Factors:
    ones = np.ones((len(exponents), 3), dtype=np.int32)
    return Factors(step, ones, ones, integers(*exponents))


def there_and_back(code: Code, shape: tuple[int, ...]) -> Code:
    encoder = Encoder()
    code_network(encoder, {"w": shape}, {"w": code})
    return code_network(Decoder(encoder.finish()), {"w": shape}, None)["w"]


@pytest.mark.parametrize("exponents", [(4,), (5, 5, 3), (-1, 30, 2)])
def test_factors_keep_their_exponents(exponents: tuple[int, ...]) -> None:
    found = there_and_back(factors(*exponents, step=-99), (3, 3))
    assert isinstance(found, Factors)
    assert found.step == -99
    assert found.exponents.tolist() == list(exponents)


def test_what_stands_for_nothing_but_zeros_is_coded_as_zeros() -> None:
    assert there_and_back(Direct(314, np.zeros(6, dtype=np.int32)), (6,)) == Zeros()


@pytest.mark.parametrize("step", [-LARGEST_STEP, LARGEST_STEP])
def test_the_largest_steps(step: int) -> None:
    found = there_and_back(Direct(step, integers(1, 2)), (2,))
    assert isinstance(found, Direct)
    assert found.step == step
    beyond = Direct(step + np.sign(step), integers(1, 2))
    with pytest.raises(BitstreamError, match="step of 'w'"):
        there_and_back(beyond, (2,))


def test_exponents_beyond_the_largest_are_refused() -> None:
    with pytest.raises(BitstreamError, match="exponents of 'w'"):
        there_and_back(factors(LARGEST_EXPONENT, -LARGEST_EXPONENT - 1), (3, 3))


def test_ranks_beyond_the_shape_are_refused() -> None:
    encoder = Encoder()
    code_network(encoder, {"w": (3, 3)}, {"w": factors(2, 2)})
    stream = encoder.finish()
    for shape in ((1, 9), (9,)):
        with pytest.raises(BitstreamError, match="rank 2"):
            code_network(Decoder(stream), {"w": shape}, None)


def test_a_network_without_anything_costs_nothing() -> None:
    encoder = Encoder()
    code_network(encoder, {"a": (4, 4), "b": (4,)}, {"a": Zeros(), "b": Zeros()})
    assert encoder.finish() == b""
