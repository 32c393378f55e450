"""Sizes of raw weights under general-purpose compressors, as a comparison for complexity."""

from __future__ import annotations

import bz2
from collections.abc import Mapping

import torch
import zstandard
from torch import Tensor

#: The zstd level of the `zstd_bytes` column: zstd's own default, since raw float32 hardly shrinks at any level.
ZSTD_LEVEL = 3


def raw_bytes(parameters: Mapping[str, Tensor]) -> bytes:
    """Return all parameters as little-endian float32, concatenated in the order of their names."""
    return b"".join(
        parameters[name].detach().to("cpu", torch.float32).contiguous().numpy().astype("<f4", copy=False).tobytes()
        for name in sorted(parameters)
    )


def zstd_bytes(parameters: Mapping[str, Tensor]) -> int:
    """Return the size in bytes of the raw float32 weights under zstd."""
    return len(zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(raw_bytes(parameters)))


def zstd_version() -> str:
    """Return the version of the zstd library inside the wheel, on which a size depends."""
    return ".".join(str(part) for part in zstandard.ZSTD_VERSION)


def bzip2_bytes(parameters: Mapping[str, Tensor]) -> int:
    """Return the size in bytes of the raw float32 weights under bzip2: the paper's naive size."""
    return len(bz2.compress(raw_bytes(parameters)))
