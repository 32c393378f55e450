"""User-supplied modules that register tasks and networks: imported by name, here and on the workers.

Names come from the command line, or from the registry if a script has imported a module by itself; never from
YAML. Results record them, so that every process knows what it needs. This module imports nothing heavy by itself.
"""

from __future__ import annotations

import difflib
import importlib
import json
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.errors import ImportFailed, SweepError
from trainables.errors import raised

if TYPE_CHECKING:
    from trainables.config import TrialConfig
    from trainables.config.registry import Registered

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def import_modules(names: Iterable[str], folders: Sequence[str] = (), *, where: str = "") -> None:
    """Import modules by name, from the current folder and from `folders`, as `python -m` would.

    Args:
        names: dotted, as in an import statement.
        folders: folders of modules, some of which may be missing; they stay importable.
        where: added to messages, such as ` on worker-3`.

    Raises:
        ImportFailed: a module cannot be imported; the message names it and what it raised.
    """
    wanted = list(names)
    if not wanted:
        return
    for folder in (*reversed([place for place in folders if Path(place).is_dir()]), str(Path.cwd())):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    for name in wanted:
        _import(name, where)


def import_function(text: str) -> Callable[..., object]:
    """Import a function that is given as `MODULE:FUNCTION`.

    Raises:
        ImportFailed: the module cannot be imported, or has no such function.
    """
    module, _, name = text.partition(":")
    import_modules([module])
    function: Callable[..., object] | None = getattr(sys.modules[module], name, None)
    if function is None or not callable(function):
        near = _nearest(
            f"{module}.{name}", [one for one, value in vars(sys.modules[module]).items() if callable(value)]
        )
        raise ImportFailed(f"{text} must name a function of {module}{near}")
    return function


def imports_of(trials: Iterable[TrialConfig]) -> tuple[str, ...]:
    """Return the modules that registered the tasks and networks of these trials, in alphabetical order."""
    return tuple(sorted({own.module for own in _registrations(trials)}))


def sources_of(trials: Iterable[TrialConfig]) -> dict[str, str]:
    """Return what messages call a registered task or network of these trials -> what identifies it in their ids."""
    return {own.name: own.source for own in _registrations(trials)}


def registered_sources(names: Iterable[str]) -> dict[str, str]:
    """Return what identifies each of these registered tasks and networks in this process; others are left out.

    Args:
        names: what `sources_of` calls them.
    """
    from trainables.config.registry import MODELS, TASKS

    wanted = set(names)
    return {own.name: own.source for kind in (TASKS, MODELS) for own in kind.all() if own.name in wanted}


def _registrations(trials: Iterable[TrialConfig]) -> list[Registered]:
    """List the user-supplied tasks and networks of these trials."""
    from trainables.config.registry import MODELS, TASKS, Names

    names: set[tuple[Names, str]] = set()
    for trial in trials:
        exchanged = (training_set.family for _, training_set in trial.drift.exchanges)
        names |= {(TASKS, family) for family in (trial.task.family, *exchanged) if family is not None}
        names.add((MODELS, trial.model.kind))
    registrations = (registered.get(name) for registered, name in names)
    return [own for own in registrations if own is not None]


def require_importable(modules: Iterable[str]) -> None:
    """Check that other processes can import what is registered here.

    Raises:
        SweepError: a task or network is registered in a script or notebook.
    """
    for module in modules:
        if module == "__main__" or not _DOTTED.fullmatch(module):
            place = "this script or notebook" if module == "__main__" else module
            raise SweepError(
                f"tasks and networks of a sweep must be registered by a module that workers can import, but some "
                f"are registered by {place}; put them into a file, such as my_lab/tasks.py, and import that, or "
                "call sweep.run_here, which trains in this process"
            )


def recorded_imports(results: str) -> tuple[str, ...]:
    """Return the modules that the sweep of a results folder was planned with; none if it cannot be read."""
    from analysis.files import Files

    try:
        stated = json.loads(Files(results).read("sweep.json"))
    except (OSError, ValueError, RecursionError):
        return ()
    modules = stated.get("imports") if isinstance(stated, dict) else None
    return tuple(str(module) for module in modules) if isinstance(modules, list) else ()


def planned_with(results: str) -> str:
    """Return an addition to a message about an unknown name: ` (... --import ...)`, or nothing."""
    modules = recorded_imports(results)
    if not modules:
        return ""
    return f" ({results} was planned with {' '.join(f'--import {module}' for module in modules)})"


def _import(name: str, where: str) -> None:
    if not _DOTTED.fullmatch(name):
        meant = name.removesuffix(".py").replace("/", ".").strip(".")
        hint = f"; did you mean {meant}?" if _DOTTED.fullmatch(meant) else ""
        raise ImportFailed(f"--import must name a module as an import statement does, got {name!r}{hint}")
    try:
        importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # an import may raise anything, even SystemExit
        raise ImportFailed(f"--import {name} cannot be imported{where}: {_what(error, name)}") from error


def _what(error: BaseException, name: str) -> str:
    what = raised(error)
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is not None and missing == name.partition(".")[0]:
        return f"{what}; run this in the folder that contains {missing}, not {Path.cwd()}, or install it"
    if missing is not None and name.startswith(missing):
        package = sys.modules.get(missing.rpartition(".")[0])
        inside = [module.name for module in pkgutil.iter_modules(getattr(package, "__path__", None) or [])]
        return f"{what}{_nearest(missing, inside)}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    theirs = [frame for frame in frames if frame.filename != __file__]
    return f"{what} ({theirs[-1].filename}:{theirs[-1].lineno})" if theirs else what


def _nearest(missing: str, inside: Sequence[str]) -> str:
    package, _, last = missing.rpartition(".")
    near = difflib.get_close_matches(last, inside, n=1)
    if near:
        return f"; did you mean {package}.{near[0]}?"
    return f"; {package} has {', '.join(sorted(inside)) or 'no modules'}"
