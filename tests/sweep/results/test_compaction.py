"""Compaction: the same frames from one file a table, whatever was restarted, killed or read meanwhile."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import fs

import analysis
from analysis.checks.findings import FAULTS, Finding
from analysis.checks.reports import parse_report
from analysis.files import Files
from analysis.results_folder import ResultsFolder
from analysis.schema import TABLES, arrow_schema
from sweep.cli.sweeps import main
from sweep.results import compaction
from sweep.results.store import Store
from sweep.specification.config import SweepConfig
from sweep.training import cohort_training
from sweep.training.here import run_here
from sweep.training.progress import NoProgress, Snapshot
from tests.analysis.folder import Folder, cohort_name, end, measured, row
from tests.buckets import use_server
from tests.sweep.tables import assert_same_tables
from trainables.config import TrialConfig

TRIALS = [TrialConfig(seed=seed, steps=100) for seed in range(3)]
COHORT = cohort_name(0)


def frames(path: Path | str) -> dict[str, pd.DataFrame]:
    """All that readers show of a folder, but for its address."""
    return {
        "rows": analysis.load(path).drop(columns="sweep"),
        "trials": analysis.trials(path),
        "complexity": analysis.complexity(path),
        "matrices": analysis.matrices(path),
        "decisions": analysis.decisions(path),
        "networks": analysis.networks(path),
        "status": analysis.status(path),
    }


def assert_same_frames(one: dict[str, pd.DataFrame], other: dict[str, pd.DataFrame]) -> None:
    for name in one:
        pd.testing.assert_frame_equal(one[name], other[name], check_exact=True, obj=name)


def files_of(path: Path, table: str) -> list[str]:
    return sorted(file.name for file in path.glob(f"tables/{table}/[!.]*"))


def found(path: Path) -> list[Finding]:
    """What is wrong, but for the record of the cohort, which is made up only as far as readers need it."""
    return [finding for finding in Store(path).check() if not finding.file.startswith("cohorts/")]


def write_report(folder: Folder, attempt: int, report: int, steps: Sequence[int], last_step: int) -> None:
    """A report of all trials at some steps; at the last one they end, and their networks are kept."""
    over = last_step in steps
    folder.report(
        COHORT,
        attempt,
        report,
        rows=[row(trial, step, val_loss=step + trial.seed / 8) for step in steps for trial in TRIALS],
        complexity=[measured(trial, step) for step in steps for trial in TRIALS if step % 3 == 0],
        trials=[end(trial, COHORT) for trial in TRIALS if over],
        networks=[
            {"trial_id": trial.trial_id, "step": step, "safetensors": bytes([step]) * 40}
            for step in steps
            for trial in TRIALS
        ],
    )


@st.composite
def attempts(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, list[int]]], list[tuple[int, int, list[int]]]]:
    """The last step of a cohort; what its attempts report, and what those thought dead report too late.

    Each attempt but the last dies somewhere; the next one continues after a report that counts, with reports of
    other lengths.
    """
    last_step = draw(st.integers(1, 9))
    counted: list[list[int]] = []
    reports, late = [], []
    number = draw(st.integers(1, 3))
    while True:
        dies = draw(st.booleans()) and number < 9
        counted = counted[: draw(st.integers(0, len(counted)))]
        step = counted[-1][-1] + 1 if counted else 0
        own: list[tuple[int, int, list[int]]] = []
        while step <= last_step:
            steps = list(range(step, min(step + draw(st.integers(1, 4)), last_step + 1)))
            own.append((number, len(counted) + len(own), steps))
            step = steps[-1] + 1
        if not dies:
            return last_step, [*reports, *own], late
        alive = draw(st.integers(0, len(own) - 1))
        reports += own[:alive]
        # It may write on, beyond where its successor begins, and also where that has not reported yet.
        late += own[alive : draw(st.integers(alive, len(own)))] if alive else []
        counted += [steps for _, _, steps in own[:alive]]
        number += draw(st.integers(1, 2))


@settings(max_examples=25)
@given(history=attempts(), when=st.sampled_from(["before", "after", "both"]))
def test_the_same_frames_whatever_was_restarted(
    history: tuple[int, list[Any], list[Any]], when: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    last_step, reports, late = history
    folder = Folder(tmp_path_factory.mktemp("results") / "results")
    folder.request(TRIALS)
    folder.cohort(0, TRIALS)
    for attempt, report, steps in reports:
        write_report(folder, attempt, report, steps, last_step)
    if when != "after":
        for attempt, report, steps in late:
            write_report(folder, attempt, report, steps, last_step)
    before = frames(folder.path)
    every = [(trial.trial_id, step) for trial in TRIALS for step in range(last_step + 1)]
    assert list(zip(before["rows"]["trial_id"], before["rows"]["step"], strict=True)) == sorted(every)
    many = len(reports) > 1 and len(files_of(folder.path, "rows")) > 1
    compacted = Store(folder.path).compact(COHORT, [trial.trial_id for trial in TRIALS])
    assert_same_frames(before, frames(folder.path))
    if compacted:
        assert many
        assert [len(files_of(folder.path, table)) for table in ("rows", "trials", "networks")] == [1, 1, 1]
    if when != "before":
        for attempt, report, steps in late:
            write_report(folder, attempt, report, steps, last_step)
        assert_same_frames(before, frames(folder.path))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An ended cohort: four reports that count, of two attempts, one of which wrote two more than count."""
    made = Folder(tmp_path / "results")
    made.request(TRIALS)
    made.cohort(0, TRIALS)
    for report, steps in enumerate(([0, 1], [2], [3], [4])):
        write_report(made, 1, report, steps, 6)
    write_report(made, 3, 2, [3, 4, 5], 6)
    write_report(made, 3, 3, [6], 6)
    (made.path / "checkpoints").mkdir()
    for attempt, report in ((1, 1), (3, 2), (3, 3)):
        (made.path / "checkpoints" / f"{COHORT}-{attempt:03d}-{report:05d}.safetensors").write_bytes(b"%d" % report)
    return made


