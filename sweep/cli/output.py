"""Options that several commands share, and output that they have in common."""

from __future__ import annotations

import json
import math
import sys
import time
from typing import Any

import click

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
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


class Waiting:
    """Shows in one line of a terminal what a command is doing, once it has taken longer than a moment."""

    QUIET_S = 1.5
    """Seconds without a word."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
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
            click.echo(f"{_CLEARED}{doing} ({now_s - self._began_s:.0f} s)", nl=False, err=True)
            self._written = True
            self._next_s = now_s + _EVERY_S


def print_json(values: dict[str, Any]) -> None:
    """Print one JSON object on standard output; numbers that JSON does not have become null."""
    click.echo(json.dumps(_plain(values), indent=1, default=str, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
