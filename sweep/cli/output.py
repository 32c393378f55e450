"""Options that several commands share, and output that they have in common."""

from __future__ import annotations

import json
from typing import Any

import click

import_option = click.option(
    "--import",
    "imports",
    metavar="MODULE",
    multiple=True,
    help="Import a module that registers tasks or networks, e.g. my_lab.tasks.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def echo(text: str) -> None:
    """Print text on standard output; control characters in it, which names and errors may quote, as text."""
    from analysis.words import plain

    click.echo(plain(text))


def print_json(values: dict[str, Any]) -> None:
    """Print one JSON object on standard output."""
    click.echo(json.dumps(values, indent=1, default=str))
