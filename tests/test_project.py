"""What the distribution consists of, and what its set-up promises."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel_files(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names in a wheel built from the tracked files."""
    source = tmp_path_factory.mktemp("source")
    wheels = tmp_path_factory.mktemp("wheels")
    for name in ("pyproject.toml", "README.md", "LICENSE", "analysis", "sweep", "trainables", "tests"):
        subprocess.run(["cp", "-r", ROOT / name, source], check=True)
    # The build tools of this environment: a separate one would be installed from an index.
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", wheels, source],
        check=True,
        capture_output=True,
    )
    (wheel,) = wheels.glob("grokking_sweep-*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_wheel_holds_every_module_and_no_tests(wheel_files: set[str]) -> None:
    modules = {
        str(path.relative_to(ROOT))
        for package in ("analysis", "sweep", "trainables")
        for path in (ROOT / package).rglob("*.py")
    }
    assert {name for name in wheel_files if name.endswith(".py")} == modules


@pytest.mark.parametrize("package", ["analysis", "sweep", "trainables"])
def test_wheel_is_typed(wheel_files: set[str], package: str) -> None:
    assert {f"{package}/py.typed", f"{package}/__init__.pyi"} <= wheel_files


@pytest.mark.parametrize("folder", ["sweep/presets", "analysis/report/templates", "analysis/stopping"])
def test_wheel_holds_the_data_files(wheel_files: set[str], folder: str) -> None:
    files = {str(path.relative_to(ROOT)) for path in (ROOT / folder).iterdir() if path.suffix not in ("", ".py")}
    assert files
    assert files <= wheel_files


def test_lock_is_for_any_machine() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.lstrip().startswith("#")]
    assert "torch==2.13.0" in pins
    assert [pin for pin in pins if "==" not in pin or "/" in pin or "+" in pin] == []
