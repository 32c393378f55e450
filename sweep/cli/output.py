"""Options that several commands share, and output that they have in common."""

from __future__ import annotations

import contextlib
import difflib
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import click

from sweep.errors import SweepError

import_option = click.option(
    "--import",
    "imports",
    metavar="MODULE",
    multiple=True,
    help="Import a module that registers tasks or networks, e.g. my_lab.tasks.",
)
results_argument = click.argument("results", type=click.Path(), metavar="RESULTS")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def print_json(values: dict[str, Any]) -> None:
    """Print one JSON object on standard output."""
    click.echo(json.dumps(values, indent=1, default=str))


@contextlib.contextmanager
def results_notes() -> Iterator[None]:
    """Print warnings about a results folder as notes on standard error, each once; other warnings as always."""
    shown = warnings.showwarning
    texts: set[str] = set()

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
        elif str(message) not in texts:
            texts.add(str(message))
            click.echo(f"note: {message}", err=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def existing(results: str) -> str:
    """Return the address of existing results; refuse a wrong one, with the nearest right one."""
    if "://" in results or Path(results).expanduser().exists():
        return results
    there = [str(path) for path in Path("results").glob("*") if path.is_dir()]
    inside = str(Path("results", results))
    near = [inside] if inside in there else difflib.get_close_matches(results, there, n=1)
    raise SweepError(f"there is no folder {results}" + (f"; did you mean {near[0]}?" if near else ""))
