"""A report's file: any altered byte shows, whatever is wrong is one `Damaged`, and old files are read."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.checks.findings import Damaged
from analysis.checks.reports import Report
from analysis.checks.tables import ReportTable, read_report_table, sealed
from analysis.errors import NewerResults
from analysis.schema import ROWS, TABLES, arrow_schema
from tests.analysis.folder import measured, row
from trainables.config import TrialConfig

TRIAL = TrialConfig(steps=100)
REPORT = Report("c0000-00000000", 1, 3)
COLUMNS = [column.name for column in ROWS]
RECORDS = [row(TRIAL, step) for step in (0, 32)]
SEALED = sealed(pa.Table.from_pylist(RECORDS, arrow_schema("rows")), REPORT, "0.1.0", {"complexity": 1234})


def unsealed(records: list[dict[str, Any]], schema: pa.Schema | None = None, version: str = "1") -> bytes:
    """A file as version 1 of the schema writes it."""
    schema = schema or arrow_schema("rows").with_metadata({"schema_version": version, "table": "rows"})
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records, schema), buffer, compression="zstd")
    return buffer.getvalue()


def read(data: bytes, *, table: str = "rows", report: Report = REPORT, columns: list[str] = COLUMNS) -> ReportTable:
    return read_report_table(
        data, table, report, columns=columns, trial_ids={TRIAL.trial_id}, path="results/of-a-test"
    )


def test_what_is_sealed_is_read() -> None:
    content = read(SEALED)
    assert content.rows.to_pylist() == RECORDS
    assert content.other_tables == {"complexity": 1234}
    assert read(SEALED, columns=["step", "trial_id"]).rows.column_names == ["step", "trial_id"]


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(SEALED) - 1), by=st.integers(1, 255))
def test_any_altered_byte_shows(at: int, by: int) -> None:
    altered = bytearray(SEALED)
    altered[at] ^= by
    with pytest.raises(Damaged):
        read(bytes(altered), columns=["step"])


def test_every_byte_of_the_checksum_and_its_mark_counts() -> None:
    mark = SEALED.index(b"grokking-sweep sha256 ")
    for at in range(mark - 20, mark + 22 + 64):
        with pytest.raises(Damaged):
            read(SEALED[:at] + bytes([SEALED[at] ^ 1]) + SEALED[at + 1 :])


@pytest.mark.parametrize("data", [b"", SEALED[:500], SEALED[:-1], SEALED + b"\0", b"PAR1PAR1", b"not Parquet" * 99])
def test_files_cut_short_or_foreign(data: bytes) -> None:
    with pytest.raises(Damaged):
        read(data)


def test_files_without_a_checksum_are_read_whole() -> None:
    data = unsealed(RECORDS)
    assert read(data).rows.to_pylist() == RECORDS
    assert read(data).other_tables == {}
    at = data.index(b"PAR1") + 100
    # The damage shows although another column is wanted.
    with pytest.raises(Damaged):
        read(data[:at] + b"\xff" * 200 + data[at + 200 :], columns=["phase_end_step"])


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_altered_files_without_a_checksum_never_raise_anything_else(data: st.DataObject) -> None:
    content = bytearray(unsealed(RECORDS))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        rows = read(bytes(content)).rows
    except Damaged:
        return
    assert set(rows["trial_id"].to_pylist()) <= {TRIAL.trial_id}


def test_another_table_report_or_version_is_refused() -> None:
    with pytest.raises(Damaged, match="another table than complexity"):
        read(SEALED, table="complexity")
    with pytest.raises(Damaged, match="another report than its name says"):
        read(SEALED, report=REPORT._replace(report=4))
    with pytest.raises(Damaged, match="lacks the checksum"):
        read(unsealed(RECORDS, version="2"))
    newer = arrow_schema("rows").with_metadata({"schema_version": "99", "table": "rows"})
    with pytest.raises(NewerResults, match=r"results schema 99.*install grokking-sweep >= 7\.5\.0"):
        read(sealed(pa.Table.from_pylist(RECORDS, newer), REPORT, "7.5.0", {}))


def test_a_foreign_schema_is_refused() -> None:
    with pytest.raises(Damaged, match="lacks the columns"):
        read(unsealed([{"a": 1}], pa.schema([("a", pa.int64())])))
    fields = [field if field.name != "step" else pa.field("step", pa.string()) for field in arrow_schema("rows")]
    with pytest.raises(Damaged, match="its column step has another type"):
        read(unsealed([{**row(TRIAL, 0), "step": "first"}], pa.schema(fields)))
    plain = [pa.field("trial_id", pa.string()) if f.name == "trial_id" else f for f in arrow_schema("rows")]
    assert read(unsealed(RECORDS, pa.schema(plain))).rows.to_pylist() == RECORDS
    older = pa.schema([field for field in arrow_schema("rows") if field.name != "group_val_accuracy"])
    assert read(unsealed(RECORDS, older)).rows.to_pylist() == RECORDS


def test_empty_ids_and_strangers_are_refused() -> None:
    nullable = pa.schema([field.with_nullable(True) for field in arrow_schema("rows")])
    with pytest.raises(Damaged, match="trial_id is empty in 1 of 2 rows"):
        read(unsealed([RECORDS[0], {**RECORDS[1], "trial_id": None}], nullable))
    stranger = TrialConfig(steps=100, seed=1)
    with pytest.raises(Damaged, match="trials that are not in its cohort"):
        read(unsealed([row(stranger, 0)]))


@pytest.mark.parametrize("table", TABLES)
def test_every_table_can_be_empty(table: str) -> None:
    data = sealed(arrow_schema(table).empty_table(), REPORT, "0.1.0", {})
    columns = [column.name for column in TABLES[table]]
    assert read(data, table=table, columns=columns).rows.schema.equals(arrow_schema(table))


def test_measured_rows_survive() -> None:
    records = [measured(TRIAL, 0)]
    data = sealed(pa.Table.from_pylist(records, arrow_schema("complexity")), REPORT, "0.1.0", {})
    assert read(data, table="complexity", columns=list(records[0])).rows.to_pylist() == records
