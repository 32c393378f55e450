"""Sources of lambdas, and of what is typed into a notebook: what they are made of counts, and nothing else."""

from __future__ import annotations

import linecache
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from trainables.config.source import source_digest

CELL = """
width = 8

class Base:
    scale = 2.0

    def forward(self, x):
        return self.scale * x

class Network(Base):
    def __init__(self):
        self.width = width
"""


def typed(text: str, name: str) -> Any:
    """The function of a name after a cell has been run, as IPython runs one: its text is in `linecache`."""
    text = textwrap.dedent(text)
    file = f"<ipython-input-{abs(hash(text))}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    namespace: dict[str, Any] = {"__name__": "__a_notebook__"}
    exec(compile(text, file, "exec"), namespace)
    return namespace[name]


@pytest.mark.parametrize(
    ("old", "new"),
    [("width = 8", "width = 4"), ("2.0", "3.0"), ("self.scale *", "-self.scale *"), ("= width", "= 8")],
)
def test_a_class_of_a_cell_is_what_it_uses_and_what_it_inherits(old: str, new: str) -> None:
    assert old in CELL
    digest = source_digest(typed(CELL, "Network"))
    assert source_digest(typed(CELL + "\nother = 1  # of no account\n", "Network")) == digest
    assert source_digest(typed(CELL.replace(old, new), "Network")) != digest


def given(build: Callable[[], Any], **_: Any) -> Callable[[], Any]:
    return build


def test_a_lambda_is_itself_and_not_the_call_it_stands_in() -> None:
    first = given(lambda: [1, 2], steps=100)
    again = given(
        lambda: [1, 2],
        steps=200,
        other=lambda: [3],
    )
    another = given(lambda: [1, 3], steps=100)
    assert source_digest(first) == source_digest(again) != source_digest(another)


def test_a_lambda_of_a_cell() -> None:
    cell = "def given(build, **_): return build\nmade = given(lambda: max(3, 4), steps={steps})\n"
    digests = {source_digest(typed(cell.format(steps=steps), "made")) for steps in (1, 2)}
    assert len(digests) == 1
    assert digests != {source_digest(typed(cell.replace("max", "min").format(steps=1), "made"))}


def test_what_a_lambda_finds_around_it_counts() -> None:
    def of(width: int) -> Callable[[], Any]:
        return lambda: width

    assert source_digest(of(3)) == source_digest(of(3)) != source_digest(of(4))
