"""Writes results folders as the sweep's store does, through `analysis.schema`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.checks.records import settings_of
from analysis.checks.reports import parse_report
from analysis.checks.tables import sealed
from analysis.schema import SCHEMA_VERSION, TABLES, arrow_schema
from trainables.config import TrialConfig

METHOD = "method-1"


def row(trial: TrialConfig, step: int, **values: Any) -> dict[str, Any]:
    """A row of `rows`."""
    return {
        "trial_id": trial.trial_id,
        "step": step,
        "weight_decay": trial.weight_decay,
        "data_fraction": trial.data_fraction,
        "spectral_entropy_weight": trial.spectral_entropy_weight,
        "seed": trial.seed,
        "train_loss": 1.0,
        "val_loss": 2.0,
        "train_accuracy": 0.0,
        "val_accuracy": 0.0,
        "complexity_bytes": None,
        "description_length_bits": None,
        "zstd_bytes": 1000,
        "l2_norm": 1.0,
        "spectral_entropy": 1.0,
        "effective_rank": 2.0,
        "train_wall_s": 0.1,
        "measure_wall_s": 0.1,
        "clean_train_accuracy": 0.0,
        "corrupted_train_accuracy": None,
        "recovered_train_accuracy": None,
        "group_train_accuracy": None,
        "group_val_accuracy": None,
        "phase": 0,
        "phase_start_step": 0,
        "phase_end_step": trial.steps,
        "logit_scale": 3.5,
    } | values


def measured(trial: TrialConfig, step: int, complexity_bytes: int = 100, **values: Any) -> dict[str, Any]:
    """A row of `complexity`."""
    return {
        "trial_id": trial.trial_id,
        "step": step,
        "epsilon": 1.0,
        "complexity_bytes": complexity_bytes,
        "loss_increase": 0.5,
        "train_loss": 0.6,
        "train_accuracy": 0.9,
        "val_accuracy": 0.1,
        "group_val_accuracy": None,
        "evaluations": 10,
        "method": METHOD,
        "wall_s": 0.01,
    } | values


def end(trial: TrialConfig, cohort_id: str, because: str = "budget", **values: Any) -> dict[str, Any]:
    """A row of `trials`."""
    return {
        "trial_id": trial.trial_id,
        "cohort_id": cohort_id,
        **settings_of(trial.as_dict()),
        "spectral_started_at_step": trial.penalised_from,
        "ended_because": because,
        "ended_at_step": trial.steps,
        "ended_reason": f"It ended because of {because}.",
        "stop_probability": None,
        "audited": False,
        "marked_at_step": None,
        "parked": None,
        "stop_rule": "none",
        "memorised_at": 0.99,
        "grokked_at": 0.99,
        "epsilon": 1.0,
        "complexity_method": METHOD,
        "parameters": 10,
        "training_examples": 20,
        "validation_examples": 30,
        "classes": 7,
        "bzip2_bytes": 900,
        "train_wall_s": 0.1,
        "measure_wall_s": 0.1,
        "device": "cpu",
        "threads": 1,
        "reproducible": "here",
        "torch_version": "2",
        "zstd_version": "1.5.7",
        "package_version": "0.1.0",
    } | values


def cohort_name(index: int) -> str:
    return f"c{index:04d}-{index:08x}"


class Folder:
    """A results folder being written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "cohorts").mkdir(parents=True)

    def request(self, trials: Iterable[TrialConfig]) -> None:
        ids = [trial.trial_id for trial in trials]
        (self.path / "sweep.json").write_text(
            json.dumps({"name": "test", "trials": ids, "schema_version": SCHEMA_VERSION})
        )

    def cohort(self, index: int, trials: Sequence[TrialConfig], **measuring: Any) -> str:
        cohort_id = cohort_name(index)
        stated = {
            "cohort_id": cohort_id,
            "index": index,
            "trials": [{"trial_id": trial.trial_id, "config": trial.as_dict()} for trial in trials],
            "lanes": 8,
            "measuring": measuring,
        }
        (self.path / "cohorts" / f"{cohort_id}.json").write_text(json.dumps(stated))
        return cohort_id

    def fail(self, cohort_id: str, reason: str) -> None:
        (self.path / "cohorts" / f"{cohort_id}.failed.json").write_text(json.dumps({"reason": reason}))

    def report(self, cohort_id: str, attempt: int, report: int, **tables: list[dict[str, Any]]) -> None:
        """Write one report; `rows` always and last, other tables if they hold anything."""
        for table in [name for name in TABLES if name != "rows"] + ["rows"]:
            records = tables.get(table, [])
            if records or table == "rows":
                self.write(table, f"{cohort_id}-{attempt:03d}-{report:05d}.parquet", records)

    def reports(
        self,
        trials: Sequence[TrialConfig],
        steps: Sequence[int],
        *,
        attempt: int = 0,
        ended: Mapping[int, Sequence[TrialConfig]],
    ) -> None:
        """Request trials and report them in one cohort, a report for each step: all measured there, some ended.

        Args:
            trials: the trials of the cohort.
            steps: the step of each report.
            attempt: the number of the attempt.
            ended: report -> the trials that end there.
        """
        self.request(trials)
        cohort = self.cohort(0, trials)
        for report, step in enumerate(steps):
            self.report(
                cohort,
                attempt,
                report,
                rows=[row(trial, step) for trial in trials],
                complexity=[measured(trial, step) for trial in trials],
                trials=[end(trial, cohort) for trial in ended.get(report, ())],
            )

    def write(self, table: str, name: str, records: list[dict[str, Any]]) -> None:
        file = self.path / "tables" / table / name
        file.parent.mkdir(parents=True, exist_ok=True)
        report = parse_report(name)
        content = pa.Table.from_pylist(records, arrow_schema(table))
        if report is None:
            pq.write_table(content, file, compression="zstd")
        else:
            file.write_bytes(sealed(content, report, "0.1.0", {}))
