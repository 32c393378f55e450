"""YAML 1.2 with line numbers, and `--set KEY=VALUE` on top of it; plain data only, no code."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sweep.errors import Path, Problem

PRESETS = FilePath(__file__).parents[1] / "presets"
_SUFFIXES = (".yaml", ".yml")


@dataclass
class Source:
    """Values of a specification as written, and the place of each."""

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    where: dict[Path, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def locate(self, path: Path) -> str | None:
        """Return `file:line` of a value, or of the nearest enclosing value that has one."""
        return next((self.where[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self.where), None)

    def order(self, path: Path) -> int:
        """Return the position of a value among all that were written; -1 for one that was not."""
        written = list(self.where)
        return next((written.index(path[:end]) for end in range(len(path), 0, -1) if path[:end] in self.where), -1)


def preset_names() -> list[str]:
    """List the names of the specifications that come with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def find_file(name_or_path: str) -> FilePath | None:
    """Return the file of a specification: by a preset's name, else by path. None if there is neither."""
    preset = PRESETS / f"{name_or_path}.yaml"
    if name_or_path in preset_names():
        return preset
    path = FilePath(name_or_path)
    return path if path.is_file() else None


def read_file(path: FilePath) -> Source:
    """Read a specification file; problems with its YAML are in `problems`."""
    source = Source(path.stem)
    shown = _shown(path)
    source.where[()] = f"{shown}:1"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        source.problems.append(Problem((), f"cannot be read as UTF-8 text: {error}", shown))
        return source
    values = _Reader(source, shown).read(text, ())
    if isinstance(values, dict):
        source.values = values
    elif values is not None:  # an empty file asks for the defaults
        message = f"a specification is a mapping such as `weight_decay: [0, 1]`, got {values!r}"
        source.problems.append(Problem((), message, source.where[()]))
    return source


def apply_override(source: Source, override: str) -> None:
    """Put `KEY=VALUE` of the command line into the values: a dotted key, a value in YAML 1.2."""
    where = f"--set {override}"
    key, equals, text = override.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        message = "must be KEY=VALUE with a dotted key, e.g. --set model.width=64"
        source.problems.append(Problem((), message, where))
        return
    target = source.values
    for depth, name in enumerate(names[:-1]):
        inner = target.setdefault(name, {})
        if not isinstance(inner, dict):
            message = (
                f"{'.'.join(names[: depth + 1])} is {inner!r}, not a mapping, so it has no {names[depth + 1]!r}"
            )
            source.problems.append(Problem(tuple(names), message, where))
            return
        target = inner
    path: Path = tuple(names)
    source.where = {known: line for known, line in source.where.items() if known[: len(path)] != path}
    source.where[path] = where
    target[names[-1]] = _Reader(source, where, one_line=True).read(text, path)


def _shown(path: FilePath) -> str:
    try:
        return str(path.resolve().relative_to(FilePath.cwd()))
    except ValueError:
        return str(path)


@dataclass(frozen=True)
class _Reader:
    """YAML text -> plain values; the line of everything read goes to `source.where`.

    It reads the parsed nodes itself instead of constructing objects from them: only numbers, texts,
    booleans, null, lists and mappings exist, and every duplicate key is found, not only the first.
    """

    source: Source
    file: str
    one_line: bool = False

    def read(self, text: str, path: Path) -> Any:
        yaml = YAML(typ="safe", pure=True)
        try:
            node = yaml.compose(text)
            return None if node is None else self._value(node, path, yaml)
        except MarkedYAMLError as error:
            line = None if error.problem_mark is None else error.problem_mark.line
            self._problem(path, f"not valid YAML: {error.problem or error.context}", line)
        except (YAMLError, ValueError) as error:
            self._problem(path, f"not valid YAML: {error}", None)
        except RecursionError:
            self._problem(path, "nested too deeply, or an alias inside its own anchor", None)
        return None

    def _value(self, node: Node, path: Path, yaml: YAML) -> Any:
        kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
        line = node.start_mark.line
        if isinstance(node, MappingNode) and kind == "map":
            return self._mapping(node, path, yaml)
        if isinstance(node, SequenceNode) and kind == "seq":
            values = []
            for index, item in enumerate(node.value):
                self.source.where[(*path, index)] = self._at(item.start_mark.line)
                values.append(self._value(item, (*path, index), yaml))
            return values
        if isinstance(node, ScalarNode) and kind in ("null", "bool", "int", "float", "str"):
            return yaml.constructor.construct_object(node)
        self._problem(path, f"only numbers, texts, lists and mappings are allowed, got {kind}", line)
        return None

    def _mapping(self, node: MappingNode, path: Path, yaml: YAML) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line
            if not isinstance(key_node, ScalarNode):
                self._problem(path, "a key must be a text, got a list or a mapping", line)
                continue
            if key in values:
                self._problem((*path, key), f"duplicate key {key!r}; keep one", line)
                continue
            self.source.where[(*path, key)] = self._at(line)
            values[key] = self._value(value_node, (*path, key), yaml)
        return values

    def _problem(self, path: Path, message: str, line: int | None) -> None:
        self.source.problems.append(Problem(path, message, self._at(line)))

    def _at(self, line: int | None) -> str:
        return self.file if line is None or self.one_line else f"{self.file}:{line + 1}"
