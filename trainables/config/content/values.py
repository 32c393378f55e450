"""Values as nodes: containers, numbers, arrays, tensors, and objects as pickle takes them apart."""

from __future__ import annotations

import copyreg
import functools
import hashlib
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from trainables.config.content.definitions import Definitions, full_name
from trainables.config.content.node import NoContent, Node
from trainables.config.content.owner import file_of

_CHANGING: Final = {
    ("random", "Random"),
    ("numpy.random._generator", "Generator"),
    ("numpy.random.mtrand", "RandomState"),
    ("numpy.random.bit_generator", "BitGenerator"),
    ("torch._C", "Generator"),
}
"""Types of random numbers, whose state changes as they are used."""

_PICKLE_PROTOCOL: Final = 4
_TYPE_VARIABLES: Final = {"TypeVar", "ParamSpec", "TypeVarTuple"}


def node_of(value: Any, definitions: Definitions) -> Node:
    """Describe any value that is not an atom.

    Raises:
        NoContent: two such values cannot be compared, or the value changes as it is used.
    """
    node = definitions.node_of(value)
    if node is None:
        node = _container(value)
    if node is None:
        node = _array(value)
    return _object(value, definitions) if node is None else node


def _container(value: Any) -> Node | None:
    kind = type(value)
    if kind in (list, tuple):
        return Node(kind.__name__, [(f"[{number}]", item) for number, item in enumerate(value)])
    if kind in (dict, OrderedDict, types.MappingProxyType):
        return Node(kind.__name__, _items(value))
    if isinstance(value, (set, frozenset)):
        members = [(f"an element {member!r:.40}", member) for member in value]
        if kind in (set, frozenset):
            return Node(kind.__name__, members, ordered=False)
        return Node("set object", [("", kind), ("", set(value)), *_state(getattr(value, "__dict__", {}))])
    if kind is slice:
        return Node("slice", [("start", value.start), ("stop", value.stop), ("step", value.step)])
    if kind is types.CellType:
        return Node("cell", [("its content", value.cell_contents)])
    return None


def _items(mapping: Any) -> list[tuple[str, Any]]:
    """List keys and values in their order, in which a network may build its layers."""
    return [
        part for key, value in mapping.items() for part in ((f"key {key!r:.40}", key), (f"[{key!r:.40}]", value))
    ]


def _state(mapping: Any) -> list[tuple[str, Any]]:
    """List attributes by name: their order says nothing."""
    return [part for name in sorted(mapping) for part in (("", name), (f".{name}", mapping[name]))]


def _array(value: Any) -> Node | None:
    """Describe an array or tensor by its bytes, without importing torch: if it is there, it is imported."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and type(value) in (numpy.ndarray, numpy.memmap):
        if value.dtype.hasobject:  # its bytes are addresses, another in each process
            return Node(f"array {value.dtype} {value.shape}", [("its elements", value.reshape(-1).tolist())])
        digest = hashlib.sha256(numpy.ascontiguousarray(value).data.cast("B") if value.size else b"")
        return Node(f"array {value.dtype.descr} {value.shape} {digest.hexdigest()}")
    if torch is not None and isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise NoContent("a sparse, quantised or meta tensor")
        # Conjugation and negation are flags on the same bytes, so they are carried out before these are hashed.
        plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        digest = hashlib.sha256(plain.view(torch.uint8).numpy().data if plain.numel() else b"")
        about = f"{value.dtype} {tuple(value.shape)} {value.requires_grad} {digest.hexdigest()}"
        return Node(f"tensor {about}", [("its type", type(value))])
    return None


def _object(value: Any, definitions: Definitions) -> Node:
    """Describe an object by its type and state, as pickle takes it apart."""
    kind = type(value)
    if any((base.__module__, base.__qualname__) in _CHANGING for base in kind.__mro__):
        raise NoContent(f"a {full_name(kind)}, whose state changes as it is used")
    if isinstance(value, Iterator):
        raise NoContent(f"a {full_name(kind)}, which changes as it is read")
    if isinstance(value, functools.cached_property):
        return Node("cached property", [("its function", value.func)])
    # As pickle does it: a function registered for the type comes before the type's own method.
    try:
        reduce = copyreg.dispatch_table.get(kind)
        reduced = reduce(value) if reduce is not None else value.__reduce_ex__(_PICKLE_PROTOCOL)
    except Exception as error:
        raise NoContent(f"a {full_name(kind)}, which has no content that can be compared") from error
    if isinstance(reduced, str):
        return _by_name(value, reduced, definitions)
    function, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    plain_state = isinstance(state, dict) and all(isinstance(name, str) for name in state)
    attributes = _state(state) if plain_state else [("its state", state)]
    held = [("its items", None if items is None else list(items)), *_items(dict(pairs or ()))]
    made = [("its type", kind), ("what makes it", function), ("what it is made of", tuple(arguments))]
    return Node(f"object {plain_state} {len(attributes)}", [*made, *attributes, *held])


def _by_name(value: Any, name: str, definitions: Definitions) -> Node:
    """Describe what pickle knows only by a global name."""
    kind = type(value)
    module = getattr(value, "__module__", None) or kind.__module__
    if definitions.installed(module) or kind.__name__ in _TYPE_VARIABLES:
        return Node(f"global {module} {name}")
    imported = sys.modules.get(module)
    file = file_of(imported) if imported is not None else None
    if file is None or file.endswith(".py") or not Path(file).is_file():
        raise NoContent(f"a {full_name(kind)}, which has no content that can be compared")
    return Node(f"compiled {name}", [("its file", Path(file).read_bytes())])
