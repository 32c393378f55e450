"""Sizes of raw weights under general-purpose compressors: what complexity is compared with."""

from __future__ import annotations

import bz2
from collections.abc import Mapping

import torch
import zstandard
from torch import Tensor

#: zstd's level for the `zstd_bytes` column: its own default, since raw float32 hardly shrinks at any level.
ZSTD_LEVEL = 3


def raw_bytes(parameters: Mapping[str, Tensor]) -> bytes:
    """All parameters as little-endian float32, concatenated in the order of their names."""
    return b"".join(
        parameters[name].detach().to("cpu", torch.float32).contiguous().numpy().astype("<f4", copy=False).tobytes()
        for name in sorted(parameters)
    )


def zstd_bytes(parameters: Mapping[str, Tensor]) -> int:
    """Size in bytes of the raw float32 weights under zstd."""
    return len(zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(raw_bytes(parameters)))


def zstd_version() -> str:
    """Version of the zstd library inside the wheel; a size depends on it."""
    return ".".join(str(part) for part in zstandard.ZSTD_VERSION)


def bzip2_bytes(parameters: Mapping[str, Tensor]) -> int:
    """Size in bytes of the raw float32 weights under bzip2: the paper's naive size."""
    return len(bz2.compress(raw_bytes(parameters)))
