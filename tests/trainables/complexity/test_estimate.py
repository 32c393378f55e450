"""The estimate of the coded length, which candidates are ranked by."""

from __future__ import annotations

import numpy as np
import pytest

from trainables.complexity.codes import Code, Direct, Factors, Zeros
from trainables.complexity.entropy_coder import Encoder
from trainables.complexity.estimate import code_bits, estimated_bits, geometric_bits
from trainables.complexity.network_coder import code_network


def coded_bits(code: Code, shape: tuple[int, ...]) -> int:
    encoder = Encoder()
    code_network(encoder, {"w": shape}, {"w": code})
    return 8 * len(encoder.finish())


def gaussian(shape: tuple[int, ...], scale: float) -> np.ndarray:
    return np.rint(np.random.default_rng(0).normal(size=shape) * scale).astype(np.int32)


@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0, 1000.0])
def test_what_is_estimated_is_about_what_is_coded(scale: float) -> None:
    code = Direct(0, gaussian((60 * 90,), scale))
    assert code_bits(code) == pytest.approx(coded_bits(code, (60, 90)), rel=0.03)


def test_factors_are_estimated_with_their_exponents() -> None:
    exponents = np.array([7, 6, 6, 4, 4, 4], dtype=np.int32)
    scales = (2.0**exponents)[:, None]
    left, right = (np.rint(gaussian((6, n), 1000) / 1000 * scales / n**0.5).astype(np.int32) for n in (60, 90))
    code = Factors(0, left, right, exponents)
    assert code_bits(code) == pytest.approx(coded_bits(code, (60, 90)), rel=0.05)


def test_zeros_are_estimated_as_nothing() -> None:
    assert code_bits(Zeros()) == 0
    assert estimated_bits(np.zeros(500, dtype=np.int32)) == 0


def test_integers_none_of_which_occurs_twice() -> None:
    integers = np.array([2**30, -(2**29), 12345], dtype=np.int32)
    assert 3 * 25 < estimated_bits(integers) < 3 * 40


def test_geometric_bits() -> None:
    """A mean of one sign in every two integers: entropy of the distribution itself."""
    theta = 0.5
    magnitudes = np.arange(1, 60)
    share = (1 - theta) / (1 + theta)
    probabilities = share * theta**magnitudes
    entropy = -share * np.log2(share) - 2 * (probabilities * np.log2(probabilities)).sum()
    mean = 2 * (probabilities * magnitudes).sum()
    assert geometric_bits(float(mean)) == pytest.approx(entropy, rel=1e-9)
