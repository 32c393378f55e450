"""Files: complete or not at all, on the disk, and nothing left behind."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from analysis.files import Files


def test_a_file_is_synced_before_it_is_moved_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def replaced(source: Path, target: Path) -> None:
        done.append("move")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    Files(str(tmp_path)).write("a/b/file", b"content")
    assert done == ["folder", "folder", "file", "move", "folder"]  # two folders are new
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"content"


def test_writers_of_one_name_with_one_process_id_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on two machines that share a folder: each has a temporary file of its own."""
    files, together = Files(str(tmp_path)), threading.Barrier(2)
    replace, names = os.replace, []

    def replaced(source: Path, target: Path) -> None:
        names.append(Path(source).name)
        together.wait()
        replace(source, target)

    monkeypatch.setattr(os, "replace", replaced)
    contents = [letter * 10_000 for letter in (b"a", b"b")]
    threads = [threading.Thread(target=files.write, args=["file", content]) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 2
    assert files.read("file") in contents
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_moving_and_what_is_not_there(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    files.write("here/file", b"content")
    files.move("here/file", "there/file")
    files.move("here/file", "there/file")  # another process was quicker
    assert files.read("there/file") == b"content"
    assert files.names("here") == []


def test_abandoned_files_are_deleted_and_others_are_not(tmp_path: Path) -> None:
    old, new, other = (tmp_path / name for name in (".x.0123.part", ".y.4567.part", "z.part"))
    for path in (old, new, other):
        path.write_bytes(b"")
    for path in (old, other):
        os.utime(path, (0, 0))
    Files(str(tmp_path)).delete_abandoned("")
    assert sorted(path.name for path in tmp_path.iterdir()) == [new.name, other.name]
    Files(str(tmp_path)).delete_abandoned("nowhere")
