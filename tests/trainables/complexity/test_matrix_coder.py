"""Integer matrices: exact, and shorter where they have structure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.complexity.codes import LARGEST_INTEGER
from trainables.complexity.entropy_coder import Decoder, Encoder
from trainables.complexity.matrix_coder import MatrixCoder
from trainables.errors import BitstreamError


def coded(values: np.ndarray) -> bytes:
    """The stream of a matrix, once it is certain that it decodes to it."""
    encoder = Encoder()
    MatrixCoder(encoder).matrix(values, *values.shape)
    stream = encoder.finish()
    decoder = Decoder(stream)
    assert np.array_equal(MatrixCoder(decoder).matrix(None, *values.shape), values)
    decoder.finish()
    return stream


INTEGERS = st.sampled_from([1, 3, 40, 5000, LARGEST_INTEGER]).flatmap(lambda high: st.integers(-high, high))


@given(st.integers(1, 6), st.integers(1, 9), st.data())
def test_matrices_come_back(rows: int, columns: int, data: st.DataObject) -> None:
    size = rows * columns
    values = np.array(data.draw(st.lists(st.just(0) | INTEGERS, min_size=size, max_size=size)), dtype=np.int64)
    coded(values.reshape(rows, columns))


def test_every_matrix_of_a_network_comes_back() -> None:
    generator = np.random.default_rng(0)
    matrices = [
        rounded(generator.normal(size=shape) * size) for shape in ((1, 40), (30, 50), (3, 7)) for size in (0.2, 90)
    ]
    encoder = Encoder()
    coder = MatrixCoder(encoder)
    for values in matrices:
        coder.matrix(values, *values.shape)
    coder = MatrixCoder(Decoder(encoder.finish()))
    for values in matrices:
        assert np.array_equal(coder.matrix(None, *values.shape), values)


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(64, 200))


def entropy_bytes(values: np.ndarray) -> float:
    counts = np.unique(values, return_counts=True)[1]
    return float(-(counts * np.log2(counts / values.size)).sum()) / 8


def rounded(values: np.ndarray) -> np.ndarray:
    return np.rint(values).astype(np.int64)


def test_noise_costs_no_more_than_its_entropy(noise: np.ndarray) -> None:
    for scale in (0.3, 1, 4, 20):
        values = rounded(scale * noise)
        assert len(coded(values)) < 1.02 * entropy_bytes(values)


def test_rows_and_columns_of_their_own_size_save_bytes(noise: np.ndarray) -> None:
    by_row = rounded(noise * np.geomspace(0.2, 5, 64)[:, None])
    assert len(coded(by_row)) < 0.92 * entropy_bytes(by_row)
    by_column = rounded(noise * np.geomspace(0.2, 5, 200))
    assert len(coded(by_column)) < 0.95 * entropy_bytes(by_column)


def test_dead_rows_and_columns_cost_next_to_nothing(noise: np.ndarray) -> None:
    alone = rounded(noise)
    values = np.zeros((130, 400), dtype=np.int64)
    values[::3, 100:300] = alone[:44]
    assert len(coded(values)) < len(coded(alone[:44])) + 100


def test_vectors_of_one_sign_cost_no_sign(noise: np.ndarray) -> None:
    values = -(rounded(noise.reshape(1, -1)[:, :2000]) > 0).astype(np.int64)
    assert len(coded(values)) < 1.08 * entropy_bytes(values)


def test_integers_beyond_the_largest_are_refused() -> None:
    encoder = Encoder()
    MatrixCoder(encoder).matrix(np.full((2, 5), LARGEST_INTEGER + 1), 2, 5)
    with pytest.raises(BitstreamError, match="at most"):
        MatrixCoder(Decoder(encoder.finish())).matrix(None, 2, 5)
