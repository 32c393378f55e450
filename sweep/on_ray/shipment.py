"""The content of a job: our packages, the specification, and user-supplied modules of tasks and networks."""

from __future__ import annotations

import json
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.errors import SweepError
from sweep.imports import place_of

if TYPE_CHECKING:
    from sweep.specification.config import SweepConfig

SPECIFICATION_FILE = "specification.json"

LARGEST_SHIPMENT_BYTES = 50 * 2**20
"""Limit for user-supplied modules: Ray keeps what a job carries in the head's memory and sends it to every machine.
"""

_SITE = Path(__file__).parents[2]
_PACKAGES = ("analysis", "sweep", "trainables")
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.pyc", "*.egg-info")


def pack(config: SweepConfig, imports: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Fill a folder with exactly what the driver needs, so that the upload is small.

    User-supplied files are those that have been imported from the folders of the named modules; hidden files stay
    here.

    Args:
        config: the sweep.
        imports: modules to import before its specification is read.
        folder: an empty folder.

    Returns:
        Sentences about what is not sent.

    Raises:
        SweepError: the user-supplied modules are too large.
    """
    for package in _PACKAGES:
        shutil.copytree(_SITE / package, folder / package, ignore=_LEFT_OUT)
    # The place of results is decided where the job is sent from, and passed to its driver.
    values = {"name": config.name, **config.model_dump(mode="json", exclude_unset=True, exclude={"results"})}
    (folder / SPECIFICATION_FILE).write_text(json.dumps(values, indent=2), encoding="utf-8")

    installed = [module for module in imports if _is_installed(place_of(module))]
    roots = {place_of(module).parent for module in imports if module not in installed}
    for place in sorted(_loaded_from(roots)):
        if place.is_dir():
            shutil.copytree(place, folder / place.name, ignore=_LEFT_OUT)
        else:
            shutil.copy(place, folder / place.name)
        _check_size(place.name, folder)
    tops = sorted({module.partition(".")[0] for module in installed})
    return tuple(f"{top} is installed here and is not sent; it must be installed on the cluster" for top in tops)


def _is_installed(place: Path) -> bool:
    paths = sysconfig.get_paths()
    return any(place.is_relative_to(paths[name]) for name in ("purelib", "platlib", "stdlib", "platstdlib"))


def _loaded_from(roots: Iterable[Path]) -> set[Path]:
    """Return folders and files of the top-level modules that this process has imported from these folders."""
    wanted = set(roots)
    places = {
        place_of(name)
        for name, module in sys.modules.items()
        if "." not in name and name not in (*_PACKAGES, "__main__") and _has_place(module)
    }
    return {place for place in places if place.parent in wanted and place.exists()}


def _has_place(module: object) -> bool:
    return bool(getattr(module, "__file__", None)) or bool(list(getattr(module, "__path__", [])))


def _check_size(name: str, folder: Path) -> None:
    """Check the total size of user-supplied files, after `name` has been copied."""
    own = [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] not in (*_PACKAGES, SPECIFICATION_FILE)
    ]
    total = sum(path.stat().st_size for path in own)
    if total > LARGEST_SHIPMENT_BYTES:
        largest = max(own, key=lambda path: path.stat().st_size)
        raise SweepError(
            f"your own files in a job must be at most {LARGEST_SHIPMENT_BYTES / 2**20:.0f} MiB, got "
            f"{total / 2**20:.0f} with {name}, {largest.stat().st_size / 2**20:.0f} of them in "
            f"{largest.relative_to(folder)}; keep data elsewhere, where the cluster's machines can read it"
        )
