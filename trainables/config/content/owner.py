"""Whose a module is: the user's, or part of the installed environment."""

from __future__ import annotations

import importlib.util
import site
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

_OUR_PACKAGES: Final = ("analysis", "sweep", "trainables")
_OUR_FOLDER: Final = Path(__file__).parents[3]
_INSTALLED_FOLDERS: Final = {"site-packages", "dist-packages"}
"""Packages of another environment that is visible in this one lie in such a folder, too."""


def is_installed(module: str, own: str | None = None) -> bool:
    """Tell whether a module belongs to the standard library, an installed distribution or this package.

    What was typed into a notebook or made by `exec` does not, and neither does a script or a distribution that is
    installed in editable form.

    Args:
        module: its dotted name.
        own: a top-level package that counts as the user's wherever it lies.
    """
    top = module.partition(".")[0]
    if top in (own, "__main__", "__mp_main__"):
        return False
    if top in sys.builtin_module_names:
        return True
    file = file_of(sys.modules[module]) if module in sys.modules else _file_of_top(top)
    if file is None:
        return top in sys.stdlib_module_names
    return _is_installed_file(file, top)


def file_of(module: ModuleType) -> str | None:
    """Return the file of an imported module, or the folder of a package without one; None if it has neither."""
    file = getattr(module, "__file__", None)
    return str(file) if file else next(iter(getattr(module, "__path__", [])), None)


def _file_of_top(top: str) -> str | None:
    """Return the file of a top-level module that need not have been imported."""
    if top in sys.modules:
        return file_of(sys.modules[top])
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    return spec.origin if spec.has_location else next(iter(spec.submodule_search_locations or []), None)


@cache
def _is_installed_file(file: str, top: str) -> bool:
    path = Path(file).absolute()
    if top in _OUR_PACKAGES and path.is_relative_to(_OUR_FOLDER / top):
        return True
    return not _INSTALLED_FOLDERS.isdisjoint(path.parts) or any(map(path.is_relative_to, _roots()))


@cache
def _roots() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    roots = {paths[name] for name in ("purelib", "platlib", "stdlib", "platstdlib")}
    return tuple(Path(root) for root in sorted({*roots, site.getusersitepackages()}))
