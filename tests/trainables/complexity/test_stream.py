"""The codec: exact, narrow, and unimpressed by damage."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.trainables.complexity.drawn import DTYPES, coded_networks
from tests.trainables.complexity.small import memorised, per_example_loss, same_bits
from trainables.complexity import decode, measure
from trainables.complexity.codes import Code, Direct, Factors, Rotation, Transform, is_exact
from trainables.complexity.network import signature
from trainables.complexity.pieces import Piece, pieces, take
from trainables.complexity.stream import EXTENDED, LOSSLESS, ROUNDED, encode, encode_lossless, rebuilt
from trainables.errors import BitstreamError

Network = tuple[dict[str, Tensor], dict[Piece, Code]]


@given(
    coded_networks().map(lambda network: (network, False)) | coded_networks(extended=True).map(lambda n: (n, True))
)
@settings(max_examples=150)
def test_what_is_encoded_is_decoded(drawn: tuple[Network, bool]) -> None:
    (like, codes), extended = drawn
    assume(all(is_exact(code) for code in codes.values()))
    stream, bytes_by_tensor = encode(codes, like, extended=extended)
    assert stream[0] == (EXTENDED if extended else ROUNDED)
    decoded = decode(stream, like)
    assert same_bits(decoded, rebuilt(codes, like))
    assert list(decoded) == list(like)
    assert sum(bytes_by_tensor.values()) == pytest.approx(len(stream))


@given(st.data(), DTYPES)
@settings(max_examples=60)
def test_lossless_keeps_every_bit(data: st.DataObject, dtype: torch.dtype) -> None:
    size = torch.empty((), dtype=dtype).element_size()
    raw = data.draw(st.binary(min_size=6 * size, max_size=6 * size))
    network = {"w": torch.frombuffer(bytearray(raw), dtype=dtype).reshape(3, 2)}
    stream, bytes_by_tensor = encode_lossless(network)
    assert same_bits(decode(stream, {"w": torch.zeros(3, 2, dtype=dtype)}), network)
    assert bytes_by_tensor == {"w": len(stream)}


@cache
def streams() -> tuple[bytes, bytes]:
    (result,) = measure(memorised(), per_example_loss, [0.5])
    return result.bitstream, encode_lossless(memorised())[0]


@given(st.deferred(lambda: st.sampled_from(streams())), st.data())
@settings(max_examples=300)
def test_altered_and_truncated_bytes_are_refused(stream: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(stream) - 1))
    altered = bytearray(stream)
    altered[at] ^= data.draw(st.integers(1, 255))
    for damaged in (bytes(altered), stream[:at], stream + b"\0", stream[at + 1 :]):
        with pytest.raises(BitstreamError):
            decode(damaged, memorised())


@given(st.binary(max_size=300))
@settings(max_examples=300)
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


@given(st.sampled_from([ROUNDED, LOSSLESS, EXTENDED]), st.binary(max_size=300))
@settings(max_examples=300)
def test_random_bytes_with_a_right_checksum_never_crash(kind: int, noise: bytes) -> None:
    decodes_or_refuses(sealed(bytes([kind]) + noise))


@given(st.deferred(lambda: st.sampled_from(streams())), st.data())
@settings(max_examples=300)
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


def test_rebuilt_pieces_lie_where_they_were_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.complexity.pieces.LONGEST_SIDE", 4)
    values = torch.randint(-9, 9, (11, 2, 3), generator=torch.Generator().manual_seed(0))
    like = {"w": torch.full((11, 2, 3), float("nan"))}
    cut = pieces({"w": (11, 2, 3)})
    codes: dict[Piece, Code] = {piece: Direct(0, take(values[None], piece)[0].int().numpy()) for piece in cut}
    assert len(codes) == 6
    assert torch.equal(decode(encode(codes, like)[0], like)["w"], values.float())


_DECODE = """
import sys, hashlib, torch
from trainables.complexity import decode
torch.set_num_threads(int(sys.argv[1]))
shapes = {"direct": (60, 90), "factors": (90, 60), "rotated": (60, 60), "vector": (90,)}
like = {name: torch.full(shape, float("nan")) for name, shape in shapes.items()}
decoded = decode(sys.stdin.buffer.read(), like)
print(hashlib.sha256(b"".join(decoded[name].numpy().tobytes() for name in shapes)).hexdigest())
"""


def test_fresh_processes_decode_to_the_same_bits() -> None:
    """With other numbers of threads, and without the vector instructions of this machine."""
    generator = np.random.default_rng(0)
    shapes = {"direct": (60, 90), "factors": (90, 60), "rotated": (60, 60), "vector": (90,)}
    like = {name: torch.empty(shape) for name, shape in shapes.items()}
    direct, factors, rotated, vector = pieces({name: tuple(tensor.shape) for name, tensor in like.items()})
    left, right = (generator.integers(-900, 900, (20, n)).astype(np.int32) for n in (60, 90))
    integers = generator.integers(-4000, 4000, (60, 90)).astype(np.int32)
    codes: dict[Piece, Code] = {
        direct: Direct(-501, integers, generator.integers(-4, 9, 60).astype(np.int32), Transform(2, 89)),
        factors: Factors(-1077, left, right, Transform(1, 58), (Rotation(2, 0, 2),)),
        rotated: Direct(-600, integers[:, :60], rotations=(Rotation(1, 1, 1), Rotation(2, 0, 1))),
        vector: Direct(-333, integers[:1], mean=0.375),
    }
    stream, _ = encode(codes, like, extended=True)
    answers = {
        subprocess.run(
            [sys.executable, "-c", _DECODE, threads],
            input=stream,
            env={
                "OMP_NUM_THREADS": threads,
                "ATEN_CPU_CAPABILITY": capability,
                "OPENBLAS_CORETYPE": core,
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            capture_output=True,
            check=True,
        ).stdout
        for threads, capability, core in (("1", "default", "Prescott"), ("2", "avx2", "Haswell"))
    }
    assert len(answers) == 1
    decoded = decode(stream, like)
    expected = hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in decoded.values())).hexdigest()
    assert answers == {f"{expected}\n".encode()}
