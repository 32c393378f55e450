"""The estimate of the coded length, which candidates are ranked by."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainables.complexity.entropy_coder import Encoder
from trainables.complexity.matrix_coder import MatrixCoder
from trainables.complexity.rate import estimated_bits, expected_magnitudes, geometric_bits


def coded_bits(values: np.ndarray) -> int:
    encoder = Encoder()
    MatrixCoder(encoder).matrix(values.astype(np.int64), *values.shape)
    return 8 * len(encoder.finish())


def noise(scale: float, rows: int = 60, columns: int = 90) -> np.ndarray:
    return np.random.default_rng(0).laplace(size=(rows, columns)) * scale


def estimate(values: np.ndarray) -> float:
    return float(estimated_bits(torch.tensor(values, dtype=torch.float32)))


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0, 1000.0])
def test_what_is_estimated_is_about_what_is_coded(scale: float) -> None:
    values = np.rint(noise(scale))
    assert estimate(values) == pytest.approx(coded_bits(values), rel=0.05)
    by_row = np.rint(noise(scale) * np.geomspace(0.1, 10, 60)[:, None])
    assert estimate(by_row) == pytest.approx(coded_bits(by_row), rel=0.05)
    by_column = np.rint(noise(scale) * np.geomspace(0.1, 10, 90))
    assert estimate(by_column) == pytest.approx(coded_bits(by_column), rel=0.08)


def test_vectors_and_the_like_are_estimated() -> None:
    for rows in (1, 3):
        values = np.rint(noise(3.0, rows, 200))
        assert estimate(values) == pytest.approx(coded_bits(values), rel=0.1)


def test_zeros_are_estimated_as_next_to_nothing() -> None:
    assert estimate(np.zeros((60, 90))) < 30
    sparse = np.zeros((600, 900))
    sparse[:, 7] = 1
    assert estimate(sparse) < 5000


@pytest.mark.parametrize("theta", [0.01, 0.5, 0.95])
def test_geometric_bits_are_those_of_the_distribution_with_that_mean(theta: float) -> None:
    """P(q) = (1 - theta) / (1 + theta) theta^|q|."""
    magnitudes = np.arange(1, 2000)
    share = (1 - theta) / (1 + theta)
    mean = 2 * share * (magnitudes * theta**magnitudes).sum()
    zero, unit = geometric_bits(torch.tensor(mean, dtype=torch.float64))
    assert float(zero) == pytest.approx(-np.log2(share), rel=1e-6)
    assert float(unit) == pytest.approx(-np.log2(theta), rel=1e-6)


def test_magnitudes_are_expected_by_row_and_column() -> None:
    rows, columns = torch.tensor([1.0, 2.0, 6.0]), torch.linspace(1, 3, 1000)
    expected = expected_magnitudes(rows[:, None] * columns)
    torch.testing.assert_close(expected, rows[:, None] * columns, rtol=0.6, atol=0)
    wide = torch.cat([rows[:, None] * columns] * 30)
    torch.testing.assert_close(expected_magnitudes(wide), wide, rtol=0.05, atol=0)
    vector = torch.rand(1, 50)
    torch.testing.assert_close(expected_magnitudes(vector), (vector.mean() + 1e-4).expand(1, 50))
