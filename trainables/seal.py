"""Checksums in safetensors bytes: a file in which one byte was altered is told from one that was not."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

from safetensors.torch import save
from torch import Tensor

from trainables.errors import CheckpointError

KEY = "blake2b"
"""The name of the checksum in the safetensors header's metadata."""

_DIGEST_BYTES = 16
_BLANK = b"0" * (2 * _DIGEST_BYTES)
_MARK = f'"{KEY}":"'.encode()
_LENGTH = struct.Struct("<Q")
"""What safetensors bytes begin with: the number of bytes of their header."""


def sealed(tensors: Mapping[str, Tensor]) -> bytes:
    """Write tensors as safetensors bytes whose header holds a checksum of all other bytes."""
    data = save(dict(tensors), metadata={KEY: _BLANK.decode()})
    place = data.index(_MARK) + len(_MARK)
    return b"".join((data[:place], _digest(data, place), data[place + len(_BLANK) :]))


def check_seal(data: bytes) -> bool:
    """Return whether the bytes have a checksum; bytes written before there were checksums have none.

    Raises:
        CheckpointError: the bytes are not those that the checksum was computed of.
    """
    header_bytes = _LENGTH.unpack_from(data)[0] if len(data) >= _LENGTH.size else 0
    place = data.find(_MARK, 0, _LENGTH.size + header_bytes)
    if place < 0:
        return False
    place += len(_MARK)
    if data[place : place + len(_BLANK)] != _digest(data, place):
        raise CheckpointError("a checkpoint's bytes must match its checksum, they do not: they were damaged")
    return True


def _digest(data: bytes, place: int) -> bytes:
    """Hash all bytes but those from `place` on that hold the hash itself."""
    view = memoryview(data)
    digest = hashlib.blake2b(view[:place], digest_size=_DIGEST_BYTES)
    digest.update(view[place + len(_BLANK) :])
    return digest.hexdigest().encode()
