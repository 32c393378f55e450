"""Options that several commands share, and output that they have in common."""

from __future__ import annotations

import json
import math
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


def print_json(values: dict[str, Any]) -> None:
    """Print one JSON object on standard output; numbers that JSON does not have become null."""
    click.echo(json.dumps(_plain(values), indent=1, default=str, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
