"""Self-contained files: they decode by themselves, and hostile ones are refused before they take memory."""

from __future__ import annotations

import json
import struct
import zlib
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainables.complexity.small import memorised, per_example_loss, same_bits
from trainables.complexity import is_self_contained, measure, pack, unpack
from trainables.complexity.container import MAGIC
from trainables.errors import BitstreamError


@cache
def file() -> bytes:
    (result,) = measure(memorised(), per_example_loss, [0.5])
    return pack(result.bitstream, memorised(), {"model": "an MLP"})


def with_header(header: Any, bitstream: bytes = b"") -> bytes:
    return with_packed_header(
        zlib.compress(header if isinstance(header, bytes) else json.dumps(header).encode()), bitstream
    )


def with_packed_header(packed: bytes, bitstream: bytes = b"") -> bytes:
    return MAGIC + struct.pack("<II", len(packed), zlib.crc32(packed)) + packed + bitstream


def listing(*tensors: Any) -> dict[str, Any]:
    return {"tensors": list(tensors), "about": {}}


def test_a_file_decodes_by_itself() -> None:
    (result,) = measure(memorised(), per_example_loss, [0.5])
    content = unpack(file())
    assert content.bitstream == result.bitstream
    assert content.about == {"model": "an MLP"}
    assert same_bits(content.decode(), result.decoded)
    assert is_self_contained(file())
    assert not is_self_contained(result.bitstream)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_files_of_other_dtypes_and_shapes(dtype: torch.dtype) -> None:
    network = {"a": torch.zeros(2, 3, 4, dtype=dtype), "b": torch.zeros((), dtype=dtype)}
    (result,) = measure(network, lambda tensors: torch.zeros(3), [1.0])
    assert same_bits(unpack(pack(result.bitstream, network)).decode(), network)


def test_the_header_is_small() -> None:
    (result,) = measure(memorised(), per_example_loss, [0.5])
    assert len(file()) - len(result.bitstream) < 200


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "begins with"),
        (b"\1" + b"x" * 30, "needs the network"),
        (MAGIC, "begins with"),
        (MAGIC + b"\xff\xff\xff\xff1234", "truncated"),
        (MAGIC + struct.pack("<II", 3, 7) + b"abc", "checksum does not match"),
        (with_packed_header(b"abc"), "cannot be read"),
        (with_header(b"[" * 100_000), "cannot be read"),
        (with_header(b"\xff{}"), "cannot be read"),
        (with_header(b"9" * 5000), "cannot be read"),
        (with_header({}), "must list tensors"),
        (with_header([]), "must list tensors"),
        (with_header(listing()), "must list tensors"),
        (with_header({"tensors": [["a", [1], "float32"]], "about": {"model": 3}}), "must be texts"),
        (with_header(listing("a")), "a name, a shape and a dtype"),
        (with_header(listing([1, [1], "float32"])), "one of the dtypes float16"),
        (with_header(listing(["a", [1], "int64"])), "one of the dtypes float16"),
        (with_header(listing(["a", [1], ["float32"]])), "one of the dtypes float16"),
        (with_header(listing(["a", 1, "float32"])), "a shape must be"),
        (with_header(listing(["a", [0], "float32"])), "a shape must be"),
        (with_header(listing(["a", [-1], "float32"])), "a shape must be"),
        (with_header(listing(["a", [True], "float32"])), "a shape must be"),
        (with_header(listing(["a", [1.5], "float32"])), "a shape must be"),
        (with_header(listing(["a", [1] * 17, "float32"])), "a shape must be"),
        (with_header(listing(["a", [2**40], "float32"])), "a shape must be"),
        (with_header(listing(["a", [2**27], "float32"])), "asks for more"),
        (with_header(listing(*([f"{k}", [2**24], "float64"] for k in range(9)))), "asks for more"),
        (with_header(listing(["a", [1], "float32"], ["a", [2], "float32"])), "got 'a' twice"),
    ],
)
def test_files_that_are_none(data: bytes, message: str) -> None:
    with pytest.raises(BitstreamError, match=message):
        unpack(data)


def test_headers_that_unfold_to_more_than_a_header_are_refused() -> None:
    with pytest.raises(BitstreamError, match="does not end where it should"):
        unpack(with_header(b" " * (2**24 + 1)))


def test_larger_networks_are_for_those_who_ask() -> None:
    data = with_header(listing(["a", [100], "float32"]))
    assert unpack(data, largest_bytes=400).like["a"].shape == (100,)
    with pytest.raises(BitstreamError, match="may take 399 bytes"):
        unpack(data, largest_bytes=399)


def test_what_a_file_is_like_takes_no_memory() -> None:
    like = unpack(with_header(listing(["a", [2**13, 2**13], "float32"]))).like["a"]
    assert like.shape == (2**13, 2**13)
    assert like.untyped_storage().nbytes() == 4


@given(st.data())
@settings(max_examples=200)
def test_altered_and_truncated_files_are_refused(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(file()) - 1))
    altered = bytearray(file())
    altered[at] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(altered), file()[:at], file() + b"\0"):
        with pytest.raises(BitstreamError):
            unpack(damaged).decode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("float32"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["tensors", "about"]), inner),
    max_leaves=20,
)


@given(JSON)
@settings(max_examples=200)
def test_headers_of_any_content_are_read_or_refused(header: Any) -> None:
    try:
        unpack(with_header(header, b"x" * 9)).decode()
    except BitstreamError:
        return
    raise AssertionError("nine bytes that are no bitstream were decoded")
