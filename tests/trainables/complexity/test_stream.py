"""The codec: exact, narrow, and unimpressed by damage."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.trainables.complexity.small import memorised, per_example_loss, same_bits
from trainables.complexity import decode, measure
from trainables.complexity.codes import Code, Direct, Factors, Zeros, reconstruct
from trainables.complexity.network import signature
from trainables.complexity.stream import LOSSLESS, ROUNDED, encode, encode_lossless
from trainables.errors import BitstreamError

DTYPES = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])
Network = tuple[dict[str, Tensor], dict[str, Code]]


def small_integers(count: int) -> st.SearchStrategy[np.ndarray]:
    """Lists from every form of packing: constant, few digits, one byte, several."""
    bound = st.sampled_from([0, 1, 2, 7, 100, 1000, 2**17, 2**25])
    return bound.flatmap(lambda high: st.lists(st.integers(-high, high), min_size=count, max_size=count)).map(
        lambda values: np.array(values, dtype=np.int32)
    )


@st.composite
def coded_networks(draw: st.DrawFn) -> Network:
    like: dict[str, Tensor] = {}
    codes: dict[str, Code] = {}
    for index in range(draw(st.integers(1, 3))):
        shape = tuple(draw(st.lists(st.integers(1, 4), max_size=3)))
        name = draw(st.sampled_from(["a", "z/kernel", "é"])) + str(index)
        like[name] = torch.empty(shape, dtype=draw(DTYPES))
        size = like[name].numel()
        kind = draw(st.sampled_from(["zeros", "direct", "factors"] if len(shape) > 1 else ["zeros", "direct"]))
        step = draw(st.integers(-200, 50))
        if kind == "zeros":
            codes[name] = Zeros()
        elif kind == "direct":
            codes[name] = Direct(step, draw(small_integers(size)))
        else:
            rows, columns = shape[0], size // shape[0]
            rank = draw(st.integers(1, min(rows, columns)))
            left = draw(small_integers(rank * rows)) // 2**10
            right = draw(small_integers(rank * columns)) // 2**10
            exponents = np.array(draw(st.lists(st.integers(-1, 8), min_size=rank, max_size=rank)), dtype=np.int32)
            codes[name] = Factors(step, left.reshape(rank, rows), right.reshape(rank, columns), exponents)
    return like, codes


@given(coded_networks())
@settings(max_examples=150, deadline=None)
def test_what_is_encoded_is_decoded(network: Network) -> None:
    like, codes = network
    for tensor in like.values():
        tensor.fill_(float("nan"))
    decoded = decode(encode(codes, like), like)
    assert same_bits(decoded, {name: reconstruct(codes[name], tensor) for name, tensor in like.items()})


@given(st.data(), DTYPES)
@settings(max_examples=60, deadline=None)
def test_lossless_keeps_every_bit(data: st.DataObject, dtype: torch.dtype) -> None:
    size = torch.empty((), dtype=dtype).element_size()
    raw = data.draw(st.binary(min_size=6 * size, max_size=6 * size))
    network = {"w": torch.frombuffer(bytearray(raw), dtype=dtype).reshape(3, 2)}
    assert same_bits(decode(encode_lossless(network), {"w": torch.zeros(3, 2, dtype=dtype)}), network)


@cache
def streams() -> tuple[bytes, bytes]:
    (result,) = measure(memorised(), per_example_loss, [0.5])
    return result.bitstream, encode_lossless(memorised())


@given(st.deferred(lambda: st.sampled_from(streams())), st.data())
@settings(max_examples=300, deadline=None)
def test_altered_and_truncated_bytes_are_refused(stream: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(stream) - 1))
    altered = bytearray(stream)
    altered[at] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(altered), stream[:at], stream + b"\0", stream[at + 1 :]):
        with pytest.raises(BitstreamError):
            decode(damaged, memorised())


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_refused(noise: bytes) -> None:
    with pytest.raises(BitstreamError):
        decode(noise, memorised())


def sealed(content: bytes) -> bytes:
    """Content with the right checksum, so that what lies behind the checksum is put to the test."""
    return content + struct.pack("<I", zlib.crc32(content, zlib.crc32(signature(memorised()))))


def decodes_or_refuses(stream: bytes) -> None:
    try:
        decoded = decode(stream, memorised())
    except BitstreamError:
        return
    assert {name: tensor.shape for name, tensor in decoded.items()} == {
        name: tensor.shape for name, tensor in memorised().items()
    }


@given(st.sampled_from([ROUNDED, LOSSLESS]), st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_random_bytes_with_a_right_checksum_never_crash(kind: int, noise: bytes) -> None:
    decodes_or_refuses(sealed(bytes([kind]) + noise))


@given(st.deferred(lambda: st.sampled_from(streams())), st.data())
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("error")
def test_altered_bytes_with_a_right_checksum_never_crash(stream: bytes, data: st.DataObject) -> None:
    altered = bytearray(stream[:-4])
    for _ in range(data.draw(st.integers(1, 3))):
        # Mostly the header: most of what can go wrong is there.
        altered[data.draw(st.integers(0, 40) | st.integers(0, len(altered) - 1))] = data.draw(st.integers(0, 255))
    decodes_or_refuses(sealed(bytes(altered)))


def renamed(network: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.replace("gain", "loss"): tensor for name, tensor in network.items()}


def reshaped(network: dict[str, Tensor]) -> dict[str, Tensor]:
    return network | {"first/bias": network["first/bias"].reshape(2, -1)}


def retyped(network: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.half() for name, tensor in network.items()}


@pytest.mark.parametrize("other", [renamed, reshaped, retyped])
def test_a_stream_belongs_to_its_tensors(other: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    with pytest.raises(BitstreamError, match="names, shapes or dtypes"):
        decode(streams()[0], other(memorised()))


def test_factors_whose_product_would_round_are_refused() -> None:
    like = {"w": torch.zeros(2, 2)}
    large = np.full((1, 2), 2**29, dtype=np.int32)
    with pytest.raises(BitstreamError, match="exact product"):
        decode(encode({"w": Factors(0, large, large, np.zeros(1, dtype=np.int32))}, like), like)
