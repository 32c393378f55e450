"""A run on damaged results sets the damage aside, and its rows come out as if nothing had happened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.checks.findings import FAULTS
from sweep.errors import StoreError
from sweep.plan.plan import plan
from sweep.results import compaction
from sweep.results.store import Store
from sweep.specification.config import SweepConfig
from sweep.training import cohort_training
from sweep.training.here import run_here
from tests.sweep.tables import assert_same_tables

pytestmark = pytest.mark.filterwarnings("ignore::analysis.errors.ResultsWarning")


def specification(path: Path) -> SweepConfig:
    return SweepConfig(
        task={"modulus": 7},
        model={"width": 8, "heads": 2},
        data_fraction=0.5,
        steps=96,
        seeds=2,
        stop="none",
        keep_networks="final",
        results=str(path),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished sweep with a handful of reports."""
    path = tmp_path_factory.mktemp("whole") / "results"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compaction, "FEWEST_FILES", 10**9)
        patch.setattr(cohort_training, "STEP_BLOCKS", 1)
        patch.setattr(cohort_training, "REPORT_BLOCKS", 1)
        assert run_here(specification(path)).exit_code == 0
        assert len(list(path.glob("tables/rows/*"))) >= 3
        yield path


@pytest.fixture
def results(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(compaction, "FEWEST_FILES", 10**9)
    return Path(shutil.copytree(whole, tmp_path / "results"))


def file_of(results: Path, table: str, number: int) -> Path:
    """One of the files of a table, in the order of reports."""
    return sorted(results.glob(f"tables/{table}/*.parquet"))[number]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def alter(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "rows in the middle, cut": lambda results: cut(file_of(results, "rows", 1)),
    "rows at the end, altered": lambda results: alter(file_of(results, "rows", -1)),
    "complexity altered": lambda results: alter(file_of(results, "complexity", 2)),
    "ends altered": lambda results: alter(file_of(results, "trials", -1)),
    "ends deleted": lambda results: file_of(results, "trials", -1).unlink(),
    "networks cut": lambda results: cut(file_of(results, "networks", -1)),
    "a report deleted": lambda results: file_of(results, "rows", 2).unlink(),
    "everything empty": lambda results: [file.write_bytes(b"") for file in results.glob("tables/*/*")],
    "record of the cohort": lambda results: next(results.glob("cohorts/c*.json")).write_text("{"),
    "record deleted": lambda results: next(results.glob("cohorts/c*.json")).unlink(),
    "a path as id": lambda results: next(results.glob("cohorts/c*.json")).write_text(
        json.dumps({**json.loads(next(results.glob("cohorts/c*.json")).read_text()), "cohort_id": "../evil/x"})
    ),
    "request": lambda results: (results / "sweep.json").write_text('{"trials": 7}'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_trained_again(results: Path, whole: Path, damage: str) -> None:
    DAMAGE[damage](results)
    broken = {file for file in results.rglob("*") if file.is_file()}
    summary = run_here(specification(results))
    assert summary.exit_code == 0
    assert_same_tables(whole, results)
    assert [finding for finding in Store(results).check() if finding.kind in FAULTS] == []
    gone = {file for file in broken if not file.exists() and file.suffix != ".safetensors"}
    assert all((results / "set-aside" / file.relative_to(results)).exists() for file in gone)
    assert sorted(path.name for path in results.parent.iterdir()) == ["results"]


@pytest.mark.parametrize(
    "damage",
    ["complexity", "ends altered", "ends deleted", "networks cut", "everything empty", "record of the cohort"],
)
def test_so_are_compacted_reports(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(compaction, "FEWEST_FILES", 2)
    results = Path(shutil.copytree(whole, tmp_path / "results"))
    assert run_here(specification(results)).ended_here == 0
    files = [file for file in results.glob("tables/*/*") if file.is_file()]
    assert len(files) == 5
    if damage == "complexity":
        alter(file_of(results, "complexity", 0))
    else:
        DAMAGE[damage](results)
    assert run_here(specification(results)).ended_here == 2
    assert_same_tables(whole, results)
    assert Store(results).check() == []
    assert len([file for file in results.glob("set-aside/tables/*/*") if file.is_file()]) >= 4


def test_with_checkpoints_gone_it_starts_from_the_beginning(results: Path, whole: Path) -> None:
    cut(file_of(results, "rows", -1))
    for file in results.glob("checkpoints/*.safetensors"):
        file.unlink()
    assert run_here(specification(results)).exit_code == 0
    assert_same_tables(whole, results)


def test_the_checkpoint_before_the_damage_is_used(results: Path) -> None:
    store = Store(results)
    (cohort,) = store.cohorts()
    last = len(list(results.glob("tables/rows/*"))) - 1
    cut(file_of(results, "rows", -1))
    config = specification(results)
    decided = plan(config, store, parallel=1)
    assert [entry.cohort_id for entry in decided.resume] == [cohort.cohort_id]
    assert decided.new == []
    assert "damaged or missing in the results folder: 1 file; a run moves" in " ".join(decided.notes)
    assert len(store.repair(decided.damage)) >= 2
    assert store.claim_attempt(cohort.cohort_id).next_report == last


def test_a_gap_is_never_skipped_by_a_checkpoint(results: Path) -> None:
    store = Store(results)
    (cohort,) = store.cohorts()
    file_of(results, "rows", 1).unlink()
    attempt = store.claim_attempt(cohort.cohort_id)
    assert (attempt.next_report, attempt.checkpoint) == (0, None)


def test_reports_that_were_replaced_do_not_return(results: Path) -> None:
    """The damaged report had replaced an older one, whose rows are of other blocks and would count again."""
    store = Store(results)
    (cohort,) = store.cohorts()
    for file in list(results.glob("tables/*/*-00002.parquet")):
        newer = file.with_name(f"{cohort.cohort_id}-002-00002.parquet")
        shutil.copy(file, newer)
        cut(newer)
    store.repair(store.check())
    assert list(results.glob("tables/*/*-00002.parquet")) == []
    assert len(list(results.glob("set-aside/tables/rows/*-00002.parquet"))) == 2


def test_nothing_that_was_set_aside_is_replaced(results: Path) -> None:
    store = Store(results)
    for content in (b"first", b"second"):
        (results / "sweep.json").write_bytes(content)
        store.repair(store.check())
    assert (results / "set-aside" / "sweep.json").read_bytes() == b"first"
    assert (results / "set-aside" / "sweep.json.2").read_bytes() == b"second"


def test_a_configuration_that_was_altered_is_refused(results: Path) -> None:
    record = next(results.glob("cohorts/c*.json"))
    stated = json.loads(record.read_text())
    stated["trials"][0]["config"]["weight_decay"] = 0.25
    record.write_text(json.dumps(stated))
    with pytest.raises(StoreError, match=r"the configuration of trial .* is that of "):
        plan(specification(results), Store(results), parallel=1)


@pytest.mark.parametrize(
    "changed",
    [
        {"lanes": "8"},
        {"imports": 7},
        {"decline": 7},
        {"measuring": {"epsilon": []}},
        {"audit_share": None},
        {"new": 1},
    ],
)
def test_values_of_another_type_are_one_line(results: Path, changed: dict[str, Any]) -> None:
    record = next(results.glob("cohorts/c*.json"))
    record.write_text(json.dumps(json.loads(record.read_text()) | changed))
    with pytest.raises(StoreError, match=rf"cohorts/{record.name} in .* must be readable") as raised:
        plan(specification(results), Store(results), parallel=1)
    assert "\n" not in str(raised.value)
    assert [(finding.kind, finding.file) for finding in Store(results).check()] == [
        ("damaged", f"cohorts/{record.name}")
    ]


@pytest.mark.parametrize("cohort_id", ["../evil/x", "", "c0000", "c0000-0123abcd/../x"])
def test_no_path_is_made_of_an_id(tmp_path: Path, cohort_id: str) -> None:
    store = Store(tmp_path / "results")
    for ask in (store.cohort, store.claim_attempt):
        with pytest.raises(StoreError, match="the id of a cohort must look like"):
            ask(cohort_id)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["checkpoints", "tables/rows", "cohorts", "report"])
def test_links_are_refused_before_work(results: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "outside").mkdir()
    folder = results / place
    if folder.exists():
        shutil.rmtree(folder)
    folder.symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError, match="must be a file or folder of its own"):
        Store(results).check_usable()
    assert list((tmp_path / "outside").iterdir()) == []
