"""Tasks and networks of the user's, by name: registered by a module of theirs that is imported, never by YAML.

    @register_task("my-digits")
    def digits(config: TaskConfig) -> Task: ...

    @register_model("small-conv")
    def small_conv(task: Task, config: ModelConfig) -> nn.Module: ...

The module is imported by whoever runs (`sweep run --import my_lab.tasks`), or found as an entry point of the group
`grokking_sweep` of an installed distribution. Knows nothing of torch, so that configurations stay light.
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
"""What messages advise where a name stands for nothing."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Registered:
    """What a name stands for."""

    build: Callable[..., Any]
    source: str
    """Hash of its source, see `trainables.config.source`."""
    module: str
    """Where it was registered."""


class Names:
    """Names of one sort.

    Args:
        setting: what they are values of, for messages: `task.family`.
        built_in: names that are taken.
    """

    def __init__(self, setting: str, built_in: Mapping[str, object] | tuple[str, ...]) -> None:
        self.setting = setting
        self._built_in = tuple(built_in)
        self._registered: dict[str, Registered] = {}

    def add(self, name: str, build: Callable[..., Any], source: str, module: str) -> None:
        """Register; what the same module has registered before under this name is replaced."""
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"a registered name must begin with a letter, and go on with letters, digits, '.', '_' or '-', got "
                f"{name!r}"
            )
        there = self._registered.get(name)
        owner = "this package" if name in self._built_in else there.module if there else module
        if owner != module:
            raise ConfigError(
                f"the name {name!r} is taken by {owner}, and {module} registers it, too; choose another"
            )
        self._registered[name] = Registered(build, source, module)

    def get(self, name: str) -> Registered | None:
        """What was registered under a name, by an installed distribution if by nobody else."""
        if name in self._built_in:
            return None
        if name not in self._registered:
            _load_entry_points()
        return self._registered.get(name)

    def unknown(self, name: str) -> ConfigError:
        """The error where a name stands for nothing; it names the nearest."""
        known = [*self._built_in, *self._registered]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
        noun = self.setting.partition(".")[2]
        return ConfigError(
            f"{self.setting} must be a known {noun}, got {name!r}; try {' or '.join(near)}, or {IMPORT_IT}"
        )

    def matching(self, name: str, source: str | None) -> Registered:
        """What was registered, if it is what a trial was planned with.

        Raises:
            ConfigError: nothing was, or with another source.
        """
        found = self.get(name)
        if found is None:
            raise self.unknown(name)
        if source is not None and found.source != source:
            raise ConfigError(
                f"{self.setting} {name!r} must be what the trial was planned with, source {source}, and "
                f"{found.module} registers source {found.source}; plan again, or give this process the same files"
            )
        return found


TASKS: Final = Names("task.family", FAMILIES)
MODELS: Final = Names("model.kind", BUILT_IN_KINDS)


def register_task(name: str) -> Callable[[Builder], Builder]:
    """Make a function from a `TaskConfig` to a `Task` known as a task family.

    The function's source, and that of what it uses of its own package, is part of a trial's id; data that it reads
    is not.

    Raises:
        ConfigError: a name that is none, or taken.
    """
    return _register(TASKS, name)


def register_model(name: str) -> Callable[[Builder], Builder]:
    """Make a function from a `Task` and a `ModelConfig` to a `torch.nn.Module` known as a kind of model.

    The module maps inputs [n, ...] of the task to logits [n, classes]; see `trainables.architectures.own_module`.
    Its initial weights must come from torch's own random numbers, which are seeded for it.

    Raises:
        ConfigError: a name that is none, or taken.
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
