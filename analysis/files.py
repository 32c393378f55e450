"""Files in a folder, local or in a bucket: the one way in which they are listed, read, written and deleted.

Every file is written under a name of its own, complete or not at all: locally to a temporary name, synced to the
disk and moved, in a bucket by one upload that appears when it is complete.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import os
import secrets
import stat
import time
from pathlib import Path
from typing import Any

from analysis.errors import LinkRefused

PART = ".part"
"""The end of a temporary name, which also begins with a dot and has a random part: processes of several machines
may have the same process id. No reader takes such a file for a result."""

ABANDONED_S = 3600.0
"""Age in seconds at which an unfinished file is certainly of a process that has died."""


class NotAFile(OSError):
    """A folder, a pipe or a device in the place of a file; its `strerror` says which."""


class Files:
    """The files of a folder, by names relative to it such as `cohorts/c0000.json`.

    Args:
        path: a local path, or a URI such as `s3://bucket/results/my-sweep`.
        filesystem: a `pyarrow.fs.FileSystem` that `path` belongs to; by default found from the path.
        makes_root: whether writing a file may make the folder itself; otherwise only folders in it.

    Raises:
        ValueError: there is no such kind of address, or it names no bucket or folder.
        OSError: the place cannot be reached.
    """

    def __init__(self, path: str, filesystem: Any = None, *, makes_root: bool = True) -> None:
        from pyarrow import fs

        self._makes_root = makes_root
        self.is_local = filesystem is None and "://" not in path
        if filesystem is not None:
            self.filesystem, self.root = filesystem, path.rstrip("/")
        elif self.is_local:
            self.filesystem, self.root = fs.LocalFileSystem(), str(Path(path).expanduser().absolute())
        else:
            filesystem, root = fs.FileSystem.from_uri(path)
            # A copy tries a request three times. What `from_uri` returns tries 31 times, and so waits 100 s for a
            # server that hangs before anybody can be told; `sweep` has a patience of its own.
            self.filesystem = copy.copy(filesystem)
            if not root.strip("/"):
                raise ValueError("it names no bucket or folder")
            self.root = root.rstrip("/")

    def place(self, name: str) -> str:
        """Return the path of a file within the file system."""
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        """Return whether there is a file of that name, or a folder that holds one."""
        from pyarrow import fs

        return bool(self.filesystem.get_file_info(self.place(name)).type != fs.FileType.NotFound)

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, see `sizes`; none where the folder is not there."""
        return list(self.sizes(folder))

    def sizes(self, folder: str) -> dict[str, int]:
        """Return name -> bytes of the files in a folder; none where the folder is not there.

        What else a local folder holds is listed, too, so that it is not passed over; `read` refuses it.
        """
        if self.is_local:
            with contextlib.suppress(FileNotFoundError), os.scandir(self.place(folder)) as entries:
                return {entry.name: _size(entry) for entry in entries}
            return {}
        from pyarrow import fs

        selector = fs.FileSelector(self.place(folder), allow_not_found=True)
        infos = self.filesystem.get_file_info(selector)
        return {info.base_name: int(info.size or 0) for info in infos if info.is_file}

    def read(self, name: str) -> bytes:
        """Read a file as a whole.

        Raises:
            NotAFile: it is a folder, or something that a reader could wait for without end, such as a pipe.
            OSError: it is not there, or cannot be read.
        """
        if not self.is_local:
            with self.filesystem.open_input_stream(self.place(name)) as stream:
                return bytes(stream.read())
        # A pipe would otherwise wait for a writer as it is opened.
        descriptor = os.open(self.place(name), os.O_RDONLY | os.O_NONBLOCK)
        with contextlib.ExitStack() as opened:
            opened.callback(os.close, descriptor)
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                kind = "a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a device"
                raise NotAFile(errno.EINVAL, f"{kind} in the place of a file", self.place(name))
            with open(descriptor, "rb", closefd=False) as stream:
                return stream.read()

    def write(self, name: str, data: bytes) -> None:
        """Write a file, complete or not at all, in place of one of that name; locally it is on the disk then.

        Raises:
            OSError: it cannot be written.
            LinkRefused: a link would lead out of the folder.
        """
        if not self.is_local:
            with self.filesystem.open_output_stream(self.place(name)) as stream:
                stream.write(data)
            return
        target = self.own_place(name)
        self.make_folder(target.parent)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}{PART}")
        try:
            with temporary.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(target.parent)

    def move(self, name: str, other: str) -> None:
        """Give a file another name; nothing happens if there is none, e.g. because another process has moved it.

        Raises:
            OSError: it cannot be moved.
            LinkRefused: a link would lead out of the folder.
        """
        with contextlib.suppress(FileNotFoundError):
            if not self.is_local:
                self.filesystem.move(self.place(name), self.place(other))
                return
            source, target = self.own_place(name), self.own_place(other)
            self.make_folder(target.parent)
            os.replace(source, target)
            _sync_folder(target.parent)
            _sync_folder(source.parent)

    def delete_abandoned(self, folder: str, older_than_s: float = ABANDONED_S) -> None:
        """Delete what processes that died while writing have left in a local folder; a bucket keeps no such files.

        Args:
            folder: a folder relative to this one; its own folders are left alone.
            older_than_s: age in seconds of the unfinished files to delete.
        """
        if not self.is_local:
            return
        with contextlib.suppress(OSError):
            for path in Path(self.place(folder)).glob(f".*{PART}"):
                if time.time() - path.stat().st_mtime > older_than_s:
                    path.unlink(missing_ok=True)

    def make_folder(self, folder: Path) -> None:
        """Make a local folder and those above it; above and at the root only if this object may make the root.

        Raises:
            FileNotFoundError: the root is not there and must not be made.
        """
        if self._makes_root:
            _make_folder(folder)
            return
        # One level after the other: `parents=True` would make a root that has just been moved once more.
        below = folder.relative_to(self.root)
        for level in reversed([below, *below.parents][:-1]):
            path = Path(self.root, level)
            if not path.is_dir():
                path.mkdir(exist_ok=True)
                _sync_folder(path.parent)

    def delete(self, name: str) -> None:
        """Delete a file; nothing happens if there is none."""
        if self.is_local:
            self.own_place(name)
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                os.unlink(self.place(name))
        elif self.exists(name):
            self.filesystem.delete_file(self.place(name))

    def own_place(self, name: str) -> Path:
        """Return the path of a file in a local folder that is to be written or deleted.

        The folder itself may be a link, which its owner has made; nothing in it may be one.

        Raises:
            LinkRefused: the file, or a folder above it within this one, is a symbolic link, or the name leads out.
        """
        path = Path(self.root)
        for part in Path(name).parts:
            path = path / part
            if part in ("..", "/") or path.is_symlink():
                raise LinkRefused(
                    f"{path} must be a file or folder of its own, and is a link or leads out of {self.root}; "
                    "remove it, nothing was written"
                )
        return path


def _size(entry: os.DirEntry[str]) -> int:
    """Return the bytes of a listed file; 0 for a link to nothing, or a file that has gone since."""
    try:
        return entry.stat().st_size
    except OSError:
        return 0


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, and sync the names of the new ones."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, where its file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
