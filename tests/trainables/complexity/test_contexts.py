"""Classes and tables: integers only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.complexity.codes import LARGEST_INTEGER
from trainables.complexity.contexts import CLASSES, ONE, Magnitudes, NumberTable, class_means, classes_of
from trainables.complexity.entropy_coder import Decoder, Encoder
from trainables.errors import BitstreamError


def test_class_means_are_half_octaves_and_lie_in_their_class() -> None:
    means = class_means()
    assert means[16] == ONE
    assert means.tolist() == pytest.approx([ONE * 2 ** (k / 2 - 8) for k in range(CLASSES)], rel=0.05)
    assert classes_of(means).tolist() == list(range(CLASSES))
    assert classes_of(np.array([0, 2**62])).tolist() == [0, CLASSES - 1]


@given(
    st.lists(
        st.tuples(
            st.integers(-LARGEST_INTEGER, LARGEST_INTEGER) | st.integers(-20, 20), st.integers(0, CLASSES - 1)
        ),
        max_size=40,
    )
)
def test_integers_come_back_whatever_was_expected(pairs: list[tuple[int, int]]) -> None:
    values = np.array([value for value, _ in pairs], dtype=np.int64)
    classes = np.array([expected for _, expected in pairs], dtype=np.int64)
    encoder, magnitudes = Encoder(), Magnitudes()
    for _ in range(2):
        magnitudes.code(encoder, values, classes, LARGEST_INTEGER)
        magnitudes.new_matrix()
    decoder, magnitudes = Decoder(encoder.finish()), Magnitudes()
    for _ in range(2):
        assert magnitudes.code(decoder, None, classes, LARGEST_INTEGER).tolist() == values.tolist()
        magnitudes.new_matrix()
    decoder.finish()


def test_long_lists_are_coded_in_blocks_and_counts_stay_bounded() -> None:
    values = np.random.default_rng(0).integers(-1, 2, 100_000)
    classes = np.full(values.size, 15)
    encoder = Encoder()
    Magnitudes().code(encoder, values, classes, 1)
    stream = encoder.finish()
    assert len(stream) < values.size * np.log2(3) / 8 * 1.06
    assert np.array_equal(Magnitudes().code(Decoder(stream), None, classes, 1), values)


def test_integers_beyond_the_largest_are_refused() -> None:
    encoder = Encoder()
    Magnitudes().code(encoder, np.array([101]), np.array([10]), 101)
    with pytest.raises(BitstreamError, match="at most 100"):
        Magnitudes().code(Decoder(encoder.finish()), None, np.array([10]), 100)


@given(st.lists(st.integers(-(2**30), 2**30), max_size=5))
def test_numbers_of_either_sign_come_back(values: list[int]) -> None:
    encoder, table = Encoder(), NumberTable(3)
    for value in values:
        table.code_signed(encoder, value)
    decoder, table = Decoder(encoder.finish()), NumberTable(3)
    assert [table.code_signed(decoder, None) for _ in values] == values