def compact(path: Path | str) -> bool:
    return Store(path).compact(COHORT, [trial.trial_id for trial in TRIALS])


def test_one_file_a_table_and_the_checkpoint_under_its_number(folder: Folder) -> None:
    assert compact(folder.path)
    name = f"{COHORT}-004-00000-00003"
    for table in ("rows", "complexity", "trials", "networks"):
        assert files_of(folder.path, table) == [f"{name}.parquet"]
    assert [file.name for file in folder.path.glob("checkpoints/*.safetensors")] == [
        f"{COHORT}-004-00003.safetensors"
    ]
    assert Store(folder.path).newest_checkpoint(COHORT) == b"3"
    assert Store(folder.path).claim_attempt(COHORT).next_report == 4
    assert Store(folder.path).to_compact() == {}
    assert compact(folder.path)
    assert files_of(folder.path, "rows") == [f"{name}.parquet"]


def test_what_columns_mean_is_not_in_the_files(folder: Folder) -> None:
    assert compact(folder.path)
    schema = pq.read_schema(next(folder.path.glob("tables/rows/*")))
    assert all(field.metadata is None for field in schema)


@pytest.mark.parametrize("bytes_of_a_file", [1, 2_000, 9_000])
def test_large_tables_become_several_files(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, bytes_of_a_file: int
) -> None:
    before = frames(folder.path)
    monkeypatch.setattr(compaction, "FILE_BYTES", bytes_of_a_file)
    assert compact(folder.path)
    assert len(files_of(folder.path, "rows")) == 1
    assert (len(files_of(folder.path, "networks")) > 1) == (bytes_of_a_file < 9_000)
    assert_same_frames(before, frames(folder.path))
    if bytes_of_a_file == 1:
        next(folder.path.glob("tables/networks/*")).unlink()
        (finding,) = found(folder.path)
        assert "its files in networks have " in finding.wrong
        assert Store(folder.path).repair([finding])
        assert files_of(folder.path, "rows") == files_of(folder.path, "networks") == []


@pytest.mark.parametrize("left", ["a trial has not ended", "damage", "a gap", "no state after the last report"])
def test_what_is_not_whole_stays_as_it_is(folder: Folder, left: str) -> None:
    if left == "a trial has not ended":
        folder.cohort(0, [*TRIALS, TrialConfig(seed=9, steps=100)])
        trial_ids = [trial.trial_id for trial in [*TRIALS, TrialConfig(seed=9, steps=100)]]
    else:
        trial_ids = [trial.trial_id for trial in TRIALS]
    if left == "damage":
        file = folder.path / "tables" / "networks" / f"{COHORT}-001-00001.parquet"
        file.write_bytes(file.read_bytes()[:-9])
    if left == "a gap":
        (folder.path / "tables" / "rows" / f"{COHORT}-001-00001.parquet").unlink()
    if left == "no state after the last report":
        (folder.path / "checkpoints" / f"{COHORT}-003-00003.safetensors").unlink()
    before = sorted(folder.path.rglob("*"))
    assert not Store(folder.path).compact(COHORT, trial_ids)
    # An attempt may have been begun.
    assert [file for file in sorted(folder.path.rglob("*")) if file.suffix != ".begun"] == before


