"""Reads `cluster.yaml`: the bucket for results, and whether the file still has to be edited."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sweep.errors import PlaceholderLeft, SweepError

#: The cluster file that a submission looks for in the current folder.
CLUSTER_FILE = Path("cluster.yaml")

_PLACEHOLDER = re.compile(r"<YOUR-[A-Z-]+>")


def check_no_placeholders(text: str, name: str) -> None:
    """Refuse a text that still contains a placeholder such as `<YOUR-BUCKET>`; comments do not count.

    Args:
        text: contents of a cluster file or a specification, or a results path.
        name: its name in the message: the file's name, or the option it came from.

    Raises:
        PlaceholderLeft: there are placeholders; the message lists each with its line.
    """
    lines = text.splitlines()
    placeholders = [
        (f"{name}:{number}" if len(lines) > 1 else name, placeholder)
        for number, line in enumerate(lines, start=1)
        for placeholder in _placeholders(line)
    ]
    if placeholders:
        raise PlaceholderLeft(
            "\n".join(
                f"{where}: put your own value in place of {placeholder}" for where, placeholder in placeholders
            )
        )


def results_root(path: Path = CLUSTER_FILE) -> str:
    """Return where a cluster's results go: `metadata.results` of its file, once everything in the file is edited.

    Raises:
        SweepError: the file is missing, still has a placeholder, or has no `metadata.results` that all nodes can
            reach.
    """
    from ruamel.yaml import YAML

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SweepError(f"cannot read the cluster file {path}: {error.strerror}") from error
    check_no_placeholders(text, str(path))
    content = YAML(typ="safe", pure=True).load(text)
    metadata = content.get("metadata") if isinstance(content, dict) else None
    root = metadata.get("results") if isinstance(metadata, dict) else None
    if not isinstance(root, str) or "://" not in root:
        raise SweepError(f"{path}: metadata.results must be a bucket such as s3://my-bucket/sweeps, got {root!r}")
    return root.rstrip("/")


def _placeholders(line: str) -> Iterator[str]:
    value = re.split(r"(?:^|\s)#", line, maxsplit=1)[0]
    yield from _PLACEHOLDER.findall(value)
