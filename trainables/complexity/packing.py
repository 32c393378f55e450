"""Small integers as bytes: several digits in one byte where the alphabet is small, byte planes where not.

A packed list is `packed_size(count, form)` bytes long whatever it holds, so a decoder knows every length
before it decompresses anything.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trainables.complexity.codes import Integers
from trainables.errors import BitstreamError

#: Forms 1 to 16 are the size of an alphabet, with as many digits in a byte as go; 17 to 20 are 1 to 4 byte planes.
LARGEST_ALPHABET = 16
LARGEST_FORM = LARGEST_ALPHABET + 4

#: Integers of larger magnitude are not coded: rounding that finely is no compression.
LARGEST_INTEGER = 2**30


def _digits_per_byte(alphabet: int) -> int:
    digits = 1
    while alphabet > 1 and alphabet ** (digits + 1) <= 256:
        digits += 1
    return digits


def packed_size(count: int, form: int) -> int:
    """Bytes that `count` integers take in this form."""
    if form == 1:
        return 0
    if form > LARGEST_ALPHABET:
        return count * (form - LARGEST_ALPHABET)
    return -(-count // _digits_per_byte(form))


def pack(integers: Integers) -> tuple[int, bytes]:
    """The form that suits these integers, and their bytes in it."""
    wide = integers.reshape(-1).astype(np.int64)
    folded = np.where(wide < 0, -2 * wide - 1, 2 * wide)
    alphabet = int(folded.max(initial=0)) + 1
    if alphabet == 1:
        return 1, b""
    if alphabet > LARGEST_ALPHABET:
        planes = (alphabet - 1).bit_length() + 7 >> 3
        return LARGEST_ALPHABET + planes, b"".join(
            (folded >> (8 * plane) & 255).astype(np.uint8).tobytes() for plane in range(planes)
        )
    digits = _digits_per_byte(alphabet)
    padded = np.concatenate([folded, np.zeros(-folded.size % digits, dtype=np.int64)]).reshape(-1, digits)
    return alphabet, (padded @ alphabet ** np.arange(digits)).astype(np.uint8).tobytes()


def unpack(data: bytes, count: int, form: int) -> Integers:
    """The integers again; `data` is `packed_size(count, form)` bytes long."""
    if form == 1:
        return np.zeros(count, dtype=np.int32)
    packed = np.frombuffer(data, dtype=np.uint8).astype(np.int64)
    if form > LARGEST_ALPHABET:
        planes = packed.reshape(form - LARGEST_ALPHABET, count)
        folded: npt.NDArray[np.int64] = np.zeros(count, dtype=np.int64)
        for plane, values in enumerate(planes):
            folded |= values << (8 * plane)
    else:
        digits = _digits_per_byte(form)
        folded = (packed[:, None] // form ** np.arange(digits) % form).reshape(-1)[:count]
    if int(folded.max(initial=0)) > 2 * LARGEST_INTEGER:
        raise BitstreamError(f"integers must be at most {LARGEST_INTEGER} in magnitude, got a larger one")
    return np.where(folded & 1, -(folded + 1) // 2, folded // 2).astype(np.int32)
