"""The user's modules that registered tasks and networks need: found by their import statements."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from trainables.config.content.owner import is_installed

OUR_PACKAGES = ("analysis", "sweep", "trainables")
_NOT_THE_USERS = frozenset({*OUR_PACKAGES, "__main__", "__mp_main__"})


def needed_modules(tops: Iterable[str]) -> dict[str, list[Path]]:
    """Return top-level module -> its file or folders, for these modules and the user-supplied ones that they need.

    These are what was imported from their folders, and what their files import from elsewhere, within functions,
    too. What is installed is left out.

    Args:
        tops: names of top-level modules.
    """
    needed: dict[str, list[Path]] = {}
    waiting = sorted(tops)
    roots: set[Path] = set()
    for top in waiting:
        places = _places_of(top)
        roots |= {place.parent for place in places}
    waiting += _loaded_from(roots)
    while waiting:
        top = waiting.pop()
        if top in needed or top in _NOT_THE_USERS or is_installed(top):
            continue
        places = _places_of(top)
        if not places:
            continue  # an import that is allowed to fail, or fails in the check of what is sent
        needed[top] = places
        waiting += {name for file in _files_of(top, places) for name in _imported_by(file)}
    return needed


def import_folders(modules: Iterable[str]) -> tuple[str, ...]:
    """Return the folders in which other processes of this machine find these modules, and what they need."""
    needed = needed_modules({module.partition(".")[0] for module in modules})
    return tuple(sorted({str(place.parent) for places in needed.values() for place in places}))


def _places_of(top: str) -> list[Path]:
    """Return where a top-level module lies, imported or not: its file, or its folders if it is a package."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):  # a module that was made by hand has no specification
        spec = None
    if spec is None:
        return []
    places = list(spec.submodule_search_locations or []) or ([spec.origin] if spec.origin else [])
    return [Path(place).absolute() for place in places if Path(place).exists()]


def _loaded_from(roots: Iterable[Path]) -> list[str]:
    """List the top-level modules that this process has imported from these folders."""
    wanted = set(roots)
    return [
        name
        for name in list(sys.modules)
        if "." not in name and name not in _NOT_THE_USERS and any(p.parent in wanted for p in _places_of(name))
    ]


def _files_of(top: str, places: Iterable[Path]) -> list[Path]:
    """List the Python files of a module that count: those that were imported; all of one that was not imported."""
    if top not in sys.modules:
        return [file for place in places for file in (place.rglob("*.py") if place.is_dir() else [place])]
    loaded = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == top]
    files = (getattr(module, "__file__", None) for module in loaded)
    return [Path(file) for file in files if file]


def _imported_by(file: Path) -> Iterator[str]:
    """Yield the top-level modules that a file names in import statements, wherever in it they are."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):  # compiled, or not Python
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0]
