"""Rows that are there twice count once, and their files are named."""

from __future__ import annotations

import warnings
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import analysis
from analysis.errors import ResultsWarning
from analysis.results_folder import ResultsFolder
from analysis.schema import TABLES
from tests.analysis.folder import Folder, row
from trainables.config import TrialConfig

TRIALS = [TrialConfig(seed=seed, steps=100) for seed in range(2)]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "results")
    made.reports(TRIALS, (0, 32), attempt=1, ended={1: TRIALS})
    return made


@pytest.mark.parametrize("table", ["rows", "complexity"])
def test_a_report_of_schema_1_copied_under_the_next_number(folder: Folder, table: str) -> None:
    before = analysis.load(folder.path), analysis.complexity(folder.path)
    (file,) = folder.path.glob(f"tables/{table}/*-00001.parquet")
    copy = Path(str(file).replace("00001.", "00002."))
    metadata = {"schema_version": "1", "table": table}
    pq.write_table(pq.read_table(file).replace_schema_metadata(metadata), copy, compression="zstd")
    if table != "rows":
        folder.report(file.name[:14], 1, 2, rows=[])
    with pytest.warns(ResultsWarning, match=rf"tables/{table}/{copy.name}: 2 of its rows are of a trial and step"):
        after = analysis.load(folder.path), analysis.complexity(folder.path)
    for left, right in zip(before, after, strict=True):
        assert left.equals(right)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        findings = ResultsFolder(folder.path).check(TABLES)
    assert [(finding.kind, finding.file) for finding in findings] == [("ignored", f"tables/{table}/{copy.name}")]


def test_a_row_twice_in_one_file(folder: Folder) -> None:
    twice = [row(TRIALS[0], 64, train_loss=0.5), row(TRIALS[0], 64, train_loss=0.25)]
    folder.report(f"c0000-{0:08x}", 1, 2, rows=twice)
    with pytest.warns(ResultsWarning, match="00002.parquet: 1 of its rows"):
        rows = analysis.load(folder.path, ["train_loss"])
    assert rows[rows["step"] == 64]["train_loss"].tolist() == [0.5]
