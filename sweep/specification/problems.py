"""Pydantic's errors as sentences that say what must hold, what arrived and what was probably meant."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sweep.errors import Path, Problem
from trainables.errors import SHOWN_CHARACTERS, shown

#: Tags of the union in `sweep.specification.axes`; they are in pydantic's locations, and mean nothing to a reader.
_TAGS = frozenset({"value", "values"})
#: Length of the path of a mapping: cases, its name, its place in the list.
_CASE_DEPTH = 3
MOST_PROBLEMS = 50
"""Problems that are listed before the rest is only counted; more are one mistake, or another tool's file."""

_VALUE_CUTOFF = 0.7
"""Similarity required for values, stricter than for names, which are longer: `gpu` does not mean `cpu`."""
_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+(\.\d*)?")
_MOST_LISTED_KEYS = 12
"""Largest number of valid keys that a message lists."""
_UNKNOWN_KEY = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
_WHAT_MUST_HOLD = {
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_parsing": "must be a number",
    "string_type": "must be a text",
    "string_pattern_mismatch": "names a folder: letters, digits, '.', '_' and '-' only",
    "string_too_long": "names a folder: at most 60 characters",
    "tuple_type": "must be a list",
    "model_type": "must be a mapping such as {key: value}",
    "dict_type": "must be a mapping such as {key: value}",
    "dataclass_type": "must be a mapping such as {key: value}",
}


def nearest(word: str, choices: Iterable[str], cutoff: float = 0.6) -> str:
    """Return `; did you mean 'x'?` for the nearest choice, or nothing if none is similar enough."""
    match = difflib.get_close_matches(word[:SHOWN_CHARACTERS], list(choices), n=1, cutoff=cutoff)
    return f"; did you mean {match[0]!r}?" if match else ""


