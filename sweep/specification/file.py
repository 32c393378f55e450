"""YAML 1.2 with line numbers, and `--set KEY=VALUE` on top of it; plain data only, no code."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.tokens import (
    AliasToken,
    BlockEndToken,
    BlockMappingStartToken,
    BlockSequenceStartToken,
    FlowMappingEndToken,
    FlowMappingStartToken,
    FlowSequenceEndToken,
    FlowSequenceStartToken,
    ScalarToken,
)

from sweep.errors import Path, Problem
from sweep.specification.bounds import DEEPEST, LARGEST_FILE_BYTES, MOST_VALUES
from sweep.specification.foreign import foreign_keys, foreign_text, not_a_specification
from sweep.specification.problems import MOST_PROBLEMS
from trainables.errors import shown

PRESETS = FilePath(__file__).parents[1] / "presets"
MERGE_KEY = "<<"
"""The key whose value, a mapping or a list of them, is merged into the mapping around it."""

ANCHORS_PREFIX = "x-"
"""Keys at the top that begin so are ignored: they hold anchors (as in a Compose file)."""


@dataclass
class Source:
    """Values of a specification as written, and the place of each."""

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    where: dict[Path, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    anchored: set[str] = field(default_factory=set)
    """Keys at the top whose values have an anchor."""
    kind: str = "a specification"
    """What the file is, for messages."""
    unusable: bool = False
    """Whether reading ended at a problem, so that nothing else can be said about the specification."""

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


def read_file(path: FilePath, *, kind: str = Source.kind, example: str = "weight_decay: [0, 1]") -> Source:
    """Read a specification file, or another YAML file of plain values; problems with its YAML are in `problems`.

    Args:
        path: the file.
        kind: what it is, for messages.
        example: a line of such a file.
    """
    source = Source(path.stem, kind=kind)
    name = _name(path)
    source.where[()] = f"{name}:1"

    def unusable(message: str) -> Source:
        source.problems = [Problem((), message, source.where[()])]
        source.unusable = True
        return source

    try:
        size = path.stat().st_size
        if size > LARGEST_FILE_BYTES:
            limit = LARGEST_FILE_BYTES // 2**10
            return unusable(f"{kind} may have at most {limit:,} KiB, got {size / 2**10:,.0f} KiB")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return unusable(f"cannot be read as UTF-8 text: {error}")
    if (other := foreign_text(path.suffix, text)) is not None:
        return unusable(not_a_specification(other, kind))
    values = _Reader(source, name).read(text, ())
    if isinstance(values, dict):
        if (other := foreign_keys(values)) is not None:
            return unusable(not_a_specification(other, kind))
        source.values = values
    elif values is not None:  # an empty file asks for the defaults
        return unusable(f"{kind} is a mapping such as `{example}`, got {shown(values)}")
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
            whole = ".".join(names[: depth + 1])
            message = f"{whole} is {shown(inner)}, not a mapping, so it has no {shown(names[depth + 1])}"
            source.problems.append(Problem(tuple(names), message, where))
            return
        target = inner
    path: Path = tuple(names)
    # Lines of the file would be wrong for what replaces its value.
    source.where = {known: line for known, line in source.where.items() if known[: len(path)] != path}
    source.where[path] = where
    target[names[-1]] = _Reader(source, where, one_line=True).read(text, path)


def _name(path: FilePath) -> str:
    try:
        return str(path.resolve().relative_to(FilePath.cwd()))
    except ValueError:
        return str(path)


class _EnoughError(Exception):
    """Ends the reading of a text that is too large or has too many problems; the last problem says so."""


@dataclass
class _Reader:
    """YAML text -> plain values; the line of everything read goes to `source.where`.

    It reads the parsed nodes itself instead of constructing objects from them: only numbers, texts,
    booleans, null, lists and mappings exist, and every duplicate key is found, not only the first.
    """

    source: Source
    file: str
    one_line: bool = False
    _read: int = 0
    """Number of values read so far, those behind aliases as often as they are used."""

    def read(self, text: str, path: Path) -> Any:
        yaml = YAML(typ="safe", pure=True)
        try:
            # Composing takes time that grows faster than the depth, so deep texts are refused before.
            self._look_over(text, path, yaml)
            with warnings.catch_warnings():
                # An anchor may be given again; the warning would print the lines of both places, however long.
                warnings.simplefilter("ignore", ReusedAnchorWarning)
                node = yaml.compose(text)
            value = None if node is None else self._value(node, path, yaml)
            self.source.unusable |= len(self.source.problems) >= MOST_PROBLEMS
            return value
        except MarkedYAMLError as error:
            line = None if error.problem_mark is None else error.problem_mark.line
            self._problem(path, f"not valid YAML: {error.problem or error.context}", line)
        except (YAMLError, ValueError) as error:
            self._problem(path, f"not valid YAML: {error}", None)
        except RecursionError:
            self._too_deep(path, None)
        except _EnoughError:
            self.source.unusable = True
        return None

    def _look_over(self, text: str, path: Path, yaml: YAML) -> None:
        """Refuse a text that is too large or nested too deeply by its tokens, before nodes are composed of them.

        Composing takes several times as long as scanning; a short text has few nodes in any case.
        """
        if len(text) <= _SHORT_CHARACTERS:
            return
        depth = nodes = 0
        for number, token in enumerate(yaml.scan(text)):
            depth += isinstance(token, _STARTS) - isinstance(token, _ENDS)
            nodes += isinstance(token, _NODES)
            if depth > _DEEPEST_NODES:
                raise RecursionError
            if nodes > MOST_VALUES:
                self._too_many(path, token.start_mark.line)
            if number > _TOKENS_OF_A_NODE * (nodes + 1):
                return  # no valid YAML: composing ends there

    def _too_many(self, path: Path, line: int) -> NoReturn:
        limit = f"at most {MOST_VALUES:,} keys and values, those behind aliases counted at each use"
        self._problem(path[:1], f"{self.source.kind} may have {limit}, got more", line)
        raise _EnoughError

    def _too_deep(self, path: Path, line: int | None) -> None:
        message = f"nested too deeply, more than {DEEPEST} levels, or an alias inside its own anchor"
        self._problem(path[:1], message, line)

    def _value(self, node: Node, path: Path, yaml: YAML) -> Any:
        kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
        line = node.start_mark.line
        self._read += 1
        if self._read > MOST_VALUES:
            self._too_many(path, line)
        if len(path) > DEEPEST:
            self._too_deep(path, line)
            raise _EnoughError
        if len(self.source.problems) >= MOST_PROBLEMS:
            raise _EnoughError
        if isinstance(node, MappingNode) and kind == "map":
            return self._mapping(node, path, yaml)
        if isinstance(node, SequenceNode) and kind == "seq":
            values = []
            for index, item in enumerate(node.value):
                self.source.where.setdefault((*path, index), self._at(item.start_mark.line))
                values.append(self._value(item, (*path, index), yaml))
            return values
        if isinstance(node, ScalarNode) and kind in ("null", "bool", "int", "float", "str"):
            return yaml.constructor.construct_object(node)
        self._problem(path, f"only numbers, texts, lists and mappings are allowed, got {kind}", line)
        return None

    def _mapping(self, node: MappingNode, path: Path, yaml: YAML) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: list[Node] = []
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line
            if not isinstance(key_node, ScalarNode):
                self._problem(path, "a key must be a text, got a list or a mapping", line)
                continue
            if not path and key.startswith(ANCHORS_PREFIX):
                continue
            if key == MERGE_KEY and key_node.style is None:
                merged += value_node.value if isinstance(value_node, SequenceNode) else [value_node]
                continue
            if key in values:
                self._problem((*path, key), f"duplicate key {shown(key)}; keep one", line)
                continue
            if not path and value_node.anchor is not None:
                self.source.anchored.add(key)
            # A mapping's own keys are read before those that are merged into it.
            self.source.where.setdefault((*path, key), self._at(line))
            values[key] = self._value(value_node, (*path, key), yaml)
        for each in merged:
            self._merge(each, values, path, yaml)
        return values

    def _merge(self, node: Node, values: dict[str, Any], path: Path, yaml: YAML) -> None:
        """Add those keys of a mapping behind `<<` that are not there yet: own keys come first, then in order."""
        line = node.start_mark.line
        if not isinstance(node, MappingNode):
            self._problem(path, "<< must be followed by a mapping, or a list of mappings: `<<: *anchor`", line)
            return
        self._read += 1
        for key, value in self._mapping(node, path, yaml).items():
            values.setdefault(key, value)

    def _problem(self, path: Path, message: str, line: int | None) -> None:
        self.source.problems.append(Problem(path, message, self._at(line)))

    def _at(self, line: int | None) -> str:
        return self.file if line is None or self.one_line else f"{self.file}:{line + 1}"


_STARTS = (BlockMappingStartToken, BlockSequenceStartToken, FlowMappingStartToken, FlowSequenceStartToken)
_ENDS = (BlockEndToken, FlowMappingEndToken, FlowSequenceEndToken)
_NODES = (*_STARTS, ScalarToken, AliasToken)

_SHORT_CHARACTERS = 100
"""A text of this length is composed at once: it cannot take long, nor reach Python's limit of recursion."""

_TOKENS_OF_A_NODE = 8
"""More than a node brings with it: key, value, entry, anchor, tag, itself and its end."""

_DEEPEST_NODES = 2 * DEEPEST
"""More than a specification has, with its merge keys and anchors."""