def test_files_without_a_checksum_do_not_get_one(folder: Folder) -> None:
    """They are of the first schema, and may have been altered in silence."""
    for file in folder.path.glob("tables/*/*"):
        table = pq.read_table(file)
        pq.write_table(table.replace_schema_metadata({"schema_version": "1"}), file, compression="zstd")
    assert not compact(folder.path)
    assert len(analysis.load(folder.path)) == 21


def test_files_of_the_second_schema_are_compacted_into_the_present_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Folder(tmp_path / "results")
    made.request(TRIALS)
    made.cohort(0, TRIALS)

    def second_schema(table: str) -> pa.Schema:
        fields = [field for field in arrow_schema(table) if field.name not in ("logit_scale", "reproducible")]
        return pa.schema(fields, {**arrow_schema(table).metadata, b"schema_version": b"2"})

    with monkeypatch.context() as patch:
        patch.setattr("tests.analysis.folder.arrow_schema", second_schema)
        for report, steps in enumerate(([0, 1], [2, 3])):
            write_report(made, 1, report, steps, 3)
    before = frames(made.path)
    assert before["rows"]["logit_scale"].isna().all()
    assert compact(made.path)
    assert len(files_of(made.path, "rows")) == 1
    assert_same_frames(before, frames(made.path))


_KILLED = """
import os, pathlib, signal, sys
from analysis.files import Files
from sweep.results.compaction import compact

cohort_id, *trial_ids = sys.argv[2:]
operations = ("open", "os.rename", "os.remove", "os.mkdir")

def run(folder, number):
    done = 0
    def operation(event, arguments):
        nonlocal done
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in operations and (event != "open" or writes) and folder in str(arguments[0]):
            if done == number:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
    sys.addaudithook(operation)
    compact(Files(folder), cohort_id, trial_ids, folder)

for number, folder in enumerate(sorted(map(str, pathlib.Path(sys.argv[1]).iterdir()))):
    child = os.fork()
    if not child:
        run(folder, number)
        os._exit(0)
    print(folder, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_killed_before_any_file_operation_nothing_is_lost(folder: Folder, tmp_path: Path) -> None:
    before = frames(folder.path)
    copies = [shutil.copytree(folder.path, tmp_path / "copies" / f"{number:03d}") for number in range(48)]
    told = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path / "copies"), COHORT, *(trial.trial_id for trial in TRIALS)],
        capture_output=True,
        text=True,
        check=True,
    )
    exits = {Path(line.split()[0]): int(line.split()[1]) for line in told.stdout.splitlines()}
    killed = [copy for copy in copies if exits[copy] == -9]
    assert set(exits.values()) == {0, -9}
    assert killed == copies[: len(killed)]
    assert len(killed) > 25
    states = set()
    for copy in killed:
        assert_same_frames(before, frames(copy))
        store = Store(copy)
        findings = found(copy)
        assert [finding for finding in findings if finding.kind in FAULTS] == []
        states.add((len(files_of(copy, "rows")), bool(findings)))
        assert compact(copy)
        assert_same_frames(before, frames(copy))
        assert found(copy) == []
        assert [len(files_of(copy, table)) for table in ("rows", "complexity", "trials", "networks")] == [1] * 4
        assert store.newest_checkpoint(COHORT) == b"3"
    # Killed before, during and after the deletion.
    assert {(6, False), (7, True), (4, True), (1, True)} <= states


def test_half_done_is_named_and_finished_by_a_repair(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    old = len(list(folder.path.glob("tables/*/*")))
    with monkeypatch.context() as patch:
        patch.setattr(compaction, "_delete_older", lambda *_: None)
        assert compact(folder.path)
    (finding,) = found(folder.path)
    assert finding.kind == "replaced"
    assert f"and those of {old - 1} more files were compacted into a newer file" in finding.wrong
    assert Store(folder.path).repair([]) == []
    assert files_of(folder.path, "rows") == [f"{COHORT}-004-00000-00003.parquet"]
    assert found(folder.path) == []


def test_the_command_finishes_it(tmp_path: Path, many_reports: pytest.MonkeyPatch) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compaction, "_delete_older", lambda *_: None)
        assert run_here(specification(tmp_path / "results")).exit_code == 0
    many = len(files_of(tmp_path / "results", "rows"))
    shown = CliRunner().invoke(main, ["check", str(tmp_path / "results")])
    assert shown.exit_code == 0
    assert "replaced  tables/rows/" in shown.stdout
    assert "nothing is damaged or missing" in shown.stdout
    assert len(files_of(tmp_path / "results", "rows")) == many > 2
    repaired = CliRunner().invoke(main, ["check", str(tmp_path / "results"), "--repair"])
    assert repaired.exit_code == 0
    assert len(files_of(tmp_path / "results", "rows")) == 1
    assert "replaced" not in CliRunner().invoke(main, ["check", str(tmp_path / "results")]).stdout


def test_damaged_before_the_old_files_are_deleted_these_count_again(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = frames(folder.path)
    monkeypatch.setattr(compaction, "_delete_older", lambda *_: None)
    assert compact(folder.path)
    for table in ("complexity", "rows"):
        (file,) = folder.path.glob(f"tables/{table}/{COHORT}-004-*")
        file.write_bytes(file.read_bytes()[:-9])
        # A reader must not take away what replaces the damage, nor may compaction delete it.
        assert not compact(folder.path)
        findings = [finding for finding in found(folder.path) if finding.kind in FAULTS]
        assert findings
    Store(folder.path).repair(findings)
    assert not list(folder.path.glob(f"tables/*/{COHORT}-004-*"))
    assert_same_frames(before, frames(folder.path))


def steps_in(opened: ResultsFolder, table: str) -> list[int]:
    return sorted(set(opened.table(table, ["trial_id", "step"])["step"].to_pylist()))


@pytest.mark.filterwarnings("error::analysis.errors.ResultsWarning")
def test_a_reader_that_has_opened_before_sees_what_was_there(folder: Folder) -> None:
    for table in sorted(TABLES.keys() - {"trials"}):
        copy = Path(shutil.copytree(folder.path, folder.path.with_name(table)))
        opened, expected = ResultsFolder(str(copy)), steps_in(ResultsFolder(str(copy)), table)
        assert compact(copy)
        assert steps_in(opened, table) == expected
    opened = ResultsFolder(str(folder.path))
    assert steps_in(opened, "rows") == list(range(7))
    assert compact(folder.path)
    assert len(opened.table("trials", ["trial_id"])) == 3
    assert opened.check(TABLES) == []


@pytest.mark.filterwarnings("error::analysis.errors.ResultsWarning")
def test_a_reader_does_not_see_reports_that_came_after_it(folder: Folder) -> None:
    for file in folder.path.glob(f"tables/*/{COHORT}-003-00003.parquet"):
        file.unlink()
    opened = ResultsFolder(str(folder.path))
    write_report(folder, 3, 3, [6], 6)
    assert compact(folder.path)
    assert steps_in(opened, "rows") == steps_in(opened, "networks") == list(range(6))
    assert len(opened.table("trials", ["trial_id"])) == 0
    assert opened.faults == {}


@pytest.mark.filterwarnings("error::analysis.errors.ResultsWarning")
@pytest.mark.parametrize("place", range(6))
def test_a_listing_that_misses_what_was_deleted_meanwhile(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    """The worst that a listing may do while files come and go: it has neither the new ones nor the old ones."""
    before = analysis.load(folder.path)
    listings = 0
    sizes = Files.sizes

    def interrupted(files: Files, name: str) -> dict[str, int]:
        nonlocal listings
        listings += name.startswith("tables/")
        old = sizes(files, name)
        if name.startswith("tables/") and listings == place + 1:
            with monkeypatch.context() as patch:
                patch.setattr(Files, "sizes", sizes)
                assert compact(folder.path)
            return {file: size for file, size in old.items() if file in sizes(files, name)}
        return old

    monkeypatch.setattr(Files, "sizes", interrupted)
    pd.testing.assert_frame_equal(analysis.load(folder.path), before)
    assert listings > place


def specification(path: Path, **changed: Any) -> SweepConfig:
    small = {"task": {"modulus": 7}, "model": {"width": 8, "heads": 2}, "data_fraction": 0.5, "stop": "none"}
    return SweepConfig(**{**small, "steps": 96, "keep_networks": "final", "results": str(path), **changed})


class _Interrupt(NoProgress):
    """Ctrl-C, as soon as something holds."""

    def __init__(self, when: Callable[[], bool]) -> None:
        self._when = when

    def show(self, snapshot: Snapshot) -> None:
        if self._when():
            raise KeyboardInterrupt


@pytest.fixture
def many_reports() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cohort_training, "STEP_BLOCKS", 1)
        patch.setattr(cohort_training, "REPORT_BLOCKS", 1)
        patch.setattr(cohort_training, "RESULT_EVERY_S", 0)
        yield patch


def test_a_sweep_that_was_interrupted_continues_after_compaction(
    tmp_path: Path, many_reports: pytest.MonkeyPatch
) -> None:
    two_shapes = {"model": {"width": [8, 12], "heads": 2}, "seeds": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compaction, "FEWEST_FILES", 10**9)
        assert run_here(specification(tmp_path / "plain", **two_shapes)).exit_code == 0
    assert len(files_of(tmp_path / "plain", "rows")) >= 6

    results = tmp_path / "compacted"

    def second_has_begun() -> bool:
        names = [parse_report(name) for name in files_of(results, "rows")]
        return len({report.cohort_id for report in names if report is not None}) == 2

    with pytest.raises(KeyboardInterrupt):
        run_here(specification(results, **two_shapes), progress=_Interrupt(second_has_begun))
    first = [name for name in files_of(results, "rows") if parse_report(name).is_compacted]  # type: ignore[union-attr]
    assert len(first) == 1
    assert run_here(specification(results, **two_shapes)).exit_code == 0
    assert len(files_of(results, "rows")) == 2
    assert first[0] in files_of(results, "rows")
    assert_same_tables(tmp_path / "plain", results)

    # One more seed is one more cohort of each shape; damage costs the cohort, which is trained again.
    (results / "tables" / "rows" / first[0]).write_bytes(b"damaged")
    assert run_here(specification(results, **two_shapes)).exit_code == 0
    assert_same_tables(tmp_path / "plain", results)
    assert Store(results).check() == []
    assert (results / "set-aside" / "tables" / "rows" / first[0]).exists()


def test_the_next_run_compacts_what_is_left(tmp_path: Path, many_reports: pytest.MonkeyPatch) -> None:
    many_reports.setattr(compaction, "FEWEST_FILES", 10**9)
    config = specification(tmp_path / "results")
    assert run_here(config).exit_code == 0
    shutil.copytree(tmp_path / "results", tmp_path / "plain")
    many_reports.undo()
    assert run_here(config).ended_here == 0
    assert len(files_of(tmp_path / "results", "rows")) == 1
    assert_same_tables(tmp_path / "plain", tmp_path / "results")


def test_in_a_bucket(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    moto_server = pytest.importorskip("moto.server", reason="needs the extra s3-test")
    before = frames(folder.path)
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    use_server(monkeypatch, f"http://{host}:{port}")
    try:
        filesystem, _ = fs.FileSystem.from_uri("s3://sweeps?allow_bucket_creation=true&region=us-east-1")
        filesystem.create_dir("sweeps")
        address = "s3://sweeps/mine"
        destination, root = fs.FileSystem.from_uri(address)
        fs.copy_files(str(folder.path), root, fs.LocalFileSystem(), destination)
        opened = ResultsFolder(address)
        assert compact(address)
        assert Files(address).names("tables/rows") == [f"{COHORT}-004-00000-00003.parquet"]
        assert_same_frames(before, frames(address))
        assert steps_in(opened, "networks") == list(range(7))
        assert Store(address).newest_checkpoint(COHORT) == b"3"
    finally:
        server.stop()


def test_the_folder_of_the_benchmark_is_read_and_compacted(tmp_path: Path) -> None:
    script = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "analysis_scale.py"))
    script["write"](tmp_path / "results", trials=20, rows=12, reports=100)
    before = analysis.load(tmp_path / "results")
    assert len(before) == 20 * 12
    assert before["complexity_bytes"].notna().any()
    store = Store(tmp_path / "results")
    due = store.to_compact()
    assert [store.compact(*cohort) for cohort in due.items()] == [True, True]
    pd.testing.assert_frame_equal(analysis.load(tmp_path / "results"), before)
