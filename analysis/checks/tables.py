"""A Parquet file of one report or of several: written with a checksum of the whole file, read only if that holds.

Parquet's own page checksums cover the bodies of pages, not their headers and not the footer, whose statistics alone
can hide rows. So the checksum here is the SHA-256 of all bytes of the file, its own 64 digits taken as zeros. It is
in the footer's metadata and is compared before anything is parsed. Files of schema 1 have none; they are read as a
whole, so that damage shows whichever columns are wanted.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.checks.findings import Damaged
from analysis.checks.pages import UNPACKED_BYTES, check_repeated, repeating_columns, unpacks_to_too_much
from analysis.checks.records import newer_text
from analysis.checks.reports import Report
from analysis.errors import NewerResults
from analysis.schema import SCHEMA_VERSION, TABLES, arrow_schema

_MARK = b"grokking-sweep sha256 "
_DIGITS = 64
_FOOTER_BYTES = 2**20
"""The checksum is searched for in this many bytes at the end."""

LARGEST_BYTES = 2**32
"""A file with more bytes is not read: a report is written from memory, and is far smaller."""

_LIMITS: dict[str, int] = {"thrift_string_size_limit": 2**20, "thrift_container_size_limit": 2**16}
"""Limits on the footer of a file, which may be foreign."""


@dataclass(frozen=True, slots=True)
class ReportTable:
    """The content of one file."""

    rows: pa.Table
    other_tables: Mapping[str, int]
    """Table -> bytes of the report's files in it, as its file in `rows` states; empty where nothing is stated."""
    rows_of_reports: tuple[int, ...]
    """The number of rows of each of its reports, one after the other."""
    is_sealed: bool
    """Whether it has a checksum."""


def sealed(
    table: pa.Table,
    report: Report,
    package_version: str,
    other_tables: Mapping[str, int],
    rows_of_reports: Sequence[int] | None = None,
) -> bytes:
    """Return the content of a Parquet file that carries the checksum of all its bytes.

    Args:
        table: rows with the schema of `analysis.schema.arrow_schema`.
        report: the report that the file belongs to.
        package_version: the version that writes it.
        other_tables: for the table `rows`: table -> bytes of the report's files in that table.
        rows_of_reports: for reports that are compacted: the number of rows of each, one after the other.
    """
    stated = {
        "report": report.name,
        **({} if rows_of_reports is None else {"rows_of_reports": json.dumps(list(rows_of_reports))}),
        "package_version": package_version,
        "other_tables": json.dumps(dict(other_tables)),
        "checksum": _MARK.decode() + "0" * _DIGITS,
    }
    data = _parquet(table, stated, packed=True)
    if table.nbytes > UNPACKED_BYTES and unpacks_to_too_much(data):
        data = _parquet(table, stated, packed=False)
    # The checksum is that of the file with zeros in its place: put there, it moves no byte, and Parquet's offsets
    # hold.
    at = data.rindex(_MARK) + len(_MARK)
    return b"".join((data[:at], _digest(data, at), data[at + _DIGITS :]))


def _parquet(table: pa.Table, stated: Mapping[str, str], *, packed: bool) -> bytes:
    """Return the content of a file with these statements in its footer."""
    buffer = io.BytesIO()
    compression = "zstd" if packed else "none"
    with pq.ParquetWriter(buffer, table.schema, compression=compression, use_dictionary=packed) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(dict(stated))
    return buffer.getvalue()


def read_report_table(
    data: bytes,
    name: str,
    report: Report,
    *,
    columns: Sequence[str],
    trial_ids: Collection[str],
    path: str,
) -> ReportTable:
    """Read the file of a report in one table.

    Args:
        data: the content of the file.
        name: one of `analysis.schema.TABLES`.
        report: the report that the file's name states.
        columns: the columns to return.
        trial_ids: the trials of the report's cohort.
        path: the results folder, for messages.

    Raises:
        Damaged: the file is not what that report wrote.
        NewerResults: a newer version wrote it.
    """
    if not data:
        raise Damaged("it is empty")
    has_checksum = _check_seal(data)
    try:
        file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False, **_LIMITS)
        metadata = {key.decode(): value for key, value in (file.metadata.metadata or {}).items()}
        _check_origin(metadata, name, report, has_checksum, path)
        # Without a checksum all columns are read, so that damage shows at least where Parquet itself notices it.
        wanted = list(columns) if has_checksum else [column.name for column in TABLES[name]]
        if repeating := repeating_columns(data, file.metadata, wanted):
            file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False, read_dictionary=repeating, **_LIMITS)
        # Several files are read at once already (`analysis.results_folder`).
        there = set(file.schema_arrow.names)
        rows = file.read([column for column in wanted if column in there], use_threads=False)
        whole = [column for column in repeating if not pa.types.is_dictionary(_schema(name).field(column).type)]
        check_repeated(rows.select(whole), len(data))
        rows = _columns(rows, there, name, wanted, complete=has_checksum or "table" not in metadata)
        rows.validate(full=True)
    except (NewerResults, Damaged):
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError):
        raise Damaged("it is no readable Parquet file, perhaps cut short") from None
    _check_values(rows, name, there, trial_ids)
    counts = _rows_of_reports(metadata, report, rows.num_rows)
    return ReportTable(rows.select(list(columns)), _other_tables(metadata), counts, has_checksum)


