"""Labelled images in the files of MNIST: four idx files, gzipped or not, or one .npz of arrays.

The module reads bytes with the standard library alone, so that a configuration can identify its data without
importing numpy or torch. The idx format: two zero bytes, the type (8: bytes), the number of axes, each axis as a
big-endian 32-bit integer, then the values. The .npz format: a zip of .npy files (numpy.lib.format).
"""

from __future__ import annotations

import ast
import gzip
import math
import os
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from trainables.config.source import bytes_digest
from trainables.errors import ConfigError

PARTS: Final = ("train", "t10k")
"""Names of the data set's parts in idx files; the second part may be missing."""

_NPZ_PARTS: Final = ("train", "test")
_BYTES: Final = 8
"""The idx type of unsigned bytes."""

_GZIP: Final = b"\x1f\x8b"
_WHOLE_NUMBERS: Final = re.compile(r"[|<][ui][1248]")


@dataclass(frozen=True, slots=True)
class DigitImages:
    """N labelled images, those of the training part first."""

    pixels: bytes
    """[N, height, width] unsigned bytes, 255 is the brightest."""
    labels: bytes
    """[N] unsigned bytes."""
    height: int
    width: int

    @property
    def digest(self) -> str:
        """Hash of the images and labels, whichever format they came in."""
        return bytes_digest(self.pixels, self.labels, struct.pack(">II", self.height, self.width))


@dataclass(frozen=True, slots=True)
class _Array:
    shape: tuple[int, ...]
    values: bytes


def read_digit_images(path: str | Path) -> DigitImages:
    """Read all images of a folder of idx files or of an .npz file, whichever part they belong to.

    Args:
        path: a folder with `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, perhaps the same of `t10k`,
            each with or without `.gz`; or an .npz file with `x_train` and `y_train`, perhaps with `x_test` and
            `y_test`.

    Raises:
        ConfigError: the path or a file is missing, a file is damaged, or it holds no images with labels.
    """
    path = Path(path)
    try:
        parts = _of_folder(path) if path.is_dir() else _of_npz(path)
        pairs = [_pair(images, labels) for images, labels in parts]
    except FileNotFoundError as error:
        raise ConfigError(
            f"task.data must be a folder with MNIST's idx files, or an .npz file, got {path}: there is no "
            f"{Path(error.filename or path).name} there"
        ) from None
    except (OSError, EOFError, ValueError, KeyError, SyntaxError, zlib.error, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"task.data must hold files that can be read, got {path}: {error}; fetch them again"
        ) from error
    sizes = {images.shape[1:] for images, _ in pairs}
    if len(sizes) > 1:
        raise ConfigError(f"task.data must hold images of one size, got {sorted(sizes)} in {path}")
    height, width = sizes.pop()
    return DigitImages(
        b"".join(images.values for images, _ in pairs),
        b"".join(labels.values for _, labels in pairs),
        height,
        width,
    )


def data_digest(path: str | Path) -> str:
    """Hash the images and labels at a path; the files are read again only when they have changed.

    Raises:
        ConfigError: see `read_digit_images`.
    """
    path = Path(path)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    state = tuple((file.name, *_state(file.stat())) for file in files if file.is_file())
    return _digest(path, state)


def _state(known: os.stat_result) -> tuple[int, ...]:
    """Return what a change of a file changes: tools may set back its date, but not its ctime."""
    return known.st_mtime_ns, known.st_ctime_ns, known.st_ino, known.st_size


@lru_cache(maxsize=8)
def _digest(path: Path, state: tuple[tuple[str | int, ...], ...]) -> str:  # noqa: ARG001 (the cache key)
    return read_digit_images(path).digest


def _pair(images: _Array, labels: _Array) -> tuple[_Array, _Array]:
    if len(images.shape) != 3 or len(labels.shape) != 1 or images.shape[0] != labels.shape[0]:
        raise ValueError(
            f"images must be [N, height, width] and labels [N], got {list(images.shape)} and {list(labels.shape)}"
        )
    return images, labels


# --- idx files ---------------------------------------------------------------------------------------------------


def _of_folder(folder: Path) -> list[tuple[_Array, _Array]]:
    parts = [(_idx_file(folder, f"{part}-images", 3), _idx_file(folder, f"{part}-labels", 1)) for part in PARTS]
    return [
        (_idx(images), _idx(labels))
        for part, (images, labels) in zip(PARTS, parts, strict=True)
        if part == PARTS[0] or images.exists() or labels.exists()
    ]


def _idx_file(folder: Path, name: str, axes: int) -> Path:
    """Return the existing file for this name, or the path it should have."""
    names = [f"{name}{dash}idx{axes}-ubyte{end}" for dash in "-." for end in ("", ".gz")]
    return next((folder / each for each in names if (folder / each).is_file()), folder / names[0])


def _idx(file: Path) -> _Array:
    data = file.read_bytes()
    data = gzip.decompress(data) if data.startswith(_GZIP) else data
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _BYTES:
        raise ValueError(f"{file.name} is no idx file of bytes")
    begins = 4 + 4 * data[3]
    if len(data) < begins:
        raise ValueError(f"{file.name} ends within its header")
    shape = struct.unpack(f">{data[3]}I", data[4:begins])
    values = data[begins:]
    if len(values) != math.prod(shape):
        raise ValueError(
            f"{file.name} must hold {math.prod(shape):,} values, as it says, but holds {len(values):,}"
        )
    return _Array(shape, values)


# --- .npz files --------------------------------------------------------------------------------------------------


def _of_npz(file: Path) -> list[tuple[_Array, _Array]]:
    with zipfile.ZipFile(file) as archive:
        names = set(archive.namelist())
        return [
            (_npy(archive, f"x_{part}"), _npy(archive, f"y_{part}"))
            for part in _NPZ_PARTS
            if part == _NPZ_PARTS[0] or {f"x_{part}.npy", f"y_{part}.npy"} & names
        ]


def _npy(archive: zipfile.ZipFile, name: str) -> _Array:
    """Read an array of whole numbers from 0 to 255, as bytes."""
    data = archive.read(f"{name}.npy")
    if len(data) < 12 or not data.startswith(b"\x93NUMPY"):
        raise ValueError(f"{name} is no array")
    wide = data[6] > 1  # format versions from 2 on have four bytes for the length of the header
    begins = 12 if wide else 10
    ends = begins + struct.unpack("<I" if wide else "<H", data[8:begins])[0]
    header = ast.literal_eval(data[begins:ends].decode("latin1"))
    kind, shape = str(header["descr"]), tuple(int(side) for side in header["shape"])
    if not _WHOLE_NUMBERS.fullmatch(kind) or header["fortran_order"]:
        raise ValueError(f"{name} must hold whole numbers in C order, such as uint8, got {kind}")
    size, values = int(kind[2]), data[ends:]
    if len(values) != math.prod(shape) * size:
        raise ValueError(
            f"{name} must hold {math.prod(shape):,} values, as it says, but holds {len(values) // size:,}"
        )
    if any(any(values[byte::size]) for byte in range(1, size)) or (
        kind[1:] == "i1" and max(values, default=0) > 127
    ):
        raise ValueError(f"{name} must hold values from 0 to 255")
    return _Array(shape, values[::size])
