"""A small file that would take much memory is refused before it is unpacked, whatever its footer says."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.checks import pages
from analysis.checks.findings import Damaged
from analysis.checks.pages import UNPACKED_BYTES, check_repeated, repeating_columns
from analysis.checks.reports import Report
from analysis.checks.tables import read_report_table, sealed
from analysis.schema import TABLES, arrow_schema

REPORT = Report("c0000-00000000", 1, 3)
NUMBERS = pa.table({"step": pa.array(range(3000)), "text": [f"text {n % 7}" for n in range(3000)]})
MIB = 2**20


def file_of(table: pa.Table, **how: Any) -> bytes:
    """A file of pages, packed as reports are unless told otherwise."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **{"compression": "zstd", **how})
    return buffer.getvalue()


def asked(data: bytes, *columns: str) -> list[str]:
    """Which columns of a file are to be read by dictionary."""
    metadata = pq.ParquetFile(pa.BufferReader(data)).metadata
    return repeating_columns(data, metadata, columns or metadata.schema.names)


def pages_of(data: bytes) -> list[Any]:
    """What the pages of all columns of a file state."""
    metadata = pq.ParquetFile(pa.BufferReader(data)).metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    return [
        page
        for g in groups
        for place in range(metadata.num_columns)
        for page in pages._pages(data, g.column(place))
    ]


def networks(texts: list[bytes]) -> pa.Table:
    values = {"trial_id": ["t"] * len(texts), "step": range(len(texts)), "safetensors": texts}
    schema = arrow_schema("networks").with_metadata({"schema_version": "1", "table": "networks"})
    return pa.Table.from_pydict(values, schema)


def read_networks(data: bytes) -> pa.Table:
    columns = [column.name for column in TABLES["networks"]]
    return read_report_table(data, "networks", REPORT, columns=columns, trial_ids={"t"}, path="results").rows


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"compression": "none"},
        {"use_dictionary": False},
        {"data_page_version": "2.0"},
        {"write_page_checksum": True},
        {"row_group_size": 1000},
        {"data_page_size": 64},
        {"write_statistics": False},
    ],
)
def test_the_headers_say_what_the_footer_says_where_both_are_honest(how: dict[str, Any]) -> None:
    data = file_of(NUMBERS, **how)
    metadata = pq.ParquetFile(pa.BufferReader(data)).metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = [group.column(place) for group in groups for place in range(metadata.num_columns)]
    # The footer counts headers, too, which take some dozen bytes each.
    unpacked, counted = sum(chunk.total_uncompressed_size for chunk in chunks), pages_of(data)
    headers = unpacked - sum(page.unpacked_bytes for page in counted)
    assert 0 < headers < 150 * len(counted)
    assert sum(page.values for page in counted) == 2 * len(NUMBERS)
    assert asked(data) == []


def test_pages_of_zeros_are_refused_before_they_are_unpacked() -> None:
    data = file_of(networks([bytes(UNPACKED_BYTES)]), use_dictionary=False)
    assert len(data) < 100_000
    before = pa.total_allocated_bytes()
    with pytest.raises(
        Damaged, match=r"^its pages would take 64 MiB of memory, more than the 64 MiB that a file of"
    ):
        read_networks(data)
    assert pa.total_allocated_bytes() - before < MIB


def test_a_footer_that_hides_what_its_pages_take_helps_nothing() -> None:
    """The size in the footer is made small; the headers still say it."""
    data = file_of(networks([bytes(UNPACKED_BYTES)]), use_dictionary=False)
    metadata = pq.ParquetFile(pa.BufferReader(data)).metadata
    stated = _varint(2 * metadata.row_group(0).column(2).total_uncompressed_size)
    assert data.count(stated) == 1
    small = _varint(2 * metadata.row_group(0).column(2).total_compressed_size)
    # Padded to the same length, so that nothing moves.
    padded = bytes(byte | 128 for byte in small) + b"\x80" * (len(stated) - len(small) - 1) + b"\0"
    lying = data.replace(stated, padded)
    assert pq.ParquetFile(pa.BufferReader(lying)).metadata.row_group(0).column(2).total_uncompressed_size < MIB
    with pytest.raises(Damaged, match="its pages would take 64 MiB"):
        read_networks(lying)


def _varint(value: int) -> bytes:
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def test_a_text_that_a_dictionary_repeats_is_counted_before_it_is_repeated() -> None:
    data = file_of(networks([b"\1" * MIB] * 70))
    assert len(data) < 100_000
    assert asked(data) == ["safetensors"]
    with pytest.raises(Damaged, match=r"its texts would take 70 MiB of memory, more than the 64 MiB"):
        read_networks(data)
    assert read_networks(file_of(networks([b"\1" * MIB] * 20)))["safetensors"].to_pylist() == [b"\1" * MIB] * 20


def test_texts_of_different_length_are_read_although_their_dictionary_is_large() -> None:
    texts = [b"\1" * MIB, *(b"%d" % n for n in range(200))]
    data = file_of(networks(texts))
    assert asked(data) == ["safetensors"]
    assert read_networks(data)["safetensors"].to_pylist() == texts


def test_rows_without_bytes_are_counted() -> None:
    data = file_of(pa.table({"step": pa.array([7] * 5_000_000)}))
    assert len(data) < 100_000
    with pytest.raises(Damaged, match=r"its pages would take \d+ MiB of memory"):
        asked(data)
    with pytest.raises(Damaged, match="its 5,000,000 rows would take 76 MiB of memory"):
        asked(data, "step", "of an older version")


@pytest.mark.parametrize(
    ("how", "wrong"),
    [
        ({"compression": "gzip"}, "it is packed with GZIP, as no report is"),
        ({"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"}, "in an encoding that no report has"),
    ],
)
def test_what_can_unpack_to_more_is_not_read(how: dict[str, Any], wrong: str) -> None:
    with pytest.raises(Damaged, match=wrong):
        asked(file_of(NUMBERS.select(["text"]), **how))


def test_lists_are_refused() -> None:
    for values in ([[1, 2]], [{"step": 1}]):
        with pytest.raises(Damaged, match="holds lists, which no report does"):
            asked(file_of(pa.table({"step": values})), "step")


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_altered_headers_are_damage_or_bounded(data: st.DataObject) -> None:
    content = bytearray(file_of(NUMBERS))
    metadata = pq.ParquetFile(pa.BufferReader(bytes(content))).metadata
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(4, 200))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Damaged):
        repeating_columns(bytes(content), metadata, ["step", "text"])


def test_what_the_product_writes_it_reads() -> None:
    """Networks that are all alike pack better than may be unpacked; they are written unpacked."""
    table = networks([bytes(MIB) + b"%d" % n for n in range(65)])
    data = sealed(table, REPORT, "0.1.0", {})
    assert len(data) > 65 * MIB
    assert read_networks(data).equals(table)
    assert len(sealed(networks([bytes(MIB)]), REPORT, "0.1.0", {})) < MIB


def test_columns_of_other_types_are_not_taken_for_texts() -> None:
    with pytest.raises(Damaged, match="another type"):
        check_repeated(pa.table({"safetensors": [b"a"]}), 100)
