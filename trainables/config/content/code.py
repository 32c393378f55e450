"""Bytecode without what does not act: no lines, no file names, no docstrings, no names of local variables.

The bytecode that runs is hashed, not the text of a file, which may have been edited since or may not exist. It
differs between minor versions of Python. Layout can leave its mark on it: where statements share a line, Python
leaves out some instructions that do nothing, so those are left out here everywhere.
"""

from __future__ import annotations

import bisect
import dis
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any, Final

# EXTENDED_ARG widens the next operand, which `dis` has put together already; CACHE is room for the interpreter.
_NOTHING: Final = {"NOP", "CACHE", "EXTENDED_ARG"}
_NOT_CODE: Final = {"__doc__", "__module__", "__qualname__", "__firstlineno__", "__static_attributes__"}
"""Names that Python itself sets at the top of each class body."""

_FLAGS: Final = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ITERABLE_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)
_JUMPS: Final = frozenset((*dis.hasjrel, *dis.hasjabs))
_CONSTANTS: Final = frozenset(dis.hasconst)
_NAMES: Final = frozenset(dis.hasname)
_SEES_LOCALS: Final = {"locals", "vars", "dir"}
_CODE_UNIT_BYTES: Final = 2

GLOBAL_LOADS: Final = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
FREE_LOADS: Final = {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}
_ATTRIBUTE_LOADS: Final = {"LOAD_ATTR", "LOAD_METHOD"}


@dataclass(frozen=True, slots=True)
class CodeForm:
    """A code object as it acts."""

    text: str
    """Arguments, instructions and handlers, with jumps as positions in the list of instructions."""
    constants: tuple[Any, ...]
    """The constants that the instructions load, in order, nested code among them."""


def form_of(code: CodeType) -> CodeForm:
    """Return what a code object does, without what only describes it."""
    instructions = _instructions(code)
    offsets = [instruction.offset for instruction in instructions]

    def position(offset: int) -> int:
        return bisect.bisect_left(offsets, offset)

    constants: list[Any] = []
    lines: list[tuple[str, object]] = []
    for instruction in instructions:
        operand: object = instruction.arg
        if instruction.opcode in _CONSTANTS:
            constants.append(instruction.argval)
            operand = "constant"  # its index depends on constants that nothing loads, such as docstrings
        elif instruction.opcode in _JUMPS:
            operand = position(instruction.argval)
        elif instruction.opcode in _NAMES:
            operand = instruction.argrepr
        lines.append((instruction.opname, operand))
    handlers = [
        (position(start), position(end), position(target), depth)
        for start, end, target, depth in _handlers(code)
        if position(start) < position(end)
    ]
    arguments = code.co_argcount + code.co_kwonlyargcount
    arguments += sum(bool(code.co_flags & flag) for flag in (inspect.CO_VARARGS, inspect.CO_VARKEYWORDS))
    counted = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _FLAGS)
    # Locals have no names as they run, except for arguments, which callers name, and where code asks for them.
    names = code.co_varnames[: None if _SEES_LOCALS & set(code.co_names) else arguments]
    return CodeForm(repr((counted, names, lines, handlers)), tuple(constants))


@dataclass(frozen=True, slots=True)
class Use:
    """A name that code looks up outside itself, and the attributes that it takes of it."""

    kind: str
    """`global`, `free` (of an enclosing function) or `import`."""
    name: str
    attributes: tuple[str, ...] = ()
    """For an import: the names after `import`; none if the module itself is imported."""
    level: int = 0
    """For an import: the number of leading dots."""


def uses_of(code: CodeType) -> list[Use]:
    """List the names that code, and code nested in it, looks up outside itself, each once and in order."""
    return list(dict.fromkeys(_uses(code)))


def _uses(code: CodeType) -> Iterator[Use]:
    instructions = _instructions(code)
    for number, instruction in enumerate(instructions):
        if isinstance(instruction.argval, CodeType):
            yield from _uses(instruction.argval)
        elif instruction.opname == "IMPORT_NAME":
            # The compiler loads the number of dots, and then the names, right before the import.
            level, names = (before.argval for before in instructions[number - 2 : number])
            yield Use("import", instruction.argval, tuple(names or ()), level)
        elif instruction.opname in GLOBAL_LOADS | FREE_LOADS:
            attributes: list[str] = []
            for following in instructions[number + 1 :]:
                if following.opname not in _ATTRIBUTE_LOADS:
                    break
                attributes.append(following.argval)
            kind = "global" if instruction.opname in GLOBAL_LOADS else "free"
            yield Use(kind, instruction.argval, tuple(attributes))


def _instructions(code: CodeType) -> list[dis.Instruction]:
    """List the instructions that act; in a class body, without the names that Python sets by itself."""
    acting = [instruction for instruction in dis.get_instructions(code) if instruction.opname not in _NOTHING]
    if code.co_flags & inspect.CO_OPTIMIZED:
        return acting
    kept: list[dis.Instruction] = []
    for instruction in acting:
        if instruction.opname == "STORE_NAME" and instruction.argval in _NOT_CODE:
            kept.pop()  # what is stored
        else:
            kept.append(instruction)
    return kept


def _handlers(code: CodeType) -> Iterator[tuple[int, int, int, int]]:
    """Yield (start, end, handler, depth) of the exception table; offsets in bytes.

    Its format is in `Objects/exception_handling_notes.txt` of Python's own source.
    """
    table = iter(code.co_exceptiontable)

    def number() -> int:
        byte = next(table)
        value = byte & 63
        while byte & 64:
            byte = next(table)
            value = value << 6 | byte & 63
        return value

    while True:
        try:
            start = number() * _CODE_UNIT_BYTES
        except StopIteration:
            return
        length, target = number() * _CODE_UNIT_BYTES, number() * _CODE_UNIT_BYTES
        yield start, start + length, target, number()
