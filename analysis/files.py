"""Files in a folder, local or in a bucket: the one way in which they are listed, read, written and deleted.

Every file is written under a name of its own, complete or not at all: locally to a temporary name and moved, in a
bucket by one upload that appears when it is complete.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from analysis.errors import LinkRefused


class Files:
    """The files of a folder, by names relative to it such as `cohorts/c0000.json`.

    Args:
        path: a local path, or a URI such as `s3://bucket/results/my-sweep`.
        filesystem: a `pyarrow.fs.FileSystem` that `path` belongs to; by default found from the path.

    Raises:
        ValueError: there is no such kind of address, or it names no bucket or folder.
        OSError: the place cannot be reached.
    """

    def __init__(self, path: str, filesystem: Any = None) -> None:
        from pyarrow import fs

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
        return list(self.sizes(folder))

    def sizes(self, folder: str) -> dict[str, int]:
        """Return name -> bytes of the files in a folder; none where the folder is not there."""
        from pyarrow import fs

        selector = fs.FileSelector(self.place(folder), allow_not_found=True)
        infos = self.filesystem.get_file_info(selector)
        return {info.base_name: int(info.size or 0) for info in infos if info.is_file}

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
            LinkRefused: a link would lead out of the folder.
        """
        if not self.is_local:
            with self.filesystem.open_output_stream(self.place(name)) as stream:
                stream.write(data)
            return
        target = self.own_place(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
        temporary.unlink(missing_ok=True)  # also a link that waits there
        try:
            temporary.write_bytes(data)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """Delete a file; nothing happens if there is none."""
        if self.is_local:
            self.own_place(name)
        if self.exists(name):
            self.filesystem.delete_file(self.place(name))

    def move(self, name: str, to: str) -> None:
        """Move a file within the folder, in place of one of that name.

        Raises:
            OSError: it cannot be moved.
            LinkRefused: a link would lead out of the folder.
        """
        if self.is_local:
            target = self.own_place(to)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.own_place(name), target)
        else:
            self.filesystem.move(self.place(name), self.place(to))

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
