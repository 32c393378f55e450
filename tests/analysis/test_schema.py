from __future__ import annotations

import copy
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.schema import BOUNDS, SCHEMA_VERSION, SETTINGS, TABLES, arrow_schema, described, meanings
from tests.analysis.folder import end, measured, row
from trainables.config import TrialConfig

ALL_COLUMNS = [(table, column) for table, columns in (TABLES | {"bounds": BOUNDS}).items() for column in columns]


def test_the_columns_promised_for_rows() -> None:
    promised = (
        "trial_id step weight_decay data_fraction spectral_entropy_weight seed train_loss val_loss train_accuracy "
        "val_accuracy complexity_bytes description_length_bits zstd_bytes l2_norm spectral_entropy effective_rank "
        "train_wall_s measure_wall_s clean_train_accuracy corrupted_train_accuracy recovered_train_accuracy "
        "group_train_accuracy group_val_accuracy phase phase_start_step phase_end_step logit_scale"
    )
    assert [column.name for column in TABLES["rows"]] == promised.split()


@pytest.mark.parametrize("table", TABLES)
def test_names_are_unique_and_each_has_unit_and_meaning(table: str) -> None:
    names = [column.name for column in TABLES[table]]
    assert len(set(names)) == len(names)
    assert all(column.unit and column.meaning for column in TABLES[table])
    schema = arrow_schema(table)
    assert schema.names == names
    assert schema.metadata == {b"schema_version": str(SCHEMA_VERSION).encode(), b"table": table.encode()}
    assert meanings()[table] == {
        column.name: {"unit": column.unit, "meaning": column.meaning} for column in TABLES[table]
    }


def test_units_are_those_the_names_say() -> None:
    endings = {"_bytes": "bytes", "_bits": "bits", "_s": "s", "_accuracy": "share", "_loss": "nats/example"}
    for table, column in ALL_COLUMNS:
        for ending, unit in endings.items():
            if column.name.endswith(ending):
                assert column.unit == unit, (table, column.name)


def test_a_column_of_two_tables_means_the_same_in_both() -> None:
    by_name: dict[str, set[tuple[pa.DataType, str]]] = {}
    for _, column in ALL_COLUMNS:
        by_name.setdefault(column.name, set()).add((column.type, column.unit))
    assert {name for name, kinds in by_name.items() if len(kinds) > 1} == set()


def test_settings_stand_in_the_trials_table() -> None:
    assert set(SETTINGS) <= set(TABLES["trials"])


@pytest.mark.parametrize("table", ["rows", "complexity", "trials"])
def test_the_schema_survives_parquet(table: str, tmp_path: Path) -> None:
    trial = TrialConfig()
    record = {"rows": row(trial, 0), "complexity": measured(trial, 0), "trials": end(trial, "c0000-00000000")}[
        table
    ]
    written = pa.Table.from_pylist([record, record], arrow_schema(table))
    pq.write_table(written, tmp_path / "file.parquet", compression="zstd")
    read = pq.read_table(tmp_path / "file.parquet")
    assert read.schema.equals(arrow_schema(table), check_metadata=True)
    assert read.to_pylist() == [record, record]


def test_frames_share_no_words() -> None:
    frame = described(pd.DataFrame({"trial_id": ["a"], "step": [0]}), "rows")
    taken = frame[["step"]]
    taken.attrs["units"]["step"] = "other"
    assert frame.attrs["units"] == {"trial_id": "-", "step": "step"}
    assert copy.deepcopy(frame.attrs) == frame.attrs
