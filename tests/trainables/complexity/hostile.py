"""Bytes made to hurt a decoder, for the tests and for the fuzzer (tests/fuzz/decoder.py)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from trainables.complexity import decode, pack, unpack
from trainables.complexity.codes import Code, Direct, Factors, Rotation
from trainables.complexity.container import MAGIC
from trainables.complexity.network import signature
from trainables.complexity.pieces import Piece, pieces
from trainables.complexity.stream import encode
from trainables.errors import BitstreamError

#: What is decoded for: every rank and dtype, one column, one row, many zeros.
LIKES: tuple[dict[str, Tensor], ...] = (
    {"w": torch.zeros(3, 4), "b": torch.zeros(5), "gain": torch.zeros(())},
    {"c": torch.zeros(4, 2, 3, dtype=torch.float16), "v": torch.zeros(1, 7, dtype=torch.bfloat16)},
    {"m": torch.zeros(17, 9, dtype=torch.float64), "n": torch.zeros(9, 1), "o": torch.zeros(9, 9)},
    {"long": torch.zeros(700)},
    {"wide": torch.zeros(40, 60), "tall": torch.zeros(90, 20), "bias": torch.zeros(20)},
    {"one": torch.zeros(20, 30), "two": torch.zeros(30, 20), "three": torch.zeros(20, 20, dtype=torch.float16)},
)


def rotated_stream() -> bytes:
    """A stream for the last of these, its pieces in the bases of those before them."""
    generator = np.random.default_rng(0)
    first, second, third = pieces({name: tuple(tensor.shape) for name, tensor in LIKES[-1].items()})
    one, three, two = (
        generator.integers(-3, 4, (piece.rows, piece.columns)).astype(np.int32) for piece in (first, second, third)
    )
    codes: dict[Piece, Code] = {
        first: Direct(-500, one, np.arange(20, dtype=np.int32) % 4),
        second: Direct(-500, three, rotations=(Rotation(1, 0, 1), Rotation(2, 0, 1))),
        third: Factors(-500, two[:2, :20], two[2:4], rotations=(Rotation(1, 1, 2), Rotation(2, 0, 2))),
    }
    return encode(codes, LIKES[-1], extended=True)[0]


def sealed(content: bytes, like: Mapping[str, Tensor]) -> bytes:
    """Content with the right checksum, so that what lies behind the checksum is put to the test."""
    return content + struct.pack("<I", zlib.crc32(content, zlib.crc32(signature(like))))


def file_with_header(header: bytes, rest: bytes) -> bytes:
    """A self-contained file with this JSON as its header, right or wrong."""
    packed = zlib.compress(header)
    return MAGIC + struct.pack("<II", len(packed), zlib.crc32(packed)) + packed + rest


def decode_or_refuse(data: bytes) -> bool:
    """Feed bytes to every reader there is; whether they were decoded.

    The first byte says for which tensors and through which door; anything but a decoded network of the right
    shapes or a `BitstreamError` comes out as another exception.
    """
    if not data:
        return False
    like = LIKES[data[0] % len(LIKES)]
    door, content = data[0] // len(LIKES) % 5, data[1:]
    try:
        if door == 0:
            decoded = decode(content, like)
        elif door in (1, 2):  # twice: this is where most can go wrong
            decoded = decode(sealed(content, like), like)
        elif door == 3:
            decoded = unpack(pack(sealed(content, like), like)).decode()
        else:
            header, _, rest = content.partition(b"\0")
            file = unpack(file_with_header(header, rest), largest_bytes=2**20)
            like = file.like
            decoded = file.decode()
    except BitstreamError:
        return False
    described = {name: (tensor.shape, tensor.dtype) for name, tensor in like.items()}
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in decoded.items()} == described
    return True
