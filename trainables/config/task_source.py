"""What a task is made of beside its parameters: the source of a registered family, the content of files."""

from __future__ import annotations

from pathlib import Path

from trainables.config import registry
from trainables.config.address import checked_address
from trainables.config.digit_files import data_digest


def absolute_path(data: str) -> str:
    """Return the path of a task's files as every process of this machine understands it.

    Raises:
        ConfigError: the address is not a local path.
    """
    return str(Path(checked_address("task.data", data, buckets=False)).expanduser().absolute())


def task_source(family: str, data: str | None) -> str | None:
    """Return the hash of what a family's table is made of; None for a built-in family or one not registered here.

    Args:
        family: name of a task family.
        data: where the files are, for a family that is read from files.

    Raises:
        ConfigError: the files cannot be read; the message begins with `task.data`.
    """
    if data is not None:
        return data_digest(data)
    own = registry.TASKS.get(family)
    return None if own is None else own.source
