"""Addresses of files and folders: local paths and, where buckets are allowed, s3://; all others are refused.

Python's `pathlib` turns `s3://bucket` into `s3:/bucket`, which is a local folder named 's3:' unless it is refused.
"""

from __future__ import annotations

import re
from pathlib import PurePath

from trainables.errors import ConfigError, shown

BUCKET_SCHEME = "s3"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/+)(.*)", re.DOTALL)
"""A scheme of two letters or more: one letter is a drive of Windows."""


def checked_address(name: str, address: str | PurePath, *, buckets: bool = True) -> str:
    """Return an address as it is used: file:///x becomes /x, paths and s3:// addresses remain as they are.

    Args:
        name: what the address is of, as the message begins: `results`.
        address: a local path, a file:/// address, or an s3:// address.
        buckets: whether an s3:// address is allowed.

    Raises:
        ConfigError: the address has another scheme, a wrong number of slashes, or unprintable characters.
    """
    text = str(address)
    if not text.isprintable():
        raise ConfigError(f"{name} must be an address of printable characters, got {shown(text)}")
    match = _SCHEME.match(text)
    if match is None:
        return text
    scheme, slashes, rest = match[1].lower(), len(match[2]), match[3]
    if scheme == "file" and slashes == 3:
        return f"/{rest}"
    if scheme == BUCKET_SCHEME and slashes == 2 and buckets:
        return text
    allowed = "a local path or an s3:// address" if buckets else "a local path"
    if scheme == "file":
        hint = "write file:///folder with three slashes, or the path alone"
    elif scheme == BUCKET_SCHEME and buckets:
        hint = f"write s3://{rest[:40]} with two slashes, as a text: pathlib.Path takes one of them away"
    else:
        hint = f"{scheme}: addresses are not supported; a local folder of that name is ./{scheme}:"
    raise ConfigError(f"{name} must be {allowed}, got {shown(text)}; {hint}")
