"""The content of a job: our packages, the specification, and user-supplied modules of tasks and networks.

Sent are the modules that register the names of a sweep, what was imported from their folders, and what their files
import from elsewhere, unless it is installed. Then a fresh process imports the modules from what is sent alone, and
must find the same functions: see `sweep.on_ray.rehearsal`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.errors import SweepError
from sweep.on_ray.rehearsal import rehearse
from sweep.on_ray.user_modules import OUR_PACKAGES, needed_modules
from trainables.config.content.owner import is_installed

if TYPE_CHECKING:
    from sweep.specification.config import SweepConfig

SPECIFICATION_FILE = "specification.json"

LARGEST_SHIPMENT_BYTES = 50 * 2**20
"""Limit for user-supplied modules: Ray keeps what a job carries in the head's memory and sends it to every machine.
"""

_SITE = Path(__file__).parents[2]
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.pyc", "*.egg-info")


def pack(
    config: SweepConfig, imports: Sequence[str], folder: Path, sources: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Fill a folder with exactly what the driver needs, so that the upload is small.

    Args:
        config: the sweep.
        imports: modules to import before its specification is read.
        folder: an empty folder.
        sources: what identifies the names that these modules register, see `sweep.imports.sources_of`; with it, a
            fresh process checks that the modules have the same ones where they are sent to.

    Returns:
        Sentences about what is not sent.

    Raises:
        SweepError: the user-supplied modules are too large, cannot be sent, or differ once they are sent.
    """
    for package in OUR_PACKAGES:
        shutil.copytree(_SITE / package, folder / package, ignore=_LEFT_OUT)
    # The place of results is decided where the job is sent from, and passed to its driver.
    values = {"name": config.name, **config.model_dump(mode="json", exclude_unset=True, exclude={"results"})}
    (folder / SPECIFICATION_FILE).write_text(json.dumps(values, indent=2), encoding="utf-8")

    tops = {module.partition(".")[0] for module in imports}
    installed = sorted(top for top in tops if is_installed(top))
    for top, places in sorted(needed_modules(tops.difference(installed)).items()):
        for place in places:
            if place.is_dir():
                shutil.copytree(place, folder / top, ignore=_LEFT_OUT, dirs_exist_ok=True)
            else:
                shutil.copy(place, folder / place.name)
        _check_size(top, folder)
    if sources and len(installed) < len(tops):
        rehearse(folder, imports, sources)
    return tuple(
        f"{top} is installed here and is not sent; it must be installed on the cluster" for top in installed
    )


def _check_size(name: str, folder: Path) -> None:
    """Check the total size of user-supplied files, after `name` has been copied."""
    own = [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] not in (*OUR_PACKAGES, SPECIFICATION_FILE)
    ]
    total = sum(path.stat().st_size for path in own)
    if total > LARGEST_SHIPMENT_BYTES:
        largest = max(own, key=lambda path: path.stat().st_size)
        raise SweepError(
            f"your own files in a job must be at most {LARGEST_SHIPMENT_BYTES / 2**20:.0f} MiB, got "
            f"{total / 2**20:.0f} with {name}, {largest.stat().st_size / 2**20:.0f} of them in "
            f"{largest.relative_to(folder)}; keep data elsewhere, where the cluster's machines can read it"
        )
