"""Functions, classes and modules as nodes: by content if they are the user's, else by their qualified name."""

from __future__ import annotations

import builtins
import functools
import importlib
import importlib.util
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from trainables.config.content.code import Use, form_of, uses_of
from trainables.config.content.node import NoContent, Node
from trainables.config.content.owner import file_of, is_installed

_NAMED: Final = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
"""Compiled functions and attributes: what they do is known by their name."""

_NOT_IN_A_CLASS: Final = {
    "__abstractmethods__",
    "__annotate__",
    "__annotate_func__",
    "__annotations__",
    "__annotations_cache__",
    "__conditional_annotations__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__module__",
    "__pydantic_serializer__",
    "__pydantic_validator__",
    "__qualname__",
    "__static_attributes__",
    "__weakref__",
    "_abc_impl",
}
"""Attributes of classes that Python or a library derives from the others, or that only describe."""

_LOOKS_UP: Final[tuple[Callable[..., Any], ...]] = (
    builtins.eval,
    builtins.exec,
    builtins.globals,
    builtins.__import__,
    importlib.import_module,
)

_MISSING: Final = "nothing: the name is not there"


def full_name(kind: type) -> str:
    """Return the qualified name of a class, without the module for built-in classes."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class Definitions:
    """Describes functions, classes and modules.

    Args:
        own: a top-level package whose content counts even if it is installed.
    """

    def __init__(self, own: str | None = None) -> None:
        self._own = own

    def installed(self, module: object) -> bool:
        """Tell whether a module, by its name, belongs to the environment; something without a module does not."""
        return isinstance(module, str) and is_installed(module, self._own)

    def node_of(self, value: Any) -> Node | None:
        """Describe a function, class, method or module; None for any other value.

        Raises:
            NoContent: a function that looks up names as it runs.
        """
        # Identity, not `in`: the value may be an array, whose == has no single answer.
        if any(value is function for function in _LOOKS_UP):
            raise NoContent("a function that looks names up as it runs, so what it uses cannot be known")
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.CodeType):
            form = form_of(value)
            return Node(f"code {form.text}", [("a constant", constant) for constant in form.constants])
        if isinstance(value, types.ModuleType):
            return self._module(value)
        if isinstance(value, _NAMED) or type(value) is types.MethodWrapperType:
            return self._compiled(value)
        if isinstance(value, types.MethodType):
            return Node("method", [(value.__name__, value.__func__), ("its object", value.__self__)])
        if isinstance(value, (staticmethod, classmethod)):
            return Node(type(value).__name__, [("its function", value.__func__)])
        if isinstance(value, property):
            return Node("property", [("its getter", value.fget), ("setter", value.fset), ("deleter", value.fdel)])
        if isinstance(value, functools._lru_cache_wrapper):
            return Node(f"cache {value.cache_parameters()}", [("its function", value.__wrapped__)])
        return None

    def _function(self, function: types.FunctionType) -> Node:
        home = function.__globals__.get("__name__")
        if self.installed(home):
            if _is_at(home, function.__qualname__, function):
                return Node(f"function {home} {function.__qualname__}")
            if hasattr(function, "registry") and home == "functools":  # single dispatch
                return Node("dispatch", [("a case", item) for item in function.registry.items()])
            code = Node(f"function {home} {function.__code__.co_qualname}").text
            used = list(_closure(function).items())
        else:
            form = form_of(function.__code__)
            code = form.text
            used = [*(("a constant", constant) for constant in form.constants), *self._used(function)]
        defaults = function.__defaults__ or ()
        arguments = function.__code__.co_varnames[: function.__code__.co_argcount][-len(defaults) :]
        parts = [(f"default of {name}", value) for name, value in zip(arguments, defaults, strict=False)]
        for name, value in sorted((function.__kwdefaults__ or {}).items()):
            parts += [("", name), (f"default of {name}", value)]
        for name, value in sorted(vars(function).items()):
            parts += [("", name), (f".{name}", value)]
        return Node(f"function {len(parts)} {code}", [*parts, *used])

    def _used(self, function: types.FunctionType) -> Iterator[tuple[str, Any]]:
        """Yield what a function's code, and code within it, looks up outside itself."""
        names = function.__globals__
        closure = _closure(function)
        for name, value in closure.items():
            # Of a module only what the code reaches counts, see below.
            if not isinstance(value, types.ModuleType):
                yield name, value
        for use in uses_of(function.__code__):
            if use.kind == "import":
                yield from self._imported(use, names)
            elif use.kind == "free":
                if isinstance(closure.get(use.name), types.ModuleType):
                    yield self._reached(use, closure[use.name])
            elif use.name in names:
                yield self._reached(use, names[use.name])
            else:
                yield use.name, getattr(builtins, use.name, _MISSING)

    def _reached(self, use: Use, value: Any) -> tuple[str, Any]:
        """Follow attributes through the user's modules; what remains is a value, or a module that is used whole."""
        path = use.name
        for attribute in use.attributes:
            if not isinstance(value, types.ModuleType) or self.installed(value.__name__):
                break
            path = f"{path}.{attribute}"
            value = getattr(value, attribute, _MISSING)
        return path, value

    def _imported(self, use: Use, names: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield what an import statement within a function gives; the user's modules are imported for that."""
        package = names.get("__package__") or str(names.get("__name__", "")).rpartition(".")[0]
        try:
            name = importlib.util.resolve_name("." * use.level + use.name, package)
            if self.installed(name.partition(".")[0]):
                yield f"import {name}", f"module {name} {use.attributes}"
                return
            module = importlib.import_module(name)
        except Exception:  # it fails in the same way when the function runs
            yield f"import {use.name}", _MISSING
            return
        for attribute in use.attributes:
            yield (
                f"{name}.{attribute}",
                getattr(module, attribute, sys.modules.get(f"{name}.{attribute}", _MISSING)),
            )
        if not use.attributes:
            yield name, module

    def _class(self, kind: type) -> Node:
        if self.installed(kind.__module__) and (
            _is_at(kind.__module__, kind.__qualname__, kind) or not kind.__flags__ & _HEAP_TYPE
        ):
            return Node(f"class {kind.__module__} {kind.__qualname__}")
        parts: list[tuple[str, Any]] = [("its metaclass", type(kind))]
        parts += [(f"its base {base.__name__}", base) for base in kind.__bases__]
        for name in sorted(set(vars(kind)) - _NOT_IN_A_CLASS):
            parts += [("", name), (f".{name}", vars(kind)[name])]
        return Node(f"class {kind.__name__} {len(kind.__bases__)}", parts)

    def _module(self, module: types.ModuleType) -> Node:
        if self.installed(module.__name__):
            return Node(f"module {module.__name__}")
        names = sorted(name for name in vars(module) if not (name.startswith("__") and name.endswith("__")))
        return Node("module", [part for name in names for part in (("", name), (f".{name}", vars(module)[name]))])

    def _compiled(self, value: Any) -> Node:
        """Describe a compiled function by its name and what it is bound to, and the user's own by its file."""
        place = getattr(value, "__objclass__", None) or getattr(value, "__self__", None)
        module = getattr(value, "__module__", None)
        if isinstance(value, types.MemberDescriptorType) and not self.installed(value.__objclass__.__module__):
            return Node(f"slot {value.__name__}")
        parts = [] if place is None or isinstance(place, types.ModuleType) else [("its object", place)]
        imported = sys.modules.get(module) if isinstance(module, str) and not self.installed(module) else None
        file = file_of(imported) if imported is not None else None
        if file is not None and Path(file).is_file():
            parts.append(("its file", Path(file).read_bytes()))
        return Node(f"compiled {module} {value.__name__}", parts)


_HEAP_TYPE: Final = 1 << 9
"""Python's flag of classes that are made by running code."""


def _closure(function: types.FunctionType) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            values[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            values[name] = _MISSING
    return values


def _is_at(module: str | None, name: str, value: object) -> bool:
    """Tell whether an import finds this very value under its name."""
    there: object = sys.modules.get(module or "")
    for part in name.split("."):
        # Statically: a property or a lazy module must not run as it is looked at.
        there = inspect.getattr_static(there, part, None)
    if isinstance(there, (staticmethod, classmethod)):
        there = there.__func__
    return there is value
