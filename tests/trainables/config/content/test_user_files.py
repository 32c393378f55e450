"""Files of a user's: which edits change what a network is, in fresh processes with other hash seeds."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import hypothesis.strategies as st
import pytest
from hypothesis import given

from trainables.config.source import source_digest

SIZES = """
SIZES = {"hidden": 8, "out": 3}
NAMES = {"a", "bb", "ccc"}
FACTOR = 2.0
class Options:
    depth = 2
"""

LAYERS = """
import enum
from functools import partial, lru_cache
from sizes import FACTOR
import sizes

class Kind(enum.Enum):
    WIDE = 1
    DEEP = 2

class Layer:
    def scale(self):
        return FACTOR
    @property
    def hidden(self):
        return sizes.SIZES["hidden"]
    @staticmethod
    def kind():
        return Kind.WIDE

class Steep(Layer):
    def scale(self):
        return super().scale() + 1

halved = partial(pow, 2)
UNUSED = 1
"""

NETS = '''
import layers

def scaled(by):
    def decorate(function):
        def inner(*given, **named):
            return by * function(*given, **named)
        return inner
    return decorate

@scaled(3)
def start(x, power=2, *, shift=1):
    return x ** power + shift

class Net(layers.Steep):
    """A network."""
    bias = 0.5
    width: int = 4

    def forward(self, x):
        """Compute it."""
        try:
            total = start(x) + self.bias + layers.halved(3)
        except ValueError:
            total = 0
        while True:
            total += 1
            break
        return f"{total:>{self.width}}", {"a", "b"}, lambda y: y - 1

class Other:
    pass

build = lambda: Net()

def lazily():
    from sizes import Options
    return Options.depth
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in (("sizes", SIZES), ("layers", LAYERS), ("nets", NETS)):
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    forget()


def forget() -> None:
    for name in ("sizes", "layers", "nets"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


def nets() -> ModuleType:
    forget()
    return importlib.import_module("nets")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("sizes", '"hidden": 8', '"hidden": 64'),
        ("sizes", "2.0", "3.0"),
        ("layers", "+ 1", "+ 2"),
        ("layers", 'SIZES["hidden"]', 'SIZES["out"]'),
        ("layers", "partial(pow, 2)", "partial(pow, 3)"),
        ("layers", "return Kind.WIDE", "return Kind.DEEP"),
        ("layers", "WIDE = 1", "WIDE = 3"),
        ("nets", "@scaled(3)", "@scaled(4)"),
        ("nets", "power=2", "power=3"),
        ("nets", "shift=1", "shift=2"),
        ("nets", "bias = 0.5", "bias = 0.25"),
        ("nets", "width: int = 4", "width: int = 5"),
        ("nets", "y - 1", "y - 2"),
        ("nets", "except ValueError", "except TypeError"),
        ("nets", '{"a", "b"}', '{"a", "c"}'),
        ("nets", "layers.Steep", "layers.Layer"),
        ("nets", ":>{", ":<{"),
    ],
)
def test_an_edit_that_matters(folder: Path, file: str, old: str, new: str) -> None:
    before = source_digest(nets().build)
    edit(folder / f"{file}.py", old, new)
    assert source_digest(nets().build) != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("sizes", "class Options", "THIRD = 3\nclass Options"),
        ("layers", "UNUSED = 1", "UNUSED = 2"),
        ("nets", "class Other:\n    pass", "class Other:\n    more = 1"),
        ("nets", "    bias = 0.5\n    width: int = 4", "    width = (4)  # wide\n\n    bias = 1 / 2"),
        ("nets", '"""A network."""', '"""Another\n    text."""'),
        (
            "nets",
            "        while True:\n            total += 1\n            break",
            "        while True: total += 1; break",
        ),
        ("nets", "total", "total_so_far"),
        ("nets", "build = lambda: Net()", "for _ in range(3):\n    build = (lambda:\n        Net())"),
        ("nets", "x, power=2", "x: int, power: float = 2"),
    ],
)
def test_an_edit_that_does_not_matter(folder: Path, file: str, old: str, new: str) -> None:
    before = source_digest(nets().build)
    path = folder / f"{file}.py"
    if old == "total":
        path.write_text(path.read_text().replace(old, new))
    else:
        edit(path, old, new)
    assert source_digest(nets().build) == before


def test_an_import_within_a_function_counts(folder: Path) -> None:
    before = source_digest(nets().lazily)
    edit(folder / "sizes.py", "depth = 2", "depth = 3")
    assert source_digest(nets().lazily) != before


def test_a_value_that_is_changed_after_the_import_counts(folder: Path) -> None:
    module = nets()
    before = source_digest(module.build)
    sys.modules["sizes"].SIZES["hidden"] = 64
    assert source_digest(module.build) != before


def test_other_processes_and_hash_seeds_agree(folder: Path) -> None:
    code = "import nets; from trainables.config.source import source_digest; print(source_digest(nets.build))"
    path = f"{folder}:{Path(__file__).parents[4]}"
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert digests == {source_digest(nets().build)}


BLANKS = st.lists(st.sampled_from(["", "# a comment", "   # indented"]), max_size=3)


@given(BLANKS, BLANKS, st.booleans(), st.integers(-9, 9))
def test_layout_does_not_count_and_a_value_does(
    above: list[str], below: list[str], whole: bool, value: int
) -> None:
    def made(text: str) -> str:
        names: dict[str, object] = {"__name__": "__a_notebook__"}
        exec(compile(text, "<typed>", "exec"), names)
        return source_digest(names["build"])  # type: ignore[arg-type]

    text = "LIST = [1, {'k': (0, VALUE)}]\ndef build(n=3):\n    if n: return LIST\n"
    text += "    for i in LIST: n += i\n    return n\n"
    plain = made(text.replace("VALUE", str(value)))
    laid_out = text.replace("    for", "\n".join([*above, "    for"])).replace("VALUE", f"\n {value}\n")
    laid_out = "\n".join([*below, ast.unparse(ast.parse(laid_out)) if whole else laid_out])
    assert made(laid_out) == plain
    assert made(text.replace("VALUE", str(value + 1))) != plain
