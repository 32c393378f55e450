"""What a job carries: what was imported from where the user's modules lie, not what lies there beside."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sweep.errors import SweepError
from sweep.imports import import_modules, sources_of
from sweep.on_ray import shipment
from sweep.on_ray.shipment import SPECIFICATION_FILE, pack
from sweep.on_ray.user_modules import import_folders
from sweep.specification.config import SweepConfig
from sweep.specification.trials import trials
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


def shipped(lab: Lab, place: Path) -> set[str]:
    """Import a lab's module, pack it with a rehearsal, and return the files that are sent."""
    import_modules([lab.module], [str(lab.folder)])
    config = SweepConfig(**lab.settings)
    place.mkdir()
    pack(config, [lab.module], place, sources_of(trials(config)))
    return packed(place)


def test_files_from_other_folders_of_the_path_and_imports_within_functions_are_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    unique = tmp_path.name.replace("-", "_")
    other, lab_folder = tmp_path / "other", tmp_path / "lab"
    for folder in (other, lab_folder, other / f"inner_{unique}"):
        folder.mkdir(parents=True)
    sys.path.append(str(other))
    (other / f"widths_{unique}.py").write_text(f"from inner_{unique}.deep import HIDDEN\n")
    (other / f"inner_{unique}" / "deep.py").write_text("HIDDEN = 8\n")
    (other / f"late_{unique}.py").write_text("BIAS = True\n")
    (other / f"unused_{unique}.py").write_text("")
    lab = new_lab(lab_folder, f"import widths_{unique}")
    text = lab.file.read_text()
    text = text.replace("    return nn.Seq", f"    from late_{unique} import BIAS\n\n    return nn.Seq")
    text = text.replace("config.width), nn", f"widths_{unique}.HIDDEN, BIAS), nn").replace(
        "nn.Linear(config.width", f"nn.Linear(widths_{unique}.HIDDEN"
    )
    lab.file.write_text(text)
    assert shipped(lab, tmp_path / "job") == {
        lab.name,
        *(f"{lab.name}/{name}" for name in ("__init__.py", "tasks.py")),
        *(f"{name}_{unique}.py" for name in ("widths", "late")),
        f"inner_{unique}",
        f"inner_{unique}/deep.py",
    }
    assert set(import_folders([lab.module])) == {str(other), str(lab_folder)}


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("import os\nHERE = os.environ.get('OF_THIS_SESSION', 'none')", "must be the same once it is sent, source"),
        ("import sys\nassert 'pytest' in sys.modules", "must be importable from what is sent, but there: --import"),
        ("import sys\nif 'pytest' not in sys.modules:\n    sys.exit()", "importable from what is sent, but there"),
        (
            "import os\nif 'PYTEST_VERSION' not in os.environ or os.getcwd() != {cwd!r}:\n    os._exit(3)",
            "exit code 3",
        ),
    ],
)
def test_what_differs_once_it_is_sent_is_refused_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, message: str
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("OF_THIS_SESSION", "something")
    lab = new_lab(tmp_path, f"HERE = 1\n{first.format(cwd=str(Path.cwd()))}")
    lab.file.write_text(lab.file.read_text().replace("nn.ReLU()", "nn.ReLU() if HERE else nn.GELU()"))
    import_modules([lab.module], [str(lab.folder)])
    monkeypatch.delenv("OF_THIS_SESSION")
    with pytest.raises(SweepError, match=message) as refused:
        shipped(lab, tmp_path / "job")
    assert "\n" not in str(refused.value)


def test_what_a_session_has_changed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    lab = new_lab(tmp_path, "SLOPE = 1")
    lab.file.write_text(lab.file.read_text().replace("nn.ReLU()", "nn.LeakyReLU(SLOPE)"))
    import_modules([lab.module], [str(lab.folder)])
    monkeypatch.setattr(sys.modules[lab.module], "SLOPE", 2)
    with pytest.raises(SweepError, match="this session has changed what it uses"):
        shipped(lab, tmp_path / "job")
