"""User-supplied tasks and networks, by name: registered by a module that the user imports, never by YAML.

    @register_task("my-digits")
    def digits(config: TaskConfig) -> Task: ...

    @register_model("small-conv")
    def small_conv(task: Task, config: ModelConfig) -> nn.Module: ...

The user imports the module (`sweep run --import my_lab.tasks`), or it is an entry point of the group
`grokking_sweep` of an installed distribution. This module does not import torch, so that configurations stay light.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Final, TypeVar

from trainables.config.families import BUILT_IN_KINDS, FAMILIES
from trainables.config.source import source_digest
from trainables.errors import ConfigError

Builder = TypeVar("Builder", bound=Callable[..., Any])

ENTRY_POINT_GROUP: Final = "grokking_sweep"
"""Each entry point of this group is a module that registers when it is imported."""

IMPORT_IT: Final = "--import the module that registers it"
"""The advice in messages about an unknown name."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Registered:
    """The function registered under a name."""

    build: Callable[..., Any]
    source: str
    """Hash of its source, see `trainables.config.source`."""
    module: str
    """The module that registered it."""


class Names:
    """Registered names of one kind.

    Args:
        setting: the field that takes these names, shown in messages: `task.family`.
        built_in: names that are taken already.
    """

    def __init__(self, setting: str, built_in: Mapping[str, object] | tuple[str, ...]) -> None:
        self.setting = setting
        self._built_in = tuple(built_in)
        self._registered: dict[str, Registered] = {}

    def add(self, name: str, build: Callable[..., Any], source: str, module: str) -> None:
        """Register a function; it replaces one that the same module registered under this name before."""
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"a registered name must begin with a letter and continue with letters, digits, '.', '_' or '-', "
                f"got {name!r}"
            )
        there = self._registered.get(name)
        owner = "this package" if name in self._built_in else there.module if there else module
        if owner != module:
            raise ConfigError(
                f"the name {name!r} is taken by {owner}, and {module} registers it, too; choose another"
            )
        self._registered[name] = Registered(build, source, module)

    def get(self, name: str) -> Registered | None:
        """Return what was registered under a name; look in installed distributions last."""
        if name in self._built_in:
            return None
        if name not in self._registered:
            _load_entry_points()
        return self._registered.get(name)

    def unknown(self, name: str) -> ConfigError:
        """Return the error for an unknown name, with the nearest known ones."""
        known = [*self._built_in, *self._registered]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
        noun = self.setting.partition(".")[2]
        return ConfigError(
            f"{self.setting} must be a known {noun}, got {name!r}; try {' or '.join(near)}, or {IMPORT_IT}"
        )

    def matching(self, name: str, source: str | None) -> Registered:
        """Return what was registered, if its source is the one that a trial was planned with.

        Raises:
            ConfigError: nothing was registered, or its source is another one.
        """
        registered = self.get(name)
        if registered is None:
            raise self.unknown(name)
        if source is not None and registered.source != source:
            raise ConfigError(
                f"{self.setting} {name!r} must be what the trial was planned with, source {source}, but "
                f"{registered.module} registers source {registered.source}; "
                "plan again, or give this process the same files"
            )
        return registered


TASKS: Final = Names("task.family", FAMILIES)
MODELS: Final = Names("model.kind", BUILT_IN_KINDS)


def register_task(name: str) -> Callable[[Builder], Builder]:
    """Register a function from a `TaskConfig` to a `Task` as a task family.

    The source of the function, and of everything it uses from its own package, is part of a trial's id; data that
    it reads are not.

    Raises:
        ConfigError: the name is not valid, or it is taken.
    """
    return _register(TASKS, name)


def register_model(name: str) -> Callable[[Builder], Builder]:
    """Register a function from a `Task` and a `ModelConfig` to a `torch.nn.Module` as a kind of model.

    The module maps inputs [n, ...] of the task to logits [n, classes]; see `trainables.architectures.own_module`.
    Its initial weights must come from torch's own random numbers, which are seeded for it.

    Raises:
        ConfigError: the name is not valid, or it is taken.
    """
    return _register(MODELS, name)


def _register(names: Names, name: str) -> Callable[[Builder], Builder]:
    def decorate(build: Builder) -> Builder:
        names.add(name, build, source_digest(build), build.__module__)
        return build

    return decorate


@cache
def _load_entry_points() -> None:
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        entry.load()
