"""Mutated Parquet reports through load, status, plan and report: one line or a warning, and the rest loads."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import analysis
from analysis.errors import ResultsWarning
from analysis.report import write_report
from sweep.plan.plan import plan
from sweep.results.store import Store
from sweep.specification.config import SweepConfig, load_specification
from tests.sweep.made_up import finished_sweep


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> SweepConfig:
    """A finished sweep with one report in each of two cohorts."""
    config = load_specification("tiny", results=str(tmp_path_factory.mktemp("sweep") / "results"))
    finished_sweep(config)
    return config


def files_of(config: SweepConfig) -> list[Path]:
    return sorted(Path(config.results_path).glob("tables/*/*.parquet"))


@contextmanager
def replaced(file: Path, content: bytes) -> Iterator[None]:
    before = file.read_bytes()
    file.write_bytes(content)
    try:
        yield
    finally:
        file.write_bytes(before)


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """A file that is not the one it was."""
    kind = draw(st.sampled_from(["cut", "flip", "empty", "noise", "foreign", "null ids"]))
    if kind == "cut":
        return data[: draw(st.integers(0, len(data) - 1))]
    if kind == "flip":
        at, by = draw(st.integers(0, len(data) - 1)), draw(st.integers(1, 255))
        return data[:at] + bytes([data[at] ^ by]) + data[at + 1 :]
    if kind == "empty":
        return b""
    if kind == "noise":
        return draw(st.binary(min_size=1, max_size=200))
    table = pq.read_table(pa.BufferReader(data))
    if kind == "null ids":
        table = table.set_column(0, "trial_id", pa.nulls(table.num_rows, pa.string()))
    else:
        table = pa.table({"trial_id": ["a", None], "step": ["first", "second"]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue().to_pybytes())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_mutation_raises_or_passes_in_silence(config: SweepConfig, data: st.DataObject) -> None:
    path = config.results_path
    whole = len(analysis.load(path))
    # Kept networks are read by `sweep check` only.
    file = data.draw(st.sampled_from([file for file in files_of(config) if file.parent.name != "networks"]))
    with replaced(file, data.draw(mutated(file.read_bytes()))), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows = analysis.load(path, mix_methods=True)
        assert len(analysis.status(path)) == whole
        decided = plan(config, Store(path), parallel=1)
    assert len(rows) == (whole if file.parent.name != "rows" else whole // 2)
    assert {warning.category for warning in caught} == {ResultsWarning}
    assert all(file.name in str(warning.message) for warning in caught)
    assert len(decided.resume) == 1
    assert decided.new == []


def test_altered_networks_are_seen_by_the_check(config: SweepConfig) -> None:
    (file, *_) = (file for file in files_of(config) if file.parent.name == "networks")
    with replaced(file, b"QAR1" + file.read_bytes()[4:]), pytest.warns(ResultsWarning):
        findings = Store(config.results_path).check()
    assert [finding.file.rpartition("/")[2] for finding in findings] == [file.name]


@pytest.mark.parametrize("table", ["rows", "trials"])
def test_the_report_is_written_without_what_is_damaged(config: SweepConfig, table: str, tmp_path: Path) -> None:
    for file in files_of(config):
        if file.parent.name == table:
            with replaced(file, file.read_bytes()[:-1]), pytest.warns(ResultsWarning, match=file.name):
                assert Path(write_report(config.results_path, tmp_path).report).exists()
            return
