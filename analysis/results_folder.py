"""Which files of a results folder count: layout, attempts, cohorts.

A folder, local or in a bucket:

    sweep.json                                              the current request
    cohorts/<cohort_id>.json                                the trials of a cohort and their configurations
    cohorts/<cohort_id>.failed.json                         the cohort has failed for good
    tables/<table>/<cohort_id>-<attempt>-<report>.parquet

Three rules make each row count exactly once:

1. A report exists if its file in `rows` exists, because that file is always written, and written last.
2. An attempt's reports numbered at or above the first report of any newer attempt of its cohort are ignored:
   the newer attempt has done that work again, and a process thought dead may still write.
3. A trial in several cohorts counts in the one with the largest index that has rows for it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from analysis.errors import AnalysisError, ResultsNotFound
from analysis.files import Files

_REPORT_NAME = re.compile(r"(?P<cohort_id>.+)-(?P<attempt>\d+)-(?P<report>\d+)\.parquet")
_FAILED = ".failed.json"


class Report(NamedTuple):
    """One report of one attempt of one cohort: a file in each table."""

    cohort_id: str
    attempt: int
    report: int


def parse_report(file_name: str) -> Report | None:
    """Return the report that a Parquet file belongs to; None for any other file, e.g. an unfinished one."""
    match = _REPORT_NAME.fullmatch(file_name)
    if match is None or file_name.startswith((".", "_")):
        return None
    return Report(match["cohort_id"], int(match["attempt"]), int(match["report"]))


def counted_reports(reports: Iterable[Report]) -> set[Report]:
    """Return the reports that count: none at or above the first report of a newer attempt of its cohort.

    Args:
        reports: all reports in the table `rows`.
    """
    by_cohort: dict[str, list[Report]] = defaultdict(list)
    for report in reports:
        by_cohort[report.cohort_id].append(report)
    counted: set[Report] = set()
    for of_cohort in by_cohort.values():
        limit: float = float("inf")
        for attempt in sorted({report.attempt for report in of_cohort}, reverse=True):
            own = [report for report in of_cohort if report.attempt == attempt]
            counted.update(report for report in own if report.report < limit)
            limit = min(limit, *(report.report for report in own))
    return counted


@dataclass(frozen=True, slots=True)
class CohortFile:
    """The content of `cohorts/<cohort_id>.json`, as far as readers need it."""

    cohort_id: str
    index: int
    configs: dict[str, dict[str, Any]]
    """Trial id -> configuration as nested plain values."""
    measuring: dict[str, Any]
    failed: str | None
    """The reason why the cohort failed for good; None if it did not."""


#: Fields of a configuration whose column has another name.
_COLUMN_OF = {
    "task.family": "task_family",
    "task.data": "task_data",
    "task.source": "task_source",
    "model.kind": "model_kind",
    "model.source": "model_source",
    "steps": "budget_steps",
}


#: Fields that hold a number or a word; their column holds words.
_WORDS = frozenset({"spectral_start"})


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """Flatten a trial's configuration (nested plain values) to columns: the settings, and `budget_steps`.

    `task.family` and `model.kind` become `task_family` and `model_kind`, `steps` becomes `budget_steps`; other
    nested fields lose their prefix.
    """
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if name == "drift":
            flat[name] = drift_text(value)
        elif isinstance(value, dict):
            for inner, inner_value in value.items():
                flat[_COLUMN_OF.get(f"{name}.{inner}", str(inner))] = inner_value
        else:
            flat[_COLUMN_OF.get(name, name)] = str(value) if name in _WORDS else value
    return flat


def drift_text(drift: Mapping[str, Mapping[str, Any]]) -> str:
    """Write drift as in a specification: `4000: {split: 1}, 8000: {family: subtraction}`; empty without drift.

    Args:
        drift: step -> the differences of the training set from that step on.
    """

    def text(value: Any) -> str:
        whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
        return str(int(value)) if whole else str(value)

    return ", ".join(
        f"{step}: {{{', '.join(f'{name}: {text(value)}' for name, value in said.items())}}}"
        for step, said in drift.items()
    )


class ResultsFolder:
    """A results folder as it was when this object was made: later reports are not included.

    Args:
        path: a local path, or a URI such as `s3://bucket/results/my-sweep`.
        filesystem: a `pyarrow.fs.FileSystem` that `path` belongs to; by default derived from the path.

    Raises:
        ResultsNotFound: the path does not exist, or holds no results of a sweep.
    """

    def __init__(self, path: str | Path, filesystem: Any = None) -> None:
        self.path = str(path)
        try:
            self._files = Files(self.path, filesystem)
            has_results = self._files.exists("cohorts") or self._files.exists("sweep.json")
        except (OSError, ValueError) as error:
            raise AnalysisError(f"{self.path} cannot be read: {error}") from error
        if not has_results:
            raise ResultsNotFound(
                f"no results of a sweep in {self.path}: it has neither sweep.json nor cohorts/; "
                "give the folder that `sweep run` named as its results"
            )
        # Cohorts are written before their tables. So list tables first: in the other order, a new cohort's file
        # could be missing while its rows are there.
        rows = self._list("tables/rows")
        self._reports = counted_reports(rows)
        self._tables: dict[str, dict[Report, str]] = {"rows": rows}
        self.cohorts = self._read_cohorts()
        unknown = {report.cohort_id for report in self._reports} - {cohort.cohort_id for cohort in self.cohorts}
        if unknown:
            raise AnalysisError(
                f"{self.path} has rows of {', '.join(sorted(unknown))} but not cohorts/{min(unknown)}.json; "
                "copy results folders as a whole"
            )
        self._superseded = self._find_superseded()

    def request(self) -> list[str]:
        """Return the ids of the trials requested now; every trial of every cohort without a `sweep.json`."""
        if self._files.exists("sweep.json"):
            return [str(trial_id) for trial_id in self._read_json("sweep.json", "trials")["trials"]]
        return list(dict.fromkeys(trial_id for cohort in self.cohorts for trial_id in cohort.configs))

    def cohort_of_trials(self) -> dict[str, CohortFile]:
        """Return trial id -> the cohort it counts in: the newest with rows for it, else the newest that has it."""
        return {
            trial_id: cohort
            for cohort in self.cohorts
            for trial_id in cohort.configs
            if trial_id not in self._superseded.get(cohort.cohort_id, ())
        }

    def table(self, name: str, columns: Sequence[str], trial_ids: Collection[str] | None = None) -> Any:
        """Read the rows of a table that count.

        Args:
            name: one of `analysis.schema.TABLES`.
            columns: columns to read; only these are read from the files.
            trial_ids: only these trials; by default all.

        Returns:
            A `pyarrow.Table` with these columns.
        """
        import pyarrow as pa
        import pyarrow.dataset as ds

        from analysis.schema import arrow_schema

        schema = arrow_schema(name)
        plain: list[str] = []
        overlapping: dict[str, list[str]] = defaultdict(list)
        for report, file in sorted(self._table_files(name).items()):
            (overlapping[report.cohort_id] if report.cohort_id in self._superseded else plain).append(file)

        wanted = None if trial_ids is None else _is_in(trial_ids)
        parts = [(plain, wanted)]
        for cohort_id, files in overlapping.items():
            kept = ~_is_in(self._superseded[cohort_id])
            parts.append((files, kept if wanted is None else wanted & kept))
        tables = [
            ds.dataset(files, schema=schema, format="parquet", filesystem=self._files.filesystem).to_table(
                columns=list(columns), filter=condition
            )
            for files, condition in parts
            if files
        ]
        if not tables:
            return schema.empty_table().select(list(columns))
        return pa.concat_tables(tables).unify_dictionaries()

    def _table_files(self, table: str) -> dict[Report, str]:
        if table not in self._tables:
            self._tables[table] = self._list(f"tables/{table}")
        return {report: file for report, file in self._tables[table].items() if report in self._reports}

    def _find_superseded(self) -> dict[str, set[str]]:
        """Return cohort id -> its trials that count in another cohort; cohorts without such trials are left out."""
        holders: dict[str, list[CohortFile]] = defaultdict(list)
        for cohort in self.cohorts:
            for trial_id in cohort.configs:
                holders[trial_id].append(cohort)
        shared = {trial_id: cohorts for trial_id, cohorts in holders.items() if len(cohorts) > 1}
        with_rows = {
            cohort_id: self._trials_with_rows(cohort_id, shared)
            for cohort_id in {cohort.cohort_id for cohorts in shared.values() for cohort in cohorts}
        }
        superseded: dict[str, set[str]] = defaultdict(set)
        for trial_id, cohorts in shared.items():
            counting = [cohort for cohort in cohorts if trial_id in with_rows[cohort.cohort_id]] or cohorts
            for cohort in cohorts:
                if cohort is not counting[-1]:
                    superseded[cohort.cohort_id].add(trial_id)
        return dict(superseded)

    def _trials_with_rows(self, cohort_id: str, among: Collection[str]) -> set[str]:
        import pyarrow.dataset as ds

        files = [file for report, file in self._table_files("rows").items() if report.cohort_id == cohort_id]
        if not files:
            return set()
        # Read as plain text: a dictionary type would gain nothing here.
        rows = ds.dataset(files, format="parquet", filesystem=self._files.filesystem).to_table(
            columns=["trial_id"], filter=_is_in(among)
        )
        return {str(trial_id) for trial_id in rows["trial_id"].unique().to_pylist()}

    def _read_cohorts(self) -> tuple[CohortFile, ...]:
        names = set(self._files.names("cohorts"))
        cohorts = []
        for name in names:
            if not name.endswith(".json") or name.endswith(_FAILED) or name.startswith("."):
                continue
            stated = self._read_json(f"cohorts/{name}", "cohort_id", "index", "trials")
            failed_name = name.removesuffix(".json") + _FAILED
            failed = self._read_json(f"cohorts/{failed_name}", "reason")["reason"] if failed_name in names else None
            cohorts.append(
                CohortFile(
                    cohort_id=stated["cohort_id"],
                    index=stated["index"],
                    configs={trial["trial_id"]: trial["config"] for trial in stated["trials"]},
                    measuring=stated.get("measuring") or {},
                    failed=failed,
                )
            )
        return tuple(sorted(cohorts, key=lambda cohort: cohort.index))

    def _list(self, folder: str) -> dict[Report, str]:
        file_of = {parse_report(name): self._files.place(f"{folder}/{name}") for name in self._files.names(folder)}
        return {report: file for report, file in file_of.items() if report is not None}

    def _read_json(self, relative: str, *needed: str) -> dict[str, Any]:
        data = self._files.read(relative)
        try:
            stated = json.loads(data)
            missing = sorted(set(needed) - stated.keys())
        except (ValueError, AttributeError) as error:
            missing = [f"valid JSON ({error})"]
        if missing:
            raise AnalysisError(
                f"{self.path}/{relative} is damaged, it lacks {', '.join(missing)}; put a good copy in its place, "
                "or start again in another results folder"
            )
        return cast("dict[str, Any]", stated)


def _is_in(trial_ids: Collection[str]) -> Any:
    import pyarrow as pa
    import pyarrow.dataset as ds

    return ds.field("trial_id").isin(pa.array(sorted(trial_ids), pa.string()))
