"""Task families: one small module each; `build_task` turns a configuration into data."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Final

from trainables.config import TaskConfig, registry
from trainables.config.families import FAMILIES
from trainables.errors import ConfigError, refuse
from trainables.numerics.computing import settled_torch
from trainables.tasks.modular import LARGEST_MODULUS
from trainables.tasks.permutations import LARGEST_DEGREE
from trainables.tasks.sparse_parity import LARGEST_BITS
from trainables.tasks.split import Split, split
from trainables.tasks.task import LARGEST_EXAMPLES, Task

__all__ = ["FAMILIES", "LARGEST", "Split", "Task", "build_task", "split"]

LARGEST: Final = {
    "modulus": LARGEST_MODULUS,
    "degree": LARGEST_DEGREE,
    "bits": LARGEST_BITS,
    "examples": LARGEST_EXAMPLES,
}
"""Parameter of a task -> the largest whose table fits, in half a gigabyte or so."""


def build_task(config: TaskConfig) -> Task:
    """Build the table of a task, once per configuration: its tensors are shared and must not be written to.

    Raises:
        ConfigError: the family is unknown (the message names the nearest ones), or a registered one fails or gives
            no task.
    """
    # Looked up before what is remembered: a family may be registered anew, and files may change.
    return _built(config.with_source())


@lru_cache(maxsize=8)
@settled_torch()  # what is remembered must be of use whatever the caller's settings were
def _built(config: TaskConfig) -> Task:
    if config.family in FAMILIES:
        module, _, function = FAMILIES[config.family].partition(":")
        task = getattr(import_module(module), function)(config)
    else:
        own = registry.TASKS.matching(config.family, config.source)
        with own.unchanged():
            try:
                task = own.build(config)
            except ConfigError as error:
                raise ConfigError(f"{own.name}: {error}") from error
            except Exception as error:
                raise refuse(own.name, "must be built without an error", error) from error
        if not isinstance(task, Task):
            raise ConfigError(
                f"{own.name} must give a Task, got {type(task).__name__}; use Task.of(inputs, targets)"
            )
    assert isinstance(task, Task)
    return task
