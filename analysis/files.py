"""Files in a folder, local or in a bucket: the one way in which they are listed, read, written and deleted.

Every file is written under a name of its own, complete or not at all: locally to a temporary name and moved, in a
bucket by one upload that appears when it is complete.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


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
            self.filesystem, root = fs.FileSystem.from_uri(path)
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
        """Return the names of the files in a folder; none where the folder is not there."""
        from pyarrow import fs

        selector = fs.FileSelector(self.place(folder), allow_not_found=True)
        return [info.base_name for info in self.filesystem.get_file_info(selector) if info.is_file]

    def read(self, name: str) -> bytes:
        """Read a file as a whole.

        Raises:
            OSError: it is not there, or cannot be read.
        """
        with self.filesystem.open_input_stream(self.place(name)) as stream:
            return bytes(stream.read())

    def write(self, name: str, data: bytes) -> None:
        """Write a file, complete or not at all, in place of one of that name.

        Raises:
            OSError: it cannot be written.
        """
        if not self.is_local:
            with self.filesystem.open_output_stream(self.place(name)) as stream:
                stream.write(data)
            return
        target = Path(self.place(name))
        self.make_folder(target.parent)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            temporary.write_bytes(data)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    def make_folder(self, folder: Path) -> None:
        """Make a local folder and those above it; above and at the root only if this object may make the root.

        Raises:
            FileNotFoundError: the root is not there and must not be made.
        """
        if self._makes_root:
            folder.mkdir(parents=True, exist_ok=True)
            return
        # One level after the other: `parents=True` would make a root that has just been moved once more.
        below = folder.relative_to(self.root)
        for level in reversed([below, *below.parents][:-1]):
            Path(self.root, level).mkdir(exist_ok=True)

    def delete(self, name: str) -> None:
        """Delete a file; nothing happens if there is none."""
        if self.exists(name):
            self.filesystem.delete_file(self.place(name))
