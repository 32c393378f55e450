"""What a function's result depends on, as a hash: its source and that of all it uses in its own package."""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib.util
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from trainables.errors import ConfigError

_PLAIN_VALUES = (bool, int, float, str, bytes, tuple, type(None))

SOURCE_CHARACTERS = 12
"""Of the hash, hexadecimal."""


def source_digest(build: Callable[..., Any]) -> str:
    """Hash of the source of a function or class, and of what it uses.

    Of its own file that are the definitions and constants it names, and those that these name; of another file of
    the same top-level package it is the whole file. Of what is defined within a function, or typed into a notebook,
    plain values that it finds around it count, too. Comments and layout do not count; other packages do not.

    Raises:
        ConfigError: the source cannot be read, as of something typed at a prompt.
    """
    file = getattr(sys.modules.get(build.__module__), "__file__", None)
    if file is None or not Path(file).is_file():
        found = dict(_typed(build, set()))
    elif build.__qualname__ == build.__name__ != "<lambda>":
        found = dict(_used(Path(file), build.__module__, {build.__name__}))
    else:  # it is defined within another function
        found = dict(_typed(build, set()))
        functions = (
            [build] if inspect.isfunction(build) else [f for f in vars(build).values() if inspect.isfunction(f)]
        )
        names = {name for function in functions for name in _names_in(function.__code__)}
        found |= {"names": " ".join(sorted(names)), **dict(_used(Path(file), build.__module__, names))}
    if not any(found.values()):
        raise ConfigError(
            f"the source of {build.__qualname__} must be readable, for it is part of every trial's id, and it is "
            "not; define it at the top of a module or in a notebook's cell"
        )
    return _digest("\n".join(text for _, text in sorted(found.items())))


def bytes_digest(*parts: bytes) -> str:
    """Hash of data, as short as that of a source."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:SOURCE_CHARACTERS]


def _typed(thing: Any, seen: set[str]) -> Iterator[tuple[str, str]]:
    """The same of what was typed into a notebook, where functions know their cell's text, and classes do not."""
    parts = vars(thing) if inspect.isclass(thing) else {thing.__name__: thing}
    for base in thing.__bases__ if inspect.isclass(thing) else ():
        if base.__module__ == thing.__module__:
            yield from _typed(base, seen)
    for name, value in parts.items():
        if isinstance(value, _PLAIN_VALUES) and not name.startswith("__"):
            yield f"{thing.__qualname__}.{name}", repr(value)
    for function in (part for part in parts.values() if inspect.isfunction(part)):
        name = f"{thing.__qualname__}.{function.__name__}"
        if name in seen:
            continue
        seen.add(name)
        try:
            yield name, _text_of(function)
        except (OSError, TypeError, SyntaxError):
            continue
        for used, other in sorted(_values_in(function).items()):
            if isinstance(other, _PLAIN_VALUES):
                yield f"{name}/{used}", repr(other)
            elif (inspect.isfunction(other) or inspect.isclass(other)) and other.__module__ == thing.__module__:
                yield from _typed(other, seen)


def _text_of(function: FunctionType) -> str:
    """Its source without comments and layout; of a lambda itself, and not of the statement it stands in.

    Raises:
        OSError: nobody knows.
    """
    if function.__name__ != "<lambda>":
        return _plain(textwrap.dedent(inspect.getsource(function)))
    tree = ast.parse("".join(inspect.findsource(function)[0]))
    bodies = {
        (node.body.lineno, node.body.end_lineno, node.body.col_offset, node.body.end_col_offset): ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Lambda)
    }
    found = [bodies[place] for place in function.__code__.co_positions() if place in bodies]
    if not found:
        raise OSError("its file has changed")
    return found[-1]


def _values_in(function: FunctionType) -> dict[str, object]:
    """What a function finds under the names it uses, in its module and in the functions around it."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    around = {name: cell.cell_contents for name, cell in cells}
    return {name: function.__globals__.get(name) for name in _names_in(function.__code__)} | around


def _names_in(code: CodeType) -> set[str]:
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return {*code.co_names, *(name for one in inner for name in _names_in(one))}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:SOURCE_CHARACTERS]


def _used(file: Path, module: str, names: set[str]) -> Iterator[tuple[str, str]]:
    """(What, its text) of everything that some definitions of a file are made of."""
    definitions = _definitions(file.read_text(encoding="utf-8"))
    found: set[str] = set()
    wanted = sorted(names)
    while wanted:
        name = wanted.pop()
        if name in found or name not in definitions:
            continue
        found.add(name)
        for number, node in enumerate(definitions[name]):
            yield f"{name}/{number}", ast.unparse(node)
            wanted += [inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)]
            for other, place in _imported_files(node, module).items():
                if place != file:
                    yield other, _plain(place.read_text(encoding="utf-8"))


def _definitions(text: str) -> dict[str, list[ast.stmt]]:
    """Top-level name -> the statements that give it a meaning."""
    found: dict[str, list[ast.stmt]] = {}
    for node in ast.parse(text).body:
        for name in _names_defined_by(node):
            found.setdefault(name, []).append(node)
    return found


def _names_defined_by(node: ast.stmt) -> set[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    # Assignments, and whatever is assigned within loops and conditions.
    stored = (inner for inner in ast.walk(node) if isinstance(inner, ast.Name))
    return {inner.id for inner in stored if isinstance(inner.ctx, ast.Store)} - set(dir(builtins))


def _imported_files(node: ast.stmt, module: str) -> dict[str, Path]:
    """Modules of the same top-level package that an import statement names, with their files."""
    package = module.rpartition(".")[0]
    names: list[str] = []
    for inner in ast.walk(node):
        if isinstance(inner, ast.Import):
            names += [alias.name for alias in inner.names]
        elif isinstance(inner, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - inner.level + 1] if inner.level else []
            base = ".".join([*parents, *([inner.module] if inner.module else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in inner.names)]
    top = module.partition(".")[0]
    files = {name: _file_of(name) for name in names if name.partition(".")[0] == top}
    return {name: file for name, file in files.items() if file is not None}


def _file_of(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _plain(text: str) -> str:
    """Source without comments and layout."""
    try:
        return ast.unparse(ast.parse(text))
    except SyntaxError:
        return text
