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
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Final, TypeVar

from trainables.config.families import BUILT_IN_KINDS, FAMILIES
from trainables.config.source import Source, source_of, source_of_version
from trainables.errors import ConfigError, shown

Builder = TypeVar("Builder", bound=Callable[..., Any])

ENTRY_POINT_GROUP: Final = "grokking_sweep"
"""Each entry point of this group is a module that registers when it is imported."""

IMPORT_IT: Final = "--import the module that registers it"
"""The advice in messages about an unknown name."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True, eq=False)
class Registered:
    """The function registered under a name."""

    name: str
    """What messages call it: the setting and the name."""
    build: Callable[..., Any]
    module: str
    """The module that registered it."""
    fixed: Source | None = None
    """What identifies it whatever its content, for something with a version."""
    own: str | None = None
    """The top-level package of the code that registered it, whose content counts even if it is installed."""
    advice: str = ""
    """How to register it with a version."""

    @property
    def source(self) -> str:
        """What identifies it within a trial's id, see `trainables.config.source`.

        Raises:
            ConfigError: it uses something that cannot be compared by content.
        """
        held = _HELD.get()
        if held is None:
            return self._now().text
        if self not in held:
            held[self] = self._now().text
        return held[self]

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Check that running it does not change what it is made of.

        Raises:
            ConfigError: a value that it uses differs after this context.
        """
        before = self._now()
        yield
        changed = before.changed_parts(self._now())
        if changed:
            raise ConfigError(
                f"{self.name} must not change what it is made of as it runs, because that is part of every trial's "
                f"id, but it changes {changed[0]}; keep that within the function, use functools.cache, or "
                f"{self.advice}"
            )

    def _now(self) -> Source:
        if self.fixed is not None:
            return self.fixed
        try:
            advice = f"create it within the function that uses it, or {self.advice}"
            return source_of(self.build, own=self.own, advice=advice)
        except ConfigError as error:
            raise ConfigError(f"{self.name} {error}") from None


_HELD: Final[ContextVar[dict[Registered, str] | None]] = ContextVar("held sources", default=None)


@contextmanager
def held_sources() -> Iterator[None]:
    """Hash each registered function once at most within this context, however many trials are made of it."""
    # Within another such context, the hashes of that one are used.
    token = _HELD.set(_HELD.get() or {})
    try:
        yield
    finally:
        _HELD.reset(token)


class Names:
    """Registered names of one kind.

    Args:
        setting: the field that takes these names, shown in messages: `task.family`.
        built_in: names that are taken already.
        register: the decorator that adds a name, shown in messages.
    """

    def __init__(self, setting: str, built_in: Mapping[str, object] | tuple[str, ...], register: str) -> None:
        self.setting = setting
        self._register = register
        self._built_in = tuple(built_in)
        self._registered: dict[str, Registered] = {}

    def add(
        self,
        name: str,
        build: Callable[..., Any],
        module: str,
        *,
        source: Source | None = None,
        own: str | None = None,
    ) -> None:
        """Register a function; it replaces one that the same module registered under this name before.

        Args:
            name: what a specification calls it.
            build: the function.
            module: the module that registers it.
            source: what identifies it; None: its content.
            own: a top-level package whose content counts even if it is installed.

        Raises:
            ConfigError: the name is not valid, or it is taken.
        """
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
        shown = f"{self.setting} {name!r} of {module}"
        advice = f'pass version to {self._register}({name!r}, version="1") and vouch for it yourself'
        self._registered[name] = Registered(shown, build, module, source, own, advice)

    def get(self, name: str) -> Registered | None:
        """Return what was registered under a name; look in installed distributions last."""
        if name in self._built_in:
            return None
        # Loading them imports installed packages, so it waits until a name is not known otherwise.
        if name not in self._registered:
            _load_entry_points()
        return self._registered.get(name)

    def all(self) -> tuple[Registered, ...]:
        """Return everything that was registered so far."""
        return tuple(self._registered.values())

    def unknown(self, name: str) -> ConfigError:
        """Return the error for an unknown name, with the nearest known ones."""
        known = [*self._built_in, *self._registered]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
        noun = self.setting.partition(".")[2]
        return ConfigError(
            f"{self.setting} must be a known {noun}, got {shown(name)}; try {' or '.join(near)}, or {IMPORT_IT}"
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
                "plan again, or give this process the same files and values"
            )
        return registered


TASKS: Final = Names("task.family", FAMILIES, "register_task")
MODELS: Final = Names("model.kind", BUILT_IN_KINDS, "register_model")


def register_task(name: str, *, version: str | None = None) -> Callable[[Builder], Builder]:
    """Register a function from a `TaskConfig` to a `Task` as a task family.

    What the function is made of is part of a trial's id, see `trainables.config.source`; files that it reads are
    not.

    Args:
        name: what a specification calls it.
        version: identifies the function in place of its content, which is then not looked at: whoever gives a
            version vouches for it, and changes it with every change that matters.

    Raises:
        ConfigError: the name or the version is not valid, or the name is taken.
    """
    return _register(TASKS, name, version)


def register_model(name: str, *, version: str | None = None) -> Callable[[Builder], Builder]:
    """Register a function from a `Task` and a `ModelConfig` to a `torch.nn.Module` as a kind of model.

    The module maps inputs [n, ...] of the task to logits [n, classes]; see `trainables.architectures.own_module`.
    Its initial weights must come from torch's own random numbers, which are seeded for it.

    Args:
        name: what a specification calls it.
        version: identifies the function in place of its content, see `register_task`.

    Raises:
        ConfigError: the name or the version is not valid, or the name is taken.
    """
    return _register(MODELS, name, version)


def _register(names: Names, name: str, version: str | None) -> Callable[[Builder], Builder]:
    # Two frames up: the module that calls `register_task` or `register_model`.
    caller = str(sys._getframe(2).f_globals.get("__name__"))
    source = None if version is None else source_of_version(version)

    def decorate(build: Builder) -> Builder:
        # Objects such as a functools.partial have no module of their own.
        module = build.__module__ if hasattr(build, "__qualname__") else caller
        names.add(name, build, module, source=source, own=caller.partition(".")[0])
        return build

    return decorate


@cache
def _load_entry_points() -> None:
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        entry.load()
