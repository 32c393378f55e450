"""Where packages that do not know each other must agree."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import get_args

import pytest

from analysis.checks.records import settings_of
from analysis.events import TAIL_RATIO
from analysis.load import ENDINGS
from analysis.schema import SETTINGS, TABLES
from trainables.config import TrialConfig
from trainables.measurement import (
    EndedBecause,
    Measurement,
    TrialEnd,
)
from trainables.schedule import TAIL_RATIO as MEASURED_TAIL_RATIO
from trainables.scoring import ComplexityMeasurement, MatrixMeasurement

#: Fields of `Measurement` that go into tables of their own.
ELSEWHERE = {"complexities", "matrices", "network", "end"}


@pytest.mark.parametrize(
    ("record", "table", "of_the_table"),
    [
        (Measurement, "rows", set()),
        (ComplexityMeasurement, "complexity", {"trial_id", "step"}),
        (MatrixMeasurement, "matrices", {"trial_id", "step"}),
    ],
)
def test_what_trainables_measures_is_what_the_tables_hold(record: type, table: str, of_the_table: set[str]) -> None:
    fields = {field.name for field in dataclasses.fields(record)} - ELSEWHERE
    assert fields | of_the_table == {column.name for column in TABLES[table]}
    assert not fields & of_the_table


def test_each_column_of_a_row_comes_from_one_record_in_the_order_of_the_table() -> None:
    """So a column that is added to a score and to the schema is in every row, and nothing else has to know it."""
    records = [record for record in reversed(Measurement.__mro__) if "__annotations__" in vars(record)]
    names = [name for record in records for name in vars(record)["__annotations__"] if name not in ELSEWHERE]
    assert names == [column.name for column in TABLES["rows"]]


def test_what_may_be_missing_in_a_measurement_may_be_empty_in_its_table() -> None:
    for record, table in (
        (Measurement, "rows"),
        (ComplexityMeasurement, "complexity"),
        (MatrixMeasurement, "matrices"),
    ):
        fields = {field.name: str(field.type) for field in dataclasses.fields(record)}
        optional = {name for name, kind in fields.items() if "None" in kind and name not in ELSEWHERE}
        assert optional == {column.name for column in TABLES[table] if column.nullable}


def test_what_is_known_at_the_end_of_a_trial_is_in_its_row() -> None:
    fields = {field.name for field in dataclasses.fields(TrialEnd)} - {"ending"}
    assert fields <= {column.name for column in TABLES["trials"]}


def test_the_tail_that_is_measured_is_the_tail_that_is_awaited() -> None:
    assert MEASURED_TAIL_RATIO == TAIL_RATIO


def test_endings() -> None:
    assert get_args(EndedBecause) == ENDINGS


def test_every_setting_of_a_trial_is_a_column() -> None:
    flat = settings_of(TrialConfig().as_dict())
    assert set(flat) == {column.name for column in SETTINGS} | {"budget_steps"}
    optional = {name for name, value in flat.items() if value is None}
    older = {column.name for column in SETTINGS if column.meaning.endswith("; empty in older results")}
    assert optional | older == {column.name for column in SETTINGS if column.nullable}


@pytest.mark.parametrize(
    "module", ["analysis", "analysis.stopping.decline", "analysis.events", "trainables.config"]
)
def test_importing_costs_no_heavy_package(module: str) -> None:
    """Workers and the reader of specifications import these."""
    heavy = ["pandas", "pyarrow", "matplotlib", "scipy", "torch", "ray", "jinja2"]
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
