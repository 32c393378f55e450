"""Which trials of Tune are seeds of one setting."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ray import cloudpickle

from sweep.errors import SweepError
from trainables.errors import shown

SEED_KEYS = ("seed",)
"""The keys of a config in which seeds differ; a config may do without these."""


def cell_of(config: Mapping[str, Any], seed_keys: Sequence[str]) -> str:
    """Return a hash of a trial's config without its seeds.

    Args:
        config: what Tune has sampled.
        seed_keys: keys that are left out, nested ones with dots.

    Raises:
        SweepError: there is no such key.
    """
    settings = dict(_flat(config))
    missing = [key for key in seed_keys if key not in settings and key not in SEED_KEYS]
    if missing:
        raise SweepError(
            f"seed_keys must be keys of a trial's config, got {shown(missing[0])}; its keys are "
            f"{', '.join(settings) or 'none'}"
        )
    of_cell = {key: value for key, value in settings.items() if key not in seed_keys}
    return hashlib.sha256(json.dumps(of_cell, sort_keys=True, default=_plain).encode()).hexdigest()


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _plain(value: Any) -> Any:
    """Return what a value that JSON does not know is made of: a number, or a hash."""
    if hasattr(value, "item") and getattr(value, "size", 0) == 1:
        return value.item()
    try:
        return hashlib.sha256(cloudpickle.dumps(value)).hexdigest()
    except Exception:  # a lock, a socket: whatever cannot be pickled
        return repr(value)
