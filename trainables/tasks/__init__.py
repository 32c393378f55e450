"""Task families: one small module each; `build_task` turns a configuration into data."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import lru_cache

from trainables.config import TaskConfig
from trainables.errors import ConfigError
from trainables.tasks.modular import OPERATIONS, modular_task
from trainables.tasks.split import Split, split
from trainables.tasks.task import Task

__all__ = ["FAMILIES", "Split", "Task", "build_task", "split"]

FAMILIES: dict[str, Callable[[TaskConfig], Task]] = dict.fromkeys(OPERATIONS, modular_task)


@lru_cache(maxsize=8)
def build_task(config: TaskConfig) -> Task:
    """The table of a task. Built once per configuration: the tensors are shared and must not be written to.

    Raises:
        ConfigError: no such family; the message names the nearest ones.
    """
    if config.family not in FAMILIES:
        nearest = difflib.get_close_matches(config.family, FAMILIES, n=3, cutoff=0.4) or list(FAMILIES)
        raise ConfigError(
            f"task.family must name a known family, got {config.family!r}; try {' or '.join(nearest)}"
        )
    return FAMILIES[config.family](config)
