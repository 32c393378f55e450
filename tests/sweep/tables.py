"""Reading results in tests of `sweep`: what must be equal between two runs of the same trials."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.results_folder import ResultsFolder
from analysis.schema import TABLES

#: Seconds, and the process that trained a trial, are not part of a comparison.
_OF_THE_RUN = ("train_wall_s", "measure_wall_s", "wall_s", "cohort_id")


def tables(results: str | Path) -> dict[str, pd.DataFrame]:
    """Every table as readers see it, sorted, without what differs from run to run."""
    folder = ResultsFolder(str(results))
    frames = {}
    for name in TABLES:
        columns = [column.name for column in TABLES[name] if column.name not in _OF_THE_RUN]
        frame = folder.table(name, columns).to_pandas()
        for column in frame.select_dtypes("category"):
            frame[column] = frame[column].astype(str)
        keys = [key for key in ("trial_id", "step", "epsilon", "matrix", "decision") if key in frame]
        frames[name] = frame.sort_values(keys, ignore_index=True)
        assert not frame.duplicated(keys).any(), f"{name} has a row twice"
    return frames


def assert_same_tables(first: str | Path, second: str | Path) -> None:
    """Equal to the last bit."""
    left, right = tables(first), tables(second)
    for name in TABLES:
        pd.testing.assert_frame_equal(left[name], right[name], check_exact=True, obj=name)