def is_of(trial_ids: Collection[str]) -> Any:
    """Return the condition that a row is of one of these trials, for `pyarrow.Table.filter`."""
    import pyarrow.dataset as ds

    return ds.field("trial_id").isin(pa.array(sorted(trial_ids), pa.string()))


@functools.cache
def _schema(name: str) -> pa.Schema:
    return arrow_schema(name)


def _digest(data: bytes, at: int) -> bytes:
    """Return the checksum of a file whose own digits begin at a position."""
    view = memoryview(data)
    digest = hashlib.sha256(view[:at])
    digest.update(b"0" * _DIGITS)
    digest.update(view[at + _DIGITS :])
    return digest.hexdigest().encode()


def _check_seal(data: bytes) -> bool:
    """Compare the checksum; return whether there is one."""
    mark = data.rfind(_MARK, max(0, len(data) - _FOOTER_BYTES))
    if mark < 0:
        return False
    at = mark + len(_MARK)
    if data[at : at + _DIGITS] != _digest(data, at):
        raise Damaged("its content does not match its checksum")
    return True


def _check_origin(metadata: Mapping[str, bytes], name: str, report: Report, has_checksum: bool, path: str) -> None:
    """Check that the footer states this table, this report and a known version."""

    def stated(key: str, default: str) -> str:
        return metadata.get(key, default.encode()).decode("utf-8", "replace")

    version = stated("schema_version", "1")
    if has_checksum and version.isdecimal() and int(version) > SCHEMA_VERSION:
        raise NewerResults(newer_text(path, int(version), SCHEMA_VERSION, stated("package_version", "")))
    if version != "1" and not has_checksum:
        raise Damaged("it lacks the checksum that its version writes")
    if stated("table", name) != name:
        raise Damaged(f"it is a file of another table than {name}")
    if stated("report", report.name) != report.name:
        raise Damaged("it is a file of another report than its name says")


def _columns(
    rows: pa.Table, there: Collection[str], name: str, wanted: Sequence[str], *, complete: bool
) -> pa.Table:
    """Return columns with the types of the schema; those that older versions did not write are empty.

    Args:
        rows: what the file has of the columns.
        there: all columns that it has.
        name: its table.
        wanted: the columns.
        complete: require all columns that may not be empty; otherwise only the first, the trial's id, which every
            version wrote.
    """
    required = [column.name for column in TABLES[name] if not column.nullable][: None if complete else 1]
    missing = [column for column in required if column not in there]
    if missing:
        raise Damaged(f"it lacks the columns {', '.join(missing[:5])} of the table {name}")
    schema = _schema(name)
    arrays = []
    for column in wanted:
        kind = schema.field(column).type
        if column not in there:
            arrays.append(pa.nulls(rows.num_rows, kind))
            continue
        try:
            arrays.append(rows[column] if rows[column].type == kind else rows[column].cast(kind))
        except (pa.ArrowException, ValueError):
            raise Damaged(f"its column {column} has another type than in the table {name}") from None
    return pa.table(arrays, schema=pa.schema([schema.field(column) for column in wanted]))


def _check_values(rows: pa.Table, name: str, there: Collection[str], trial_ids: Collection[str]) -> None:
    """Check that nothing is empty that must not be, and that all rows are of trials of the cohort."""
    for column in TABLES[name]:
        read = column.name in rows.column_names and column.name in there
        if read and not column.nullable and (empty := rows[column.name].null_count):
            raise Damaged(f"its column {column.name} is empty in {empty:,} of {rows.num_rows:,} rows")
    if "trial_id" in rows.column_names:
        strange = [text for text in pc.unique(rows["trial_id"]).to_pylist() if text not in trial_ids]
        if strange:
            raise Damaged("it has rows of trials that are not in its cohort")


def _other_tables(metadata: Mapping[str, bytes]) -> dict[str, int]:
    try:
        stated: Any = json.loads(metadata.get("other_tables", b"{}"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(stated, dict):
        return {}
    return {table: size for table, size in stated.items() if table in TABLES and type(size) is int}


def _rows_of_reports(metadata: Mapping[str, bytes], report: Report, rows: int) -> tuple[int, ...]:
    """Return the number of rows of each report; a file of one report does not need to state it."""
    if not report.is_compacted:
        return (rows,)
    try:
        stated: Any = json.loads(metadata.get("rows_of_reports", b""))
    except (ValueError, RecursionError):
        stated = None
    whole = isinstance(stated, list) and all(type(count) is int and count >= 0 for count in stated)
    if not whole or len(stated) != len(report.numbers) or sum(stated) != rows:
        raise Damaged("it does not say which of its rows are of which report")
    return tuple(stated)
