"""Task families: one small module each; `build_task` turns a configuration into data."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module

from trainables import registry
from trainables.config import TaskConfig
from trainables.errors import ConfigError
from trainables.families import FAMILIES
from trainables.tasks.split import Split, split
from trainables.tasks.task import Task

__all__ = ["FAMILIES", "Split", "Task", "build_task", "split"]


@lru_cache(maxsize=8)
def build_task(config: TaskConfig) -> Task:
    """The table of a task. Built once per configuration: the tensors are shared and must not be written to.

    Raises:
        ConfigError: no such family, the message names the nearest ones; or a registered one that gives no task.
    """
    if config.family in FAMILIES:
        module, _, function = FAMILIES[config.family].partition(":")
        task = getattr(import_module(module), function)(config)
    else:
        own = registry.TASKS.matching(config.family, config.source)
        task = own.build(config)
        if not isinstance(task, Task):
            raise ConfigError(
                f"{own.module} must return a Task for task.family {config.family!r}, got {type(task).__name__}; "
                "use Task.of(inputs, targets)"
            )
    assert isinstance(task, Task)
    return task
