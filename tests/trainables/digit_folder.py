"""Real digits (scikit-learn's) written as MNIST's files are."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

_DIGITS = load_digits()
ALL_DIGITS = (np.minimum(_DIGITS.images * 16, 255).astype(np.uint8), _DIGITS.target.astype(np.uint8))
"""[1797, 8, 8] and [1797] bytes."""
IMAGES, LABELS = (array[:100] for array in ALL_DIGITS)
TRAIN = 80
"""So many are in the training part."""


def idx(array: np.ndarray) -> bytes:
    """An array of bytes as an idx file."""
    return struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def write_folder(
    folder: Path, images: np.ndarray = IMAGES, labels: np.ndarray = LABELS, *, compress: bool = False
) -> Path:
    """Four idx files."""
    folder.mkdir(parents=True)
    for part, some in (("train", slice(None, TRAIN)), ("t10k", slice(TRAIN, None))):
        for name, array in (("images-idx3", images[some]), ("labels-idx1", labels[some])):
            data = gzip.compress(idx(array)) if compress else idx(array)
            (folder / f"{part}-{name}-ubyte{'.gz' if compress else ''}").write_bytes(data)
    return folder


def write_npz(
    file: Path, images: np.ndarray = IMAGES, labels: np.ndarray = LABELS, labels_as: type = np.uint8
) -> Path:
    """Four arrays in one compressed file."""
    labels = labels.astype(labels_as)
    np.savez_compressed(
        file, x_train=images[:TRAIN], y_train=labels[:TRAIN], x_test=images[TRAIN:], y_test=labels[TRAIN:]
    )
    return file
