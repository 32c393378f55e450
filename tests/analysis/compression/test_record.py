"""The record of compressions in a results folder: written, read, and not believed where it is damaged."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from analysis.compression.record import RECORD, read_record, write_record
from analysis.errors import ResultsWarning
from tests.analysis.compression.entries import entry, flagged

COST = {"currency": "EUR", **{form: {"storage": 1.0, "transfer": 2.5} for form in ("raw", "zstd", "file")}}
PASSING = {"bound": "loss", "epsilon": 0.1, "stream_bytes": 900}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_record(tmp_path) == []
    networks = [entry("a", 10, cost=COST), flagged("b", 20, passing=PASSING)]
    assert write_record(tmp_path, networks) == f"{tmp_path}/{RECORD}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_record(tmp_path) == networks
        write_record(tmp_path, networks[:1])
        assert read_record(tmp_path) == networks[:1]


def changed(path: list[Any], value: Any) -> str:
    values = copy.deepcopy({"version": 1, "networks": [flagged("b", 20, passing=PASSING, cost=COST)]})
    inner: Any = values
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return json.dumps(values)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        changed(["version"], 2),
        changed(["networks"], 3),
        changed(["networks", 0], []),
        changed(["networks", 0, "step"], "20"),
        changed(["networks", 0, "trial_id"], 7),
        changed(["networks", 0, "exceeded"], [1]),
        changed(["networks", 0, "behaviour", "accuracy"], {"original": 1.0}),
        changed(["networks", 0, "behaviour", "changed"], True),
        changed(["networks", 0, "passing"], {"bound": "loss", "epsilon": 0.1}),
        changed(["networks", 0, "cost", "zstd", "storage"], "much"),
    ],
)
def test_a_damaged_record_is_left_out_and_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / RECORD).write_text(text)
    with pytest.warns(
        ResultsWarning, match=r"report/behaviour\.json is not read .*`sweep behaviour` writes it again"
    ):
        assert read_record(tmp_path) == []
