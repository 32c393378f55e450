"""Bitstreams: codes of all tensors, or the raw weights, to bytes and back.

    kind         1 byte    ROUNDED, LOSSLESS or EXTENDED
    body         the entropy-coded integers of all tensors (ROUNDED; EXTENDED in the extended form), or LZMA
                 over the byte planes of the weights (LOSSLESS)
    checksum     4 bytes   CRC32 of names, shapes, dtypes and everything before it

Names, shapes and dtypes are known to the decoder and bound by the checksum. There is no pickle. Memory is
allocated by the requested tensors, whatever the bytes say, and any damage raises `BitstreamError`.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables.complexity.bases import Bases
from trainables.complexity.codes import Code, reconstruct
from trainables.complexity.entropy_coder import Decoder, Encoder
from trainables.complexity.network import Network, signature, tensors
from trainables.complexity.network_coder import code_network
from trainables.complexity.of_network import complete_state
from trainables.complexity.pieces import Piece, put
from trainables.errors import BitstreamError
from trainables.numerics.computing import settled_torch

ROUNDED = 1
LOSSLESS = 2
EXTENDED = 3

_CHECKSUM = struct.Struct("<I")


def encode(
    codes: Mapping[Piece, Code], like: Mapping[str, Tensor], *, extended: bool = False
) -> tuple[bytes, dict[str, float]]:
    """Encode a rounded network, with a code for every piece, and divide the stream's bytes over the tensors.

    `extended` chooses the extended form; without it no code may have rotations.
    """
    encoder = Encoder()
    code_network(encoder, _shapes(like), codes, extended=extended)
    stream = _sealed(bytes([EXTENDED if extended else ROUNDED]) + encoder.finish(), like)
    return stream, _shared_out(len(stream), encoder.bits_by_owner())


def encode_lossless(parameters: Mapping[str, Tensor]) -> tuple[bytes, dict[str, float]]:
    """Encode the weights themselves, bit for bit: the last resort, which always keeps the bound."""
    planes = []
    for name in sorted(parameters):
        tensor = parameters[name].detach().cpu().contiguous().reshape(-1)
        planes.append(tensor.view(torch.uint8).numpy().reshape(-1, tensor.element_size()).T.tobytes())
    stream = _sealed(bytes([LOSSLESS]) + _compress(b"".join(planes)), parameters)
    return stream, _shared_out(len(stream), {name: 8.0 * tensor.numel() for name, tensor in parameters.items()})


@settled_torch()
def decode(bitstream: bytes, like: Network) -> dict[str, Tensor]:
    """Turn a bitstream into the network it was certified as, bit for bit.

    Args:
        bitstream: what `measure` gave.
        like: the tensors, or the module, to decode for: only names, shapes, dtypes and devices are used.

    Returns:
        A tensor for every name of `like`, in its order. For a module, all that `load_state_dict` wants: the decoded
        parameters, under every name that shares them, and the module's own buffers.

    Raises:
        BitstreamError: the bytes are truncated or altered, or belong to tensors of other names, shapes or dtypes.
    """
    decoded = _decoded(bitstream, tensors(like))
    return complete_state(like, decoded) if isinstance(like, nn.Module) else decoded


def _decoded(bitstream: bytes, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
    content = _unsealed(bytes(bitstream), targets)
    if content[0] in (ROUNDED, EXTENDED):
        return rebuilt(decode_codes(content[1:], targets, extended=content[0] == EXTENDED), targets)
    if content[0] == LOSSLESS:
        return _read_lossless(content[1:], targets)
    raise BitstreamError(
        f"the first byte must be {ROUNDED}, {LOSSLESS} or {EXTENDED}, got {content[0]}; this is another format"
    )


def rebuilt(codes: Mapping[Piece, Code], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rebuild the tensors that codes represent, exactly as every decoder does."""
    whole = {name: torch.zeros(1, *tensor.shape, dtype=torch.float64) for name, tensor in like.items()}
    bases = Bases(list(codes.values()))
    for piece, code in codes.items():
        weights = torch.from_numpy(reconstruct(code, piece.rows, piece.columns, bases.of_axes(code)))
        put(weights[None], whole[piece.name], piece)
    return {name: whole[name][0].to(tensor.dtype).to(tensor.device) for name, tensor in like.items()}


def decode_codes(body: bytes, like: Mapping[str, Tensor], *, extended: bool = False) -> dict[Piece, Code]:
    """Decode the codes of all pieces from the body of a rounded network's stream, in the extended form or not.

    Raises:
        BitstreamError: the bytes are damaged.
    """
    decoder = Decoder(body)
    codes = code_network(decoder, _shapes(like), None, extended=extended)
    decoder.finish()
    return codes


def _shapes(like: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in like.items()}


def _shared_out(total: int, shares: Mapping[str, float]) -> dict[str, float]:
    """Divide a length, kind and checksum included, over the tensors in proportion to their shares."""
    whole = sum(shares.values())
    return {name: total * share / whole if whole else total / len(shares) for name, share in shares.items()}


def _read_lossless(content: bytes, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    total = sum(tensor.numel() * tensor.element_size() for tensor in like.values())
    body = _decompress(content, total)
    decoded, at = {}, 0
    for name in sorted(like):
        tensor = like[name]
        planes = np.frombuffer(body, dtype=np.uint8, count=tensor.numel() * tensor.element_size(), offset=at)
        at += planes.size
        rows = torch.from_numpy(planes.reshape(tensor.element_size(), -1).T.copy())
        decoded[name] = rows.reshape(-1).view(tensor.dtype).reshape(tensor.shape).to(tensor.device)
    return {name: decoded[name] for name in like}


def _sealed(content: bytes, like: Mapping[str, Tensor]) -> bytes:
    return content + _CHECKSUM.pack(zlib.crc32(content, zlib.crc32(signature(like))))


def _unsealed(bitstream: bytes, like: Mapping[str, Tensor]) -> bytes:
    if len(bitstream) <= _CHECKSUM.size:
        raise BitstreamError(
            f"a bitstream has more than {_CHECKSUM.size} bytes, got {len(bitstream)}; it is truncated"
        )
    content, checksum = bitstream[: -_CHECKSUM.size], bitstream[-_CHECKSUM.size :]
    if _CHECKSUM.pack(zlib.crc32(content, zlib.crc32(signature(like)))) != checksum:
        raise BitstreamError(
            "the checksum does not match: the bytes are truncated or altered, or they are of a network with other "
            "names, shapes or dtypes; pass the `like` they were made for"
        )
    return content


def _filters(size: int) -> list[dict[str, Any]]:
    """Configure LZMA without container, contexts and alignment; its literals are the byte planes in turn."""
    dictionary = min(max(4096, 1 << (size - 1).bit_length()), 1 << 24) if size else 4096
    return [{"id": lzma.FILTER_LZMA1, "preset": 6, "lc": 0, "lp": 0, "pb": 0, "dict_size": dictionary}]


def _compress(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_RAW, filters=_filters(len(data)))


def _decompress(data: bytes, size: int) -> bytes:
    """Decompress exactly `size` bytes and an end mark; never produce more than one byte beyond."""
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_filters(size))
    try:
        content = decompressor.decompress(data, max_length=size + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise BitstreamError(f"the compressed body does not decompress ({error}); the stream is damaged") from error
    if len(content) != size or not decompressor.eof or decompressor.unused_data:
        raise BitstreamError(
            f"the body must be {size} bytes and end there, got {len(content)}; the stream is damaged"
        )
    return content
