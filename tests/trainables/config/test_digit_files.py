"""Images from idx and .npz files: written here, byte by byte, and read back."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.trainables.digit_folder import IMAGES, LABELS, TRAIN, idx, write_folder, write_npz
from trainables.config.digit_files import data_digest, read_digit_images
from trainables.errors import ConfigError


@pytest.mark.parametrize("compress", [False, True])
def test_a_folder_is_read_as_it_was_written(tmp_path: Path, compress: bool) -> None:
    read = read_digit_images(write_folder(tmp_path / "mnist", compress=compress))
    assert (read.height, read.width) == IMAGES.shape[1:]
    assert read.pixels == IMAGES.tobytes()
    assert read.labels == LABELS.tobytes()


def test_the_digest_is_of_the_images_and_not_of_their_files(tmp_path: Path) -> None:
    places = [
        write_folder(tmp_path / "plain"),
        write_folder(tmp_path / "zipped", compress=True),
        write_npz(tmp_path / "mnist.npz"),
        write_npz(tmp_path / "wide.npz", labels_as=np.int64),
    ]
    assert len({data_digest(place) for place in places}) == 1
    other = LABELS.copy()
    other[3] = (other[3] + 1) % 10
    assert data_digest(write_npz(tmp_path / "other.npz", labels=other)) != data_digest(places[0])


def test_changed_files_are_read_again(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mnist")
    before = data_digest(folder)
    labels = folder / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + bytes([9 - int(LABELS[TRAIN - 1])]))
    os.utime(labels, ns=(0, 0))  # clocks of file systems tick slowly
    assert data_digest(folder) != before
    (folder / "t10k-images-idx3-ubyte").unlink()
    (folder / "t10k-labels-idx1-ubyte").unlink()
    assert data_digest(folder) != before
    assert len(read_digit_images(folder).labels) == 80


def test_names_with_a_dot_are_known_too(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mnist")
    for file in list(folder.iterdir()):
        file.rename(folder / file.name.replace("-idx", ".idx"))
    assert read_digit_images(folder).labels == LABELS.tobytes()


def damaged(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder


IMAGE_FILE, LABEL_FILE = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (IMAGE_FILE, b"", "train-images-idx3-ubyte is no idx file of bytes"),
        (IMAGE_FILE, b"<html>not found</html>", "is no idx file of bytes"),
        (IMAGE_FILE, idx(IMAGES)[:9], "ends within its header"),
        (IMAGE_FILE, idx(IMAGES)[:-1], r"must hold .* values, as it says, but holds"),
        (IMAGE_FILE, gzip.compress(idx(IMAGES))[:-20], "ended"),
        (IMAGE_FILE, gzip.compress(idx(IMAGES))[:60] + bytes(40), "hold files that can be read"),
        (
            LABEL_FILE,
            idx(LABELS[:7]),
            r"images must be \[N, height, width\] and labels \[N\], got \[80, 8, 8\] and \[7\]",
        ),
        (IMAGE_FILE, idx(IMAGES[:80, :, :7]), "hold images of one size"),
        (IMAGE_FILE, struct.pack(">I", 0x0D03) + bytes(12), "is no idx file of bytes"),
    ],
    ids=["empty", "page", "header", "short", "half", "broken", "labels", "sizes", "floats"],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    folder = damaged(write_folder(tmp_path / "mnist"), name, data)
    with pytest.raises(ConfigError, match=rf"^task\.data must .*{message}"):
        read_digit_images(folder)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ConfigError, match=r"^task\.data must be a folder .* there is no train-images-idx3-ubyte there"
    ):
        data_digest(tmp_path / "empty")
    with pytest.raises(ConfigError, match=r"^task\.data must be a folder .* there is no nowhere there"):
        data_digest(tmp_path / "nowhere")
    half = write_folder(tmp_path / "half")
    (half / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(ConfigError, match="there is no t10k-labels-idx1-ubyte there"):
        data_digest(half)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": IMAGES}, "y_train"),
        (
            {"x_train": IMAGES / 255, "y_train": LABELS},
            "x_train must hold whole numbers in C order, such as uint8, got <f8",
        ),
        ({"x_train": IMAGES, "y_train": LABELS.astype(np.int64) - 5}, "y_train must hold values from 0 to 255"),
        (
            {"x_train": IMAGES, "y_train": LABELS.astype(np.int8) - np.int8(5)},
            "y_train must hold values from 0 to 255",
        ),
        ({"x_train": np.asfortranarray(IMAGES), "y_train": LABELS}, "x_train must hold whole numbers in C order"),
        ({"x_train": IMAGES[0], "y_train": LABELS}, "images must be"),
    ],
)
def test_arrays_that_are_no_images_with_labels_are_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "mnist.npz", **arrays)
    with pytest.raises(ConfigError, match=rf"^task\.data must hold files that can be read.*{message}"):
        data_digest(tmp_path / "mnist.npz")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mnist.npz").write_text("no archive")
    with pytest.raises(ConfigError, match="File is not a zip file; fetch them again"):
        data_digest(tmp_path / "mnist.npz")
