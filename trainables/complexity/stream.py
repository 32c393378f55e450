"""Bitstreams: codes of all tensors, or the raw weights, to bytes and back.

    kind         1 byte    ROUNDED or LOSSLESS
    header       ROUNDED only: per tensor, in the order of names, what its integers' lengths follow from
    body         LZMA over the packed integers (ROUNDED) or over the byte planes of the weights (LOSSLESS)
    checksum     4 bytes   CRC32 of names, shapes, dtypes and everything before it

Names, shapes and dtypes are known to the decoder and bound by the checksum. There is no pickle; nothing is
allocated that is larger than twice the tensors asked for, and any damage raises `BitstreamError`.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.complexity.codes import Code, Direct, Factors, Zeros, is_exact, reconstruct
from trainables.complexity.network import Network, matrix_shape, signature, tensors
from trainables.complexity.packing import LARGEST_FORM, pack, packed_size, unpack
from trainables.errors import BitstreamError

ROUNDED = 1
LOSSLESS = 2

_ZEROS = 0
_DIRECT = 1
_FACTORS = 2
#: step and form; step, rank and the two forms. The form of the exponents is always a byte each.
_DIRECT_HEADER = struct.Struct("<hB")
_FACTORS_HEADER = struct.Struct("<hHBB")
_CHECKSUM = struct.Struct("<I")

#: Steps are 2^(step / 16): beyond these no float is left.
LARGEST_STEP = 16 * 256
LARGEST_RANK = 2**16 - 1


def encode(codes: Mapping[str, Code], like: Mapping[str, Tensor]) -> bytes:
    """The stream of a rounded network; `codes` has a code for every name of `like`."""
    header, body = [], []
    for name in sorted(like):
        code = codes[name]
        if isinstance(code, Zeros):
            header.append(bytes([_ZEROS]))
        elif isinstance(code, Direct):
            form, packed = pack(code.integers)
            header.append(bytes([_DIRECT]) + _DIRECT_HEADER.pack(code.step, form))
            body.append(packed)
        else:
            left_form, left = pack(code.left)
            right_form, right = pack(code.right)
            rank = code.exponents.size
            header.append(bytes([_FACTORS]) + _FACTORS_HEADER.pack(code.step, rank, left_form, right_form))
            body += [code.exponents.astype(np.int8).tobytes(), left, right]
    return _sealed(bytes([ROUNDED]) + b"".join(header) + _compress(b"".join(body)), like)


def encode_lossless(parameters: Mapping[str, Tensor]) -> bytes:
    """The stream of the weights themselves, bit for bit: the last resort, which always meets the bound."""
    planes = []
    for name in sorted(parameters):
        tensor = parameters[name].detach().cpu().contiguous().reshape(-1)
        planes.append(tensor.view(torch.uint8).numpy().reshape(-1, tensor.element_size()).T.tobytes())
    return _sealed(bytes([LOSSLESS]) + _compress(b"".join(planes)), parameters)


def decode(bitstream: bytes, like: Network) -> dict[str, Tensor]:
    """Turn a bitstream into the network it was certified as, bit for bit.

    Args:
        bitstream: what `measure` gave.
        like: the tensors, or the module, to decode for: only names, shapes, dtypes and devices are used.

    Returns:
        A tensor for every name of `like`, in its order, ready for `load_state_dict` or `functional_call`.

    Raises:
        BitstreamError: the bytes are truncated or altered, or belong to tensors of other names, shapes or dtypes.
    """
    targets = tensors(like)
    content = _unsealed(bytes(bitstream), targets)
    if content[0] == ROUNDED:
        codes = _read_codes(content[1:], targets)
        return {name: reconstruct(codes[name], tensor) for name, tensor in targets.items()}
    if content[0] == LOSSLESS:
        return _read_lossless(content[1:], targets)
    raise BitstreamError(
        f"the first byte must be {ROUNDED} or {LOSSLESS}, got {content[0]}; this is another format"
    )


def _read_codes(content: bytes, like: Mapping[str, Tensor]) -> dict[str, Code]:
    reader = _Reader(content)
    layouts = {name: _read_layout(reader, name, like[name]) for name in sorted(like)}
    total = sum(size for layout in layouts.values() for size in layout.sizes)
    body = _Reader(_decompress(reader.rest(), total))
    return {name: layout.read(body) for name, layout in layouts.items()}


class _Reader:
    """Takes bytes from the front, and says so when there are too few."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._data):
            raise BitstreamError(
                f"the stream ends after {len(self._data)} bytes in the middle of a field; it is truncated"
            )
        self._at += count
        return self._data[self._at - count : self._at]

    def unpack(self, form: struct.Struct) -> tuple[int, ...]:
        return form.unpack(self.take(form.size))

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)


