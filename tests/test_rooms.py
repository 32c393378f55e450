"""The house: the map in README.md is the tree, the walks lead somewhere, and no room is crowded."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("analysis", "sweep", "trainables")

LONGEST_MODULE_LINES = 400
MOST_MODULES = 16
"""In one folder."""

CROWDED = {"trainables/complexity"}
"""A codec whose parts are used by each other all over: flat as it is."""

FOLDERS = {
    str(path.relative_to(ROOT))
    for package in PACKAGES
    for path in (ROOT / package, *(ROOT / package).rglob("*/"))
    if any(file.is_file() for file in path.iterdir() if file.suffix != ".pyc")
}
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def mapped_folders() -> list[str]:
    """The folders of the map, their parents' names filled in."""
    (block,) = re.findall(
        r"## The layout\n\n```\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    folders: list[str] = []
    parents: list[str] = []
    for line in block.splitlines():
        match = re.fullmatch(r"( *)(\w+)/ +(\S.*)", line)
        assert match is not None, f"a folder, blanks, and what it is for: {line!r}"
        parents[len(match[1]) // 2 :] = [match[2]]
        folders.append("/".join(parents))
    return folders


def test_the_map_is_the_tree() -> None:
    mapped = mapped_folders()
    assert len(mapped) == len(set(mapped))
    assert set(mapped) == FOLDERS


def walks() -> list[tuple[str, str]]:
    """Each name and file of the walks."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and ".py`" in line]
    hops = [re.findall(r"`(\w+)` in `([\w/]+\.py)`", row) for row in rows]
    assert len(hops) == 5
    assert all(len(row) == 2 for row in hops)
    return [hop for row in hops for hop in row]


@pytest.mark.parametrize(("name", "file"), walks())
def test_walks_lead_somewhere(name: str, file: str) -> None:
    defined: set[str] = set()
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined |= {target.id for target in targets if isinstance(target, ast.Name)}
    assert name in defined


def test_no_frame_is_walked_row_by_row() -> None:
    """Of 10,000 trials that takes most of the time of a report."""
    assert [str(path) for path in MODULES if "iterrows" in path.read_text(encoding="utf-8")] == []


def test_no_module_is_long() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > LONGEST_MODULE_LINES} == {}


def test_no_folder_is_crowded() -> None:
    counts: dict[str, int] = {}
    for path in MODULES:
        if path.name != "__init__.py":
            folder = str(path.parent.relative_to(ROOT))
            counts[folder] = counts.get(folder, 0) + 1
    assert {name for name, count in counts.items() if count > MOST_MODULES} <= CROWDED


def test_every_room_says_what_it_is() -> None:
    silent = [
        path
        for path in MODULES
        if path.name == "__init__.py" and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []
