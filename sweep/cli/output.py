"""Options that several commands share, and output that they have in common."""

from __future__ import annotations

import contextlib
import difflib
import json
import math
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import click

from sweep.errors import Problem, SpecificationError, SweepError

_CLEARED = "\r\x1b[K"
"""What takes a terminal back to the start of an empty line."""

_EVERY_S = 0.2
"""Seconds between two states of a line."""

import_option = click.option(
    "--import",
    "imports",
    metavar="MODULE",
    multiple=True,
    help="Import a module that registers tasks or networks, e.g. my_lab.tasks.",
)
results_argument = click.argument("results", type=click.Path(), metavar="RESULTS")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


class Waiting:
    """Shows in one line of a terminal what a command is doing, once it has taken longer than a moment."""

    QUIET_S = 1.5
    """Seconds without a word."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        # In a file or a pipe the line could not be overwritten, so there is none.
        self._next_s = self._began_s + self.QUIET_S if sys.stderr.isatty() else math.inf
        self._written = False

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        if self._written:
            click.echo(_CLEARED, nl=False, err=True)

    def __call__(self, doing: str) -> None:
        """Show what is being done, in words, if it is time."""
        now_s = time.monotonic()
        if now_s >= self._next_s:
            from analysis.words import plain

            click.echo(f"{_CLEARED}{plain(doing)} ({now_s - self._began_s:.0f} s)", nl=False, err=True)
            self._written = True
            self._next_s = now_s + _EVERY_S


def echo(text: str, *, err: bool = False, red: bool = False) -> None:
    """Print text; control characters in it, which names and errors may quote, as text.

    Args:
        text: what to print.
        err: print it on standard error.
        red: print it in red, where it goes to a terminal.
    """
    from analysis.words import plain

    click.secho(plain(text), err=err, fg="red" if red else None)


def print_json(values: dict[str, Any]) -> None:
    """Print one JSON object on standard output; numbers that JSON does not have become null."""
    click.echo(json.dumps(_plain(values), indent=1, default=str, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def results_notes() -> Iterator[None]:
    """Print warnings about a results folder as notes on standard error, each once; other warnings as always."""
    shown = warnings.showwarning
    texts: set[tuple[str, str]] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        errors = sys.modules.get("analysis.errors")  # looked up, not imported, to keep the command light
        if errors is None or not issubclass(category, errors.ResultsWarning):
            shown(message, category, filename, lineno, file, line)
            return
        # A command may open the folder twice, by the path as given and by the absolute one.
        place, _, text = str(message).partition(": ")
        said = (place if "://" in place else str(Path(place).expanduser().absolute()), text)
        if said not in texts:
            texts.add(said)
            echo(f"note: {message}", err=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def existing(results: str) -> str:
    """Return the address of existing results; refuse a wrong one, with the nearest right one."""
    from trainables.config.address import checked_address
    from trainables.errors import ConfigError

    try:
        results = checked_address("RESULTS", results)
    except ConfigError as error:
        raise SpecificationError([Problem((), str(error))]) from None
    if "://" in results or Path(results).expanduser().exists():
        return results
    there = [str(path) for path in Path("results").glob("*") if path.is_dir()]
    inside = str(Path("results", results))
    near = [inside] if inside in there else difflib.get_close_matches(results, there, n=1)
    raise SweepError(f"there is no folder {results}" + (f"; did you mean {near[0]}?" if near else ""))
