"""Hashes of what a user-supplied function or class is made of, and of data."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from trainables.config.content.graph import Content, Unhashable, content_of
from trainables.errors import ConfigError

SOURCE_CHARACTERS: Final = 12
"""The number of hexadecimal characters of a hash."""

_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


@dataclass(frozen=True, slots=True)
class Source:
    """What identifies a user-supplied function or class within a trial's id."""

    text: str
    """A hash of its content, or `version-` and the version that the user gave."""
    content: Content | None
    """None for a version."""

    def changed_parts(self, now: Source) -> list[str]:
        """List the places of what has another content now, those nearest to the change only."""
        if self.content is None or now.content is None:
            return []
        before, after = self.content.parts, now.content.parts
        changed = [path for path, digest in after.items() if before.get(path) != digest]
        return [path for path in changed if not any(other.startswith(f"{path} > ") for other in changed)]


def source_of(build: Callable[..., Any], *, own: str | None = None, advice: str = "") -> Source:
    """Hash what a function or class does: its bytecode, and the content of everything that it uses.

    That is: defaults, what it closes over, base classes, attributes and methods, and the globals that its code
    names, through all files outside the installed environment. What is installed counts by its qualified name.
    Lines, file names, comments, layout, docstrings, annotations of functions and names of local variables do not
    count.

    Args:
        build: the function or class.
        own: a top-level package whose content counts even if it is installed.
        advice: ends the message of an error.

    Raises:
        ConfigError: it uses something that cannot be compared by content, such as an open file.
    """
    try:
        content = content_of(build, own=own)
    except Unhashable as error:
        raise ConfigError(f"must be made of what can be compared by content, but {error}; {advice}") from None
    return Source(content.digest[:SOURCE_CHARACTERS], content)


def source_digest(build: Callable[..., Any], *, own: str | None = None) -> str:
    """Return the hash of what a function or class does, see `source_of`.

    Raises:
        ConfigError: see `source_of`.
    """
    return source_of(build, own=own, advice="create it within the function that uses it").text


def source_of_version(version: str) -> Source:
    """Return the source of something that the user vouches for under a version, without a look at its content.

    Raises:
        ConfigError: the version is not a short word.
    """
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise ConfigError(
            f"version must be a text of letters, digits, '.', '_', '+' or '-', at most 64, got {version!r}; "
            'write version="2"'
        )
    return Source(f"version-{version}", None)


def bytes_digest(*parts: bytes) -> str:
    """Hash data, at the length of a source's hash."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:SOURCE_CHARACTERS]
