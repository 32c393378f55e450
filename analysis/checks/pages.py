"""How much memory a Parquet file would take, found in the headers of its pages before any page is unpacked.

A file of a few kilobytes can hold pages that unpack to gigabytes each, under a footer that says nothing of it: the
sizes that count are in the headers. So the headers are followed here as Arrow follows them, which takes no memory.
What makes more of a page than its bytes is bounded, too: rows without bytes, and long texts that a dictionary
repeats. The format: https://parquet.apache.org/docs/file-format/
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.checks.findings import Damaged

UNPACKED_BYTES = 2**26
"""Memory that any file may take: more than the reports of most sweeps."""

UNPACKED_RATIO = 16
"""A larger file may take this many times its own bytes: weights and losses hardly get smaller packed."""

MOST_UNPACKED_BYTES = 2**32
"""Memory that no file may exceed."""

CODECS = frozenset({"ZSTD", "UNCOMPRESSED"})
"""What reports are packed with. Others are not needed, and unpack to more."""

_VALUE_BYTES = 8
"""The widest number."""

_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_2 = 0, 2, 3
_ENCODINGS = frozenset({0, 2, 3, 8})
"""PLAIN, PLAIN_DICTIONARY, RLE and RLE_DICTIONARY: those that reports have. Differences of texts can unpack to the
square of their bytes."""
_BY_DICTIONARY = frozenset({2, 8})

_Fields = dict[int, "int | _Fields"]


class _Page(NamedTuple):
    """What the header of a page states."""

    kind: int
    unpacked_bytes: int
    values: int
    encoding: int


def repeating_columns(data: bytes, metadata: pq.FileMetaData, columns: Collection[str]) -> list[str]:
    """Check that a file takes a bounded amount of memory, and return the columns that must be read by dictionary.

    Args:
        data: the file.
        metadata: its footer.
        columns: the columns that will be read.

    Returns:
        Columns whose dictionary may repeat long texts: `check_repeated` tells once they have been read with
        `read_dictionary`, which repeats nothing.

    Raises:
        Damaged: it would take more memory than a file of its size may, or is made as no report is.
    """
    allowed = _allowed_bytes(len(data))
    schema = [metadata.schema.column(place) for place in range(metadata.num_columns)]
    # Arrow takes what is below a column's name for the column.
    places = [place for place, column in enumerate(schema) if column.path.split(".")[0] in columns]
    for column in (schema[place] for place in places):
        if column.max_repetition_level or column.path != column.name:
            raise Damaged(f"its column {column.name} holds lists, which no report does")
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    rows = max(metadata.num_rows, sum(group.num_rows for group in groups))
    unpacked = rows * len(columns) * _VALUE_BYTES
    _check(unpacked, allowed, f"its {rows:,} rows")
    repeating = []
    for place in places:
        largest_dictionary = repeated = 0
        for group in groups:
            for page in _pages(data, group.column(place)):
                unpacked += page.unpacked_bytes + page.values * _VALUE_BYTES
                _check(unpacked, allowed, "its pages")
                if page.kind == _DICTIONARY_PAGE:
                    largest_dictionary = max(largest_dictionary, page.unpacked_bytes)
                elif page.encoding in _BY_DICTIONARY:
                    repeated += page.values
        if repeated * largest_dictionary > allowed and schema[place].physical_type == "BYTE_ARRAY":
            repeating.append(schema[place].name)
    return repeating


def unpacks_to_too_much(data: bytes) -> bool:
    """Check whether a file that is about to be written would be refused by a reader."""
    file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)
    try:
        repeating = repeating_columns(data, file.metadata, file.schema_arrow.names)
    except Damaged:
        return True
    return bool(repeating)


def check_repeated(columns: pa.Table, file_bytes: int) -> None:
    """Check that texts that were read by dictionary take a bounded amount of memory once they are repeated.

    Args:
        columns: those that `repeating_columns` named.
        file_bytes: the size of the file.

    Raises:
        Damaged: they take more than a file of this size may.
    """
    for column in columns.columns:
        if not pa.types.is_dictionary(column.type):
            raise Damaged("its texts have another type than in a report")
        total = 0
        for chunk in column.chunks:
            lengths = pc.cast(pc.binary_length(chunk.dictionary), pa.int64())
            total += pc.sum(pc.take(lengths, chunk.indices)).as_py() or 0
        _check(total, _allowed_bytes(file_bytes), "its texts")


def _allowed_bytes(file_bytes: int) -> int:
    return min(max(UNPACKED_BYTES, UNPACKED_RATIO * file_bytes), MOST_UNPACKED_BYTES)


def _check(unpacked_bytes: int, allowed_bytes: int, what: str) -> None:
    if unpacked_bytes > allowed_bytes:
        raise Damaged(
            f"{what} would take {unpacked_bytes / 2**20:,.0f} MiB of memory, more than the "
            f"{allowed_bytes / 2**20:,.0f} MiB that a file of its size may"
        )


def _pages(data: bytes, chunk: pq.ColumnChunkMetaData) -> Iterator[_Page]:
    """Follow the pages of a column in a group of rows."""
    if chunk.compression not in CODECS:
        raise Damaged(f"it is packed with {chunk.compression}, as no report is")
    if not chunk.num_values:
        return  # Arrow looks at none of its pages, and its offsets mean nothing.
    at, dictionary_at = chunk.data_page_offset, chunk.dictionary_page_offset
    if dictionary_at is not None and 0 < dictionary_at < at:
        at = dictionary_at
    end = at + chunk.total_compressed_size
    if not 0 <= at <= end <= len(data):
        raise Damaged("its pages lie outside it")
    while at < end:
        try:
            header, at = _struct(data, at)
        except IndexError:
            raise Damaged("a page of it has no readable header") from None
        kind, unpacked, packed = (header.get(number) for number in (1, 2, 3))
        if not (isinstance(kind, int) and isinstance(unpacked, int) and isinstance(packed, int)):
            raise Damaged("a page of it has no readable header")
        at += packed
        if unpacked < 0 or packed < 0 or at > end:
            raise Damaged("a page of it has no readable header")
        of_kind = header.get(_FIELD_OF_KIND.get(kind, 0))
        if not isinstance(of_kind, dict):
            raise Damaged("it has a page of a kind that no report has")
        values, encoding = of_kind.get(1), of_kind.get(4 if kind == _DATA_PAGE_2 else 2)
        if not isinstance(values, int) or values < 0 or encoding not in _ENCODINGS:
            raise Damaged("it has a page in an encoding that no report has")
        assert isinstance(encoding, int)
        yield _Page(kind, unpacked, 0 if kind == _DICTIONARY_PAGE else values, encoding)


_FIELD_OF_KIND = {_DATA_PAGE: 5, _DICTIONARY_PAGE: 7, _DATA_PAGE_2: 8}
"""Kind of a page -> the field of its header that holds what only this kind has."""

_STOP, _TRUE, _FALSE, _BYTE, _INTEGERS, _DOUBLE, _BINARY, _STRUCT = 0, 1, 2, 3, (4, 5, 6), 7, 8, 12


def _struct(data: bytes, at: int, depth: int = 0) -> tuple[_Fields, int]:
    """Read integers and inner structs of a struct in Thrift's compact protocol, and return where it ends.

    Lists and maps are in no header of a page.

    Raises:
        Damaged: there is something else.
        IndexError: it ends after the data.
    """
    fields: _Fields = {}
    number = 0
    while (byte := data[at]) != _STOP:
        at += 1
        kind, step = byte & 15, byte >> 4
        if step:
            number += step
        else:
            number, at = _integer(data, at)
        if kind in _INTEGERS:
            fields[number], at = _integer(data, at)
        elif kind == _STRUCT and depth < 3:
            fields[number], at = _struct(data, at, depth + 1)
        elif kind == _BINARY:
            length, at = _varint(data, at)
            at += length
        elif kind in (_TRUE, _FALSE):
            pass
        elif kind in (_BYTE, _DOUBLE):
            at += 1 if kind == _BYTE else 8
        else:
            raise Damaged("a page of it has no readable header")
    return fields, at + 1


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise Damaged("a page of it has no readable header")


def _integer(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at