def dotted(path: Path) -> str:
    """Write a path as `model.width`, `weight_decay[2]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def mentions(message: str, paths: Iterable[Path]) -> bool:
    """Check whether a message is about, or depends on, the value at one of these paths."""
    return any(re.search(rf"(?<![\w.]){re.escape(dotted(path))}(?!\w)", message) for path in paths if path)


def problems_of(error: ValidationError, model: type[BaseModel], case: type[BaseModel]) -> list[Problem]:
    """Turn the errors of a validation into problems, with the path that the specification's author knows.

    After `MOST_PROBLEMS` of them, the rest is counted.

    Args:
        error: the errors.
        model: the model that was validated.
        case: the model of a mapping in its `cases`.
    """
    problems = [_problem(details, model, case) for details in error.errors(include_url=False)[:MOST_PROBLEMS]]
    if (rest := error.error_count() - len(problems)) > 0:
        problems.append(Problem((), f"and {rest:,} more problems"))
    return problems


def without(values: dict[str, Any], problems: Sequence[Problem]) -> dict[str, Any]:
    """Copy the values without those that the problems are about; of a list, only the wrong elements go."""
    rest = copy.deepcopy(values)
    # From the back, so that removing one element does not move the others that are still to be removed.
    for path in sorted({problem.path for problem in problems if problem.path}, key=_backwards):
        remove(rest, path)
    return rest


def _backwards(path: Path) -> tuple[int, tuple[int, ...]]:
    return (-len(path), tuple(-part for part in path if isinstance(part, int)))


def remove(values: dict[str, Any], path: Path) -> None:
    """Remove a value; a list that becomes empty is removed, too, because its emptiness is not the author's mistake.

    A case and a mapping of a case leave an empty mapping in their place, because other messages count on their
    places.
    """
    containers: list[Any] = [values]
    for part in path[:-1]:
        inner = _inside(containers[-1], part)
        if not isinstance(inner, (dict, list)):
            return
        containers.append(inner)
    container, last = containers[-1], path[-1]
    if path[0] == "cases" and 1 < len(path) <= _CASE_DEPTH:
        container[last] = {} if len(path) == _CASE_DEPTH else [{}]
    elif isinstance(container, dict):
        container.pop(last, None)
    elif isinstance(last, int) and last < len(container):
        del container[last]
        if not container:
            containers[-2].pop(path[-2], None)


def _inside(container: Any, part: str | int) -> Any:
    if isinstance(container, list):
        return container[part] if isinstance(part, int) and part < len(container) else None
    return container.get(part)


def place_before(path: Path, removed: Sequence[Problem]) -> Path:
    """Return where a value was before `without` removed the values of these problems."""
    before: Path = ()
    for part in path:
        place = part
        if isinstance(place, int) and (path[0] != "cases" or len(before) >= _CASE_DEPTH):
            gone = {p.path[-1] for p in removed if len(p.path) == len(before) + 1 and p.path[:-1] == before}
            for index in sorted(index for index in gone if isinstance(index, int)):
                place += index <= place
        before = (*before, place)
    return before


def _problem(details: ErrorDetails, model: type[BaseModel], case: type[BaseModel]) -> Problem:
    name_place = 1 if details["loc"][0] == "cases" else None  # a case may be called like a tag
    path = tuple(p for place, p in enumerate(details["loc"]) if p not in _TAGS or place == name_place)
    name, kind, given = dotted(path), details["type"], details["input"]
    if kind in _UNKNOWN_KEY:
        return Problem(path, f"unknown key {shown(name)}{_meant(path, model, case)}")
    got = "nothing" if given is None else shown(given)
    if kind == "literal_error":
        expected = str(details["ctx"]["expected"])
        choices = [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ")]
        hint = list_meant(given) or nearest(str(given), choices, _VALUE_CUTOFF)
        return Problem(path, f"{name} must be {expected}, got {got}{hint}")
    if kind == "value_error":
        message = str(details["ctx"]["error"])
        return Problem(path, message if message.startswith(name) else f"{name} {message}")
    if kind == "too_long":
        limit, length = details["ctx"]["max_length"], details["ctx"]["actual_length"]
        return Problem(path, f"{name} may have at most {limit:,} values, got {length:,}")
    if kind in _WHAT_MUST_HOLD:
        hint = "; leave out the quotes" if isinstance(given, str) and _is_number(given) else list_meant(given)
        return Problem(path, f"{name} {_WHAT_MUST_HOLD[kind]}, got {got}{hint}")
    must = details["msg"].replace("Input should", "must").replace("String should", "must")
    return Problem(path, f"{name} {must[:1].lower()}{must[1:]}, got {got}")


def list_meant(given: Any) -> str:
    """Return how values that are separated by commas are written; nothing for anything else."""
    if not isinstance(given, str) or "," not in given or len(given) > SHOWN_CHARACTERS:
        return ""
    if _THOUSANDS.fullmatch(given):
        return f"; write {given.replace(',', '')} without commas"
    return f"; a list is written as [{given}]"


def _meant(path: Path, model: type[BaseModel], case: type[BaseModel]) -> str:
    """Find the nearest valid name: among the siblings, or the same name elsewhere in the specification."""
    names = _names(model)
    if path[0] == "cases":
        mapping, inner = path[:_CASE_DEPTH], path[_CASE_DEPTH:]
        if len(inner) == 1 and inner[0] in names:
            return f"; {inner[0]} is the same for all cases, set it outside of them"
        names = [f"{dotted(mapping)}.{name}" for name in _names(case)]
    parent, key = dotted(path[:-1]), str(path[-1])
    siblings = [name.rpartition(".")[2] for name in names if name.rpartition(".")[0] == parent]
    elsewhere = [name for name in names if name.rpartition(".")[2] == key]
    if elsewhere:
        return f"; did you mean {elsewhere[0]!r}?"
    hint = nearest(key, siblings)
    if hint or len(siblings) <= _MOST_LISTED_KEYS:
        return hint or f"; valid keys: {', '.join(siblings)}"
    return "; docs/specification.md says what the keys are"


def _names(model: type[BaseModel]) -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        names.append(name)
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += [f"{name}.{inner_name}" for inner_name in inner.model_fields]
        elif isinstance(inner, type) and dataclasses.is_dataclass(inner):
            names += [f"{name}.{inner_field.name}" for inner_field in dataclasses.fields(inner)]
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
