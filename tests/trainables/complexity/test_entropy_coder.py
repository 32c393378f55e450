"""Symbols to bytes and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.complexity.entropy_coder import LARGEST_TOTAL, Decoder, Encoder
from trainables.errors import BitstreamError


@given(st.data())
def test_symbols_and_bits_come_back(data: st.DataObject) -> None:
    letters = data.draw(st.integers(2, 5))
    tables = np.array(
        data.draw(
            st.lists(st.lists(st.integers(1, 10**6), min_size=letters, max_size=letters), min_size=1, max_size=3)
        ),
        dtype=np.int64,
    )
    count = data.draw(st.integers(0, 30))
    rows = np.array(data.draw(st.lists(st.integers(0, len(tables) - 1), min_size=count, max_size=count)), dtype=int)
    symbols = np.array(data.draw(st.lists(st.integers(0, letters - 1), min_size=count, max_size=count)), np.int32)
    widths = np.array(data.draw(st.lists(st.integers(0, 31), max_size=9)), dtype=np.int32)
    values = np.array([data.draw(st.integers(0, 2 ** int(width) - 1)) for width in widths], dtype=np.int64)
    encoder = Encoder()
    encoder.symbols(symbols, tables, rows)
    encoder.bits(values, widths)
    encoder.symbols(symbols, tables, rows)
    decoder = Decoder(encoder.finish())
    assert decoder.symbols(None, tables, rows).tolist() == symbols.tolist()
    assert decoder.bits(None, widths).tolist() == values.tolist()
    assert decoder.symbols(None, tables, rows).tolist() == symbols.tolist()
    decoder.finish()


@pytest.mark.parametrize("total", [100, LARGEST_TOTAL - 1])
def test_the_length_is_what_the_probabilities_promise(total: int) -> None:
    generator = np.random.default_rng(0)
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    symbols = generator.choice(4, 20_000, p=shares).astype(np.int32)
    encoder = Encoder()
    encoder.symbols(symbols, (shares * total).astype(np.int64)[None, :], np.zeros(symbols.size, dtype=np.int64))
    assert 8 * len(encoder.finish()) == pytest.approx(-np.log2(shares[symbols]).sum(), rel=2e-3)


def test_nothing_takes_nothing() -> None:
    assert Encoder().finish() == b""
    Decoder(b"").finish()


def test_what_follows_the_end_is_refused() -> None:
    with pytest.raises(BitstreamError, match="end with the last tensor"):
        Decoder(b"\1").finish()
    with pytest.raises(BitstreamError, match="zero byte"):
        Decoder(b"\1\0")
