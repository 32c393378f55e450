"""What a job carries: what was imported from where the user's modules lie, not what lies there beside."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sweep.errors import SweepError
from sweep.imports import import_modules
from sweep.on_ray import shipment
from sweep.on_ray.shipment import SPECIFICATION_FILE, pack
from sweep.specification.config import SweepConfig
from tests.sweep.own_lab import Lab, new_lab

OURS = {"analysis", "sweep", "trainables", SPECIFICATION_FILE}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr(sys, "path", [*sys.path])
    folder = tmp_path / "lab"
    folder.mkdir()
    return new_lab(folder, f"import helper_of_{tmp_path.name.replace('-', '_')}")


def packed(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.relative_to(folder).parts[0] not in OURS
    }


def test_the_package_and_what_it_has_imported_beside_it(lab: Lab, tmp_path: Path) -> None:
    helper = f"helper_of_{tmp_path.name.replace('-', '_')}.py"
    (lab.folder / helper).write_text("here = True\n")
    (lab.folder / "beside.npz").write_bytes(b"data")
    (lab.file.parent / ".git").mkdir()
    (lab.file.parent / ".git" / "objects").write_bytes(b"history")
    (lab.file.parent / "table.csv").write_text("1,2\n")
    import_modules([lab.module], [str(lab.folder)])

    place = tmp_path / "job"
    place.mkdir()
    assert pack(SweepConfig(), [lab.module], place) == ()
    assert packed(place) == {
        helper,
        lab.name,
        *(f"{lab.name}/{n}" for n in ("__init__.py", "tasks.py", "table.csv")),
    }
    assert {path.name for path in place.iterdir()} >= OURS


def test_too_much_data_is_refused(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipment, "LARGEST_SHIPMENT_BYTES", 2**20)
    (lab.folder / f"helper_of_{tmp_path.name.replace('-', '_')}.py").touch()
    (lab.file.parent / "images.npz").write_bytes(bytes(3 * 2**20))
    import_modules([lab.module], [str(lab.folder)])
    place = tmp_path / "job"
    place.mkdir()
    with pytest.raises(
        SweepError, match=rf"at most 1 MiB, got 3 with {lab.name}, 3 of them in {lab.name}/images.npz"
    ):
        pack(SweepConfig(), [lab.module], place)


def test_what_is_installed_is_not_sent(tmp_path: Path) -> None:
    import click  # noqa: F401

    [note] = pack(SweepConfig(), ["click.core"], tmp_path)
    assert note == "click is installed here and is not sent; it must be installed on the cluster"
    assert packed(tmp_path) == set()
