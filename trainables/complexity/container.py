"""Self-contained files: a bitstream behind a header that names its tensors, their shapes and dtypes.

    magic        8 bytes   b"GROKNET1"
    length       4 bytes   of the packed header, little-endian
    checksum     4 bytes   CRC32 of the packed header
    header       zlib over JSON: {"tensors": [[name, shape, dtype], ...], "about": {key: text}}
    bitstream    the rest, as `measure` gave it; its checksum binds the header's tensors

Reading allocates nothing that the header asks for until all of it has been checked against bounds.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainables.complexity.network import DTYPES, Network, tensors
from trainables.complexity.stream import decode
from trainables.errors import BitstreamError

MAGIC = b"GROKNET1"

#: Weights of a file, in bytes, unless the caller allows more: streams of zeros cost nothing, memory does.
LARGEST_DECODED_BYTES = 2**28

_LENGTH_AND_CHECKSUM = struct.Struct("<II")
_LARGEST_HEADER = 2**24
_LARGEST_DIMENSIONS = 16
_DTYPE_NAMES = {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES}


@dataclass(frozen=True, slots=True)
class SelfContained:
    """The content of a self-contained file."""

    bitstream: bytes
    like: dict[str, Tensor]
    """Names, shapes and dtypes; the values mean nothing and take no memory."""
    about: dict[str, str]
    """Other texts that the file keeps about the network."""

    def decode(self) -> dict[str, Tensor]:
        """Decode the network.

        Raises:
            BitstreamError: the bytes are truncated or altered.
        """
        return decode(self.bitstream, self.like)


def is_self_contained(data: bytes) -> bool:
    """Check whether bytes begin like a self-contained file."""
    return data.startswith(MAGIC)


def pack(bitstream: bytes, like: Network, about: Mapping[str, str] | None = None) -> bytes:
    """Pack a bitstream into a file that can be decoded without anything else.

    Args:
        bitstream: what `measure` gave.
        like: the network it was measured of; only names, shapes and dtypes are used.
        about: texts to keep beside it, such as the architecture.
    """
    described = [
        [name, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")]
        for name, tensor in tensors(like).items()
    ]
    text = json.dumps({"tensors": described, "about": dict(about or {})}, separators=(",", ":"))
    header = zlib.compress(text.encode(), 9)
    return MAGIC + _LENGTH_AND_CHECKSUM.pack(len(header), zlib.crc32(header)) + header + bitstream


def unpack(data: bytes, *, largest_bytes: int = LARGEST_DECODED_BYTES) -> SelfContained:
    """Read a self-contained file.

    Args:
        data: its bytes.
        largest_bytes: how many bytes of weights it may ask for.

    Raises:
        BitstreamError: not such a file, damaged, or larger than allowed when decoded.
    """
    start = len(MAGIC) + _LENGTH_AND_CHECKSUM.size
    if not is_self_contained(data) or len(data) < start:
        raise BitstreamError(
            f"a self-contained file begins with {MAGIC!r}, got {data[: len(MAGIC)]!r}; a bitstream alone needs "
            "the network it belongs to"
        )
    length, checksum = _LENGTH_AND_CHECKSUM.unpack_from(data, len(MAGIC))
    if length > len(data) - start:
        raise BitstreamError(f"the header must be {length} bytes, got {len(data) - start}; the file is truncated")
    header = data[start : start + length]
    if zlib.crc32(header) != checksum:
        raise BitstreamError("the header's checksum does not match; the file is altered")
    described, about = _header(header)
    like = {}
    total = 0
    for entry in described:
        name, shape, dtype = _entry(entry)
        if name in like:
            raise BitstreamError(f"names must differ, got {name!r} twice; the file is damaged")
        total += math.prod(shape) * dtype.itemsize
        if total > largest_bytes:
            raise BitstreamError(
                f"the weights may take {largest_bytes} bytes, the file asks for more; if it is to be trusted, "
                "allow more with largest_bytes="
            )
        like[name] = torch.empty((), dtype=dtype).expand(shape)
    return SelfContained(data[start + length :], like, about)


def _header(packed: bytes) -> tuple[list[Any], dict[str, str]]:
    decompressor = zlib.decompressobj()
    try:
        text = decompressor.decompress(packed, _LARGEST_HEADER)
        if not decompressor.eof or decompressor.unused_data:
            raise BitstreamError("the header does not end where it should; the file is damaged")
        values = json.loads(text)
    except (zlib.error, ValueError, RecursionError) as error:
        if isinstance(error, BitstreamError):
            raise
        raise BitstreamError(f"the header cannot be read ({error}); the file is damaged") from error
    described = values.get("tensors") if isinstance(values, dict) else None
    about = values.get("about") if isinstance(values, dict) else None
    if not isinstance(described, list) or not described or not isinstance(about, dict):
        raise BitstreamError("the header must list tensors; the file is damaged")
    if not all(isinstance(value, str) for value in about.values()):
        raise BitstreamError("what a header says about a network must be texts; the file is damaged")
    return described, about


def _entry(entry: Any) -> tuple[str, tuple[int, ...], torch.dtype]:
    if not (isinstance(entry, list) and len(entry) == 3):
        raise BitstreamError("a tensor must have a name, a shape and a dtype; the file is damaged")
    name, shape, dtype = entry
    if not isinstance(name, str) or not isinstance(dtype, str) or dtype not in _DTYPE_NAMES:
        raise BitstreamError(f"a tensor must have a name and one of the dtypes {', '.join(_DTYPE_NAMES)}")
    sizes_hold = isinstance(shape, list) and all(type(size) is int and 0 < size < 2**31 for size in shape)
    if not sizes_hold or len(shape) > _LARGEST_DIMENSIONS:
        raise BitstreamError(
            f"a shape must be at most {_LARGEST_DIMENSIONS} sizes from 1 up, that of {name!r} is not"
        )
    return name, tuple(shape), _DTYPE_NAMES[dtype]
