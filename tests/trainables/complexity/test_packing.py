"""Small integers as bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.complexity.packing import LARGEST_INTEGER, pack, packed_size, unpack
from trainables.errors import BitstreamError


@given(
    st.sampled_from([0, 1, 3, 8, 20, 127, 128, 40_000, LARGEST_INTEGER]).flatmap(
        lambda high: st.lists(st.integers(-high, high), max_size=40)
    )
)
def test_integers_come_back_at_the_announced_length(values: list[int]) -> None:
    integers = np.array(values, dtype=np.int32)
    form, packed = pack(integers)
    assert len(packed) == packed_size(len(values), form)
    assert unpack(packed, len(values), form).tolist() == values


@pytest.mark.parametrize(("largest", "per_byte"), [(1, 5), (2, 3), (3, 2), (7, 2), (8, 1)])
def test_small_alphabets_share_a_byte(largest: int, per_byte: int) -> None:
    form, packed = pack(np.array([largest, -largest] * 15, dtype=np.int32))
    assert len(packed) == packed_size(30, form) == 30 // per_byte


def test_integers_beyond_the_largest_are_refused() -> None:
    with pytest.raises(BitstreamError, match="magnitude"):
        unpack(b"\xff\xff\xff\xff", 1, 20)
