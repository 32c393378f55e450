"""The digest of a value and of everything it holds, circles included: equal content, equal digest.

Values are nodes of a graph. Each node's digest is first that of its own text; then, again and again, that of its
text and of its parts' digests, until no further nodes can be told apart. So it does not matter which objects are
shared, in which order they are visited, or where a circle is entered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from trainables.config.content.definitions import Definitions
from trainables.config.content.node import NoContent, Node, atom
from trainables.config.content.values import node_of

_DIGEST_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Content:
    """What a function or class is made of."""

    digest: str
    """Hash of all of it, in hexadecimal."""
    parts: Mapping[str, bytes]
    """Where a part is, such as `build > Net > .forward > HID`, and its own digest."""


class Unhashable(Exception):
    """A part has no content that can be compared; the text names it, where it is used, and what it is."""


@dataclass(slots=True)
class _Visited:
    value: Any
    """Kept, so that no other value gets its identity meanwhile."""
    path: str
    text: bytes = b""
    parts: tuple[bytes | int, ...] = ()
    ordered: bool = True


def content_of(thing: Any, *, own: str | None = None) -> Content:
    """Hash a function, class or value with all that it uses.

    Args:
        thing: what is hashed.
        own: a top-level package that counts as the user's even if it is installed.

    Raises:
        Unhashable: a part cannot be compared by content.
    """
    nodes = _visited(thing, Definitions(own))
    digests = _refined(nodes)
    # Rounds end once all nodes are told apart, often before the first digest has heard of distant parts.
    everything = b"".join([digests[0], *sorted(set(digests))])
    parts = {node.path: digest for node, digest in zip(nodes, digests, strict=True)}
    return Content(hashlib.sha256(everything).hexdigest(), parts)


def _visited(thing: Any, definitions: Definitions) -> list[_Visited]:
    """List everything that can be reached, the nearest first."""
    nodes = [_Visited(thing, getattr(thing, "__qualname__", type(thing).__name__))]
    number_of = {id(thing): 0}
    for node in nodes:  # grows meanwhile
        described = _described(node, definitions)
        parts: list[bytes | int] = []
        for name, value in described.parts:
            plain = atom(value)
            if plain is not None:
                parts.append(_hash(b"atom", plain))
                continue
            if id(value) not in number_of:
                number_of[id(value)] = len(nodes)
                nodes.append(_Visited(value, f"{node.path} > {name}"))
            parts.append(number_of[id(value)])
        node.text = _hash(b"text", described.text.encode("utf-8", "surrogatepass"))
        node.parts, node.ordered = tuple(parts), described.ordered
    return nodes


def _described(node: _Visited, definitions: Definitions) -> Node:
    plain = atom(node.value)
    if plain is not None:
        return Node(repr(plain))
    try:
        return node_of(node.value, definitions)
    except NoContent as error:
        place, _, name = node.path.rpartition(" > ")
        raise Unhashable(f"it uses {name or node.path}{f' (in {place})' if place else ''}, {error}") from None


def _refined(nodes: list[_Visited]) -> list[bytes]:
    """Return each node's digest, after as many rounds as tell all different nodes apart."""
    digests = [_hash(b"unknown", node.text) if node.parts else node.text for node in nodes]
    kinds = 0
    while kinds < (kinds := len(set(digests))):
        digests = [_combined(node, digests) for node in nodes]
    return digests


def _combined(node: _Visited, digests: list[bytes]) -> bytes:
    if not node.parts:
        return node.text
    parts = [part if isinstance(part, bytes) else digests[part] for part in node.parts]
    return _hash(b"node", node.text, *(parts if node.ordered else sorted(parts)))


def _hash(kind: bytes, *parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES, person=kind)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
