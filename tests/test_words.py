"""The rules about words in CONTRIBUTING.md, as far as a machine can hold them; each failure names file:line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("analysis", "sweep", "trainables")

#: First words of docstrings. A verb that is missing in this file is added there; anything else is rewritten.
VERBS = frozenset((ROOT / "tests" / "data" / "verbs.txt").read_text(encoding="utf-8").split())

#: What a sentence must not contain, and what to write instead.
PATTERNS = {
    r"\bso many|manyth\b": "name the number: `n`, `steps`, 'this many'",
    r"\b(go|goes|going|went|gone) on\b": "'continue' or 'resume'",
    r"\bof the user's\b": "'user-supplied'",
    r"\bnobody\b": "say which part of the program does not",
    r"\b(it|this|that|which) stands\b(?! for)|\bstands? in\b": "'is in'",
    r"\bbec(a|o)mes? of\b": "'outcome', 'fate'",
    r"(?:^|[.;:] )Of (?:a|an|each|every|one|what|the|some)\b": "no inversion: begin with the subject",
    r'"""Who\b': "things are not 'who'",
}


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def pages() -> list[Path]:
    folders = ("docs", "examples", "analysis", "sweep")
    inside = (path for folder in folders for path in sorted((ROOT / folder).rglob("*")))
    examples = sorted((ROOT / "examples").glob("*.py"))
    return [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *examples,
        *(path for path in inside if path.suffix in {".md", ".yaml", ".jinja"}),
    ]


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions that are called as such: properties are nouns."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not any(
            "property" in ast.unparse(decorator) for decorator in node.decorator_list
        ):
            yield node


def not_a_verb(path: Path) -> list[str]:
    """Functions whose docstring begins with something else than a known verb in the imperative."""
    wrong = []
    for function in functions(path):
        text = ast.get_docstring(function)
        first = "" if text is None else text.split(maxsplit=1)[0].rstrip(",.:;").lower()
        if text is not None and first not in VERBS:
            line = function.body[0].lineno
            wrong.append(f"{shown(path)}:{line}: {function.name}: begin with a verb, got {text.splitlines()[0]!r}")
    return wrong


def riddles(path: Path) -> list[str]:
    """Lines with a pattern that must be decoded."""
    return [
        f"{shown(path)}:{number}: {line.strip()!r}; instead: {instead}"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for pattern, instead in PATTERNS.items()
        if re.search(pattern, line)
    ]


def test_docstrings_of_functions_begin_with_a_verb() -> None:
    wrong = [problem for path in modules() for problem in not_a_verb(path)]
    assert wrong == [], "\n" + "\n".join(wrong) + "\nAdd a verb that is missing to tests/data/verbs.txt."


def test_no_sentence_must_be_decoded() -> None:
    wrong = [problem for path in (*modules(), *pages()) for problem in riddles(path)]
    assert wrong == [], "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "problems"),
    [
        ('def f():\n    """The sum of so many numbers."""\n', 2),
        ('def f():\n    """Goes on from there."""\n', 1),
        ('def f():\n    """Add the numbers."""\n', 0),
        ('class A:\n    @property\n    def f(self):\n        """The sum."""\n', 0),
    ],
)
def test_the_check_finds_what_it_should(
    source: str, problems: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.test_words.ROOT", tmp_path)
    path = tmp_path / "module.py"
    path.write_text(source, encoding="utf-8")
    assert len(not_a_verb(path) + riddles(path)) == problems
