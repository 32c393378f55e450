"""What the three packages offer: every name is there at run time and for type checkers."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

PACKAGES = ("analysis", "sweep", "trainables")


def stated(package: str) -> set[str]:
    """The names that the stub of a package gives to type checkers."""
    stub = Path(__file__).parents[1] / package / "__init__.pyi"
    names: set[str] = set()
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            names |= {alias.name for alias in node.names if alias.asname == alias.name}
        elif isinstance(node, ast.AnnAssign):
            names.add(ast.unparse(node.target))
    return names


@pytest.mark.parametrize("name", PACKAGES)
def test_what_type_checkers_know_is_what_there_is(name: str) -> None:
    package = importlib.import_module(name)
    assert set(package.__all__) == stated(name)
    assert not [public for public in package.__all__ if isinstance(getattr(package, public), ModuleType)]


FIRST_OF_ALL = {"trainables": {"trainables.numerics", "trainables.numerics.environment"}}
"""Modules that must act before torch computes anything."""


def test_a_function_is_not_hidden_by_the_module_of_its_name() -> None:
    code = (
        "import analysis.decide, analysis.events, analysis.load; from analysis.events import Trajectory; "
        "print(all(callable(each) for each in (analysis.decide, analysis.events, analysis.load)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "True"


@pytest.mark.parametrize("name", PACKAGES)
def test_importing_a_package_imports_nothing_else_of_it(name: str) -> None:
    code = f"import sys, {name}; print(*[each for each in sys.modules if each.startswith('{name}.')])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) == FIRST_OF_ALL.get(name, set())