class _Layout:
    """What a tensor's header says: enough to know the length of everything in the body."""

    def __init__(
        self, kind: int, step: int = 0, counts: tuple[int, ...] = (), forms: tuple[int, ...] = (), rank: int = 0
    ) -> None:
        self.kind, self.step, self.counts, self.forms, self.rank = kind, step, counts, forms, rank
        self.sizes = [packed_size(count, form) for count, form in zip(counts, forms, strict=True)]
        if kind == _FACTORS:
            self.sizes.append(rank)

    def read(self, body: _Reader) -> Code:
        if self.kind == _ZEROS:
            return Zeros()
        exponents = np.frombuffer(body.take(self.rank), dtype=np.int8).astype(np.int32)
        integers = [
            unpack(body.take(size), count, form)
            for size, count, form in zip(self.sizes, self.counts, self.forms, strict=False)
        ]
        if self.kind == _DIRECT:
            return Direct(self.step, integers[0])
        left, right = (values.reshape(self.rank, -1) for values in integers)
        code = Factors(self.step, left, right, exponents)
        if not is_exact(code):
            raise BitstreamError("factors must have an exact product, these are too large; the stream is damaged")
        return code


def _read_layout(reader: _Reader, name: str, tensor: Tensor) -> _Layout:
    kind = reader.take(1)[0]
    if kind == _ZEROS:
        return _Layout(kind)
    if kind == _DIRECT:
        step, form = reader.unpack(_DIRECT_HEADER)
        layout = _Layout(kind, step, (tensor.numel(),), (_checked_form(form, name),))
    elif kind == _FACTORS:
        step, rank, left_form, right_form = reader.unpack(_FACTORS_HEADER)
        shape = matrix_shape(tuple(tensor.shape))
        if shape is None or not 1 <= rank <= min(shape):
            raise BitstreamError(f"{name!r} of shape {tuple(tensor.shape)} cannot have factors of rank {rank}")
        forms = _checked_form(left_form, name), _checked_form(right_form, name)
        layout = _Layout(kind, step, (rank * shape[0], rank * shape[1]), forms, rank)
    else:
        raise BitstreamError(f"the code of {name!r} must be of kind 0, 1 or 2, got {kind}; the stream is damaged")
    if abs(step) > LARGEST_STEP:
        raise BitstreamError(f"the step of {name!r} must lie within +-{LARGEST_STEP}, got {step}")
    return layout


def _checked_form(form: int, name: str) -> int:
    if not 1 <= form <= LARGEST_FORM:
        raise BitstreamError(f"integers of {name!r} must be packed in a form from 1 to {LARGEST_FORM}, got {form}")
    return form


def _read_lossless(content: bytes, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    total = sum(tensor.numel() * tensor.element_size() for tensor in like.values())
    body = _Reader(_decompress(content, total))
    decoded = {}
    for name in sorted(like):
        tensor = like[name]
        planes = np.frombuffer(body.take(tensor.numel() * tensor.element_size()), dtype=np.uint8)
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
    """LZMA without container: the literals here are digits, so their contexts and alignment are switched off."""
    dictionary = min(max(4096, 1 << (size - 1).bit_length()), 1 << 24) if size else 4096
    return [{"id": lzma.FILTER_LZMA1, "preset": 6, "lc": 0, "lp": 0, "pb": 0, "dict_size": dictionary}]


def _compress(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_RAW, filters=_filters(len(data)))


def _decompress(data: bytes, size: int) -> bytes:
    """Exactly `size` bytes and an end mark; no more than one byte beyond is ever produced."""
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
