"""Hashes of what a function's result depends on: its source, and that of everything it uses in its own package."""

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
"""The number of hexadecimal characters of a hash."""


def source_digest(build: Callable[..., Any]) -> str:
    """Hash the source of a function or class, and of what it uses.

    From its own file, the definitions and constants that it names count, and those that these name. From another
    file of the same top-level package, the whole file counts. For code defined within a function or in a notebook,
    plain values around it count, too. Comments, layout and other packages do not count.

    Raises:
        ConfigError: the source cannot be read, for example because it was typed at a prompt.
    """
    file = getattr(sys.modules.get(build.__module__), "__file__", None)
    if file is None or not Path(file).is_file():
        text_of = dict(_typed(build, set()))
    elif build.__qualname__ == build.__name__ != "<lambda>":
        text_of = dict(_used(Path(file), build.__module__, {build.__name__}))
    else:  # it is defined within another function
        text_of = dict(_typed(build, set()))
        functions = (
            [build] if inspect.isfunction(build) else [f for f in vars(build).values() if inspect.isfunction(f)]
        )
        names = {name for function in functions for name in _names_in(function.__code__)}
        text_of |= {"names": " ".join(sorted(names)), **dict(_used(Path(file), build.__module__, names))}
    if not any(text_of.values()):
        raise ConfigError(
            f"the source of {build.__qualname__} must be readable, because it is part of every trial's id, but it "
            "is not; define it at the top of a module or in a notebook's cell"
        )
    return _digest("\n".join(text for _, text in sorted(text_of.items())))


def bytes_digest(*parts: bytes) -> str:
    """Hash data, at the length of a source's hash."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:SOURCE_CHARACTERS]


def _typed(thing: Any, seen: set[str]) -> Iterator[tuple[str, str]]:
    """List names and sources of code typed into a notebook; functions know their cell's text, classes do not."""
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
    """Return a function's source without comments and layout; for a lambda, only the lambda itself.

    Raises:
        OSError: the source is not available.
    """
    if function.__name__ != "<lambda>":
        return _plain(textwrap.dedent(inspect.getsource(function)))
    tree = ast.parse("".join(inspect.findsource(function)[0]))
    bodies = {
        (node.body.lineno, node.body.end_lineno, node.body.col_offset, node.body.end_col_offset): ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Lambda)
    }
    texts = [bodies[place] for place in function.__code__.co_positions() if place in bodies]
    if not texts:
        raise OSError("its file has changed")
    return texts[-1]


def _values_in(function: FunctionType) -> dict[str, object]:
    """Return the values that a function finds under the names it uses, in its module and in enclosing functions."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    around = {name: cell.cell_contents for name, cell in cells}
    return {name: function.__globals__.get(name) for name in _names_in(function.__code__)} | around


def _names_in(code: CodeType) -> set[str]:
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return {*code.co_names, *(name for one in inner for name in _names_in(one))}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:SOURCE_CHARACTERS]


def _used(file: Path, module: str, names: set[str]) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of everything that the named definitions of a file use."""
    definitions = _definitions(file.read_text(encoding="utf-8"))
    visited: set[str] = set()
    wanted = sorted(names)
    while wanted:
        name = wanted.pop()
        if name in visited or name not in definitions:
            continue
        visited.add(name)
        for number, node in enumerate(definitions[name]):
            yield f"{name}/{number}", ast.unparse(node)
            wanted += [inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)]
            for other, place in _imported_files(node, module).items():
                if place != file:
                    yield other, _plain(place.read_text(encoding="utf-8"))


def _definitions(text: str) -> dict[str, list[ast.stmt]]:
    """Return top-level name -> the statements that define it."""
    statements: dict[str, list[ast.stmt]] = {}
    for node in ast.parse(text).body:
        for name in _names_defined_by(node):
            statements.setdefault(name, []).append(node)
    return statements


def _names_defined_by(node: ast.stmt) -> set[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    # Find assignments, also those within loops and conditions.
    stored = (inner for inner in ast.walk(node) if isinstance(inner, ast.Name))
    return {inner.id for inner in stored if isinstance(inner.ctx, ast.Store)} - set(dir(builtins))


def _imported_files(node: ast.stmt, module: str) -> dict[str, Path]:
    """Return the modules of the same top-level package that an import statement names, with their files."""
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
    """Normalise source: remove comments and layout."""
    try:
        return ast.unparse(ast.parse(text))
    except SyntaxError:
        return text
