"""The cost of analysing a large sweep: processor seconds and memory of every step from files to report.

    python benchmarks/analysis_scale.py [--trials 10000] [--rows 60] [--reports 5000] [--only STEP]... [--json]

Writes a made-up results folder of the given size (real Parquet, read by the real loader), compacts it as a run
does, and takes each step in a process of its own, so that memory is that step's. Trials are 100 settings of several
seeds; accuracies and complexities follow simple curves, and one trial in three never groks.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from analysis.checks.records import settings_of
from analysis.checks.reports import Report
from analysis.checks.tables import sealed
from analysis.schema import SCHEMA_VERSION, TABLES, arrow_schema
from sweep import __version__
from trainables.config import ModelConfig, TaskConfig, TrialConfig

SETTINGS = 100
BUDGET_STEPS = 20_000
REPORTS_OF_A_COHORT = 50

STEPS = {
    "load, all columns, as reports are written": "analysis.load(path)",
    "compaction": "[store.compact(*cohort) for cohort in store.to_compact().items()]",
    "load, all columns": "analysis.load(path)",
    "load, 3 columns": "analysis.load(path, ['train_accuracy', 'val_accuracy', 'complexity_bytes'])",
    "events": "analysis.events(rows)",
    "map": "analysis.grok_map(events, 'weight_decay', 'data_fraction')",
    "predictors": "analysis.predictors(rows)",
    "decide": "analysis.decide(rows)",
    "sweep report": "cli(['report', path, '--output', output])",
    "sweep status": "cli(['status', path])",
}
"""Steps in their order: each works on what the ones before have left."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--reports", type=int, default=5_000)
    parser.add_argument("--only", choices=list(STEPS), action="append", help="besides compaction")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.step:
        print(json.dumps(measure(chosen.step, chosen.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "sweep", chosen.trials, chosen.rows, chosen.reports)
        results = []
        for step in STEPS:
            if chosen.only and step not in [*chosen.only, "compaction"]:
                continue
            command = [sys.executable, __file__, "--step", step, "--folder", folder]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            results.append(json.loads(done.stdout.splitlines()[-1]))
    if chosen.json:
        print(json.dumps(results, indent=1))
        return
    print(f"{chosen.trials:,} trials of {chosen.rows} rows in {chosen.reports:,} reports\n")
    print("| step | CPU s | peak GB | |\n|---|---:|---:|---|")
    for one in results:
        print(f"| {one['step']} | {one['cpu_s']:.2f} | {one['peak_gb']:.2f} | {one['note']} |")


def measure(step: str, folder: str) -> dict[str, Any]:
    """Take one step on a folder from `write`; what it needs is loaded before the clock starts."""
    import matplotlib  # noqa: F401
    import pandas  # noqa: F401
    import pyarrow.dataset  # noqa: F401
    import scipy.stats  # noqa: F401

    import analysis
    from sweep.cli.sweeps import main as command
    from sweep.results.store import Store

    def cli(arguments: list[str]) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            command(arguments, standalone_mode=False)

    path, output = f"{folder}/sweep", f"{folder}/report"
    names: dict[str, Any] = {"analysis": analysis, "path": path, "output": output, "cli": cli, "store": Store(path)}
    if "rows" in STEPS[step] or "(events" in STEPS[step]:
        names["rows"] = analysis.load(path)
        names["events"] = analysis.events(names["rows"])
    before = time.process_time()
    eval(STEPS[step], names)
    cpu_s = time.process_time() - before
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    note = ""
    if step == "sweep report":
        note = f"{Path(output, 'report.html').stat().st_size / 1e6:.1f} MB of HTML"
    if step == "compaction":
        note = f"{len(list(Path(path).glob('tables/*/*'))):,} files are left"
    return {"step": step, "cpu_s": cpu_s, "peak_gb": peak_gb, "note": note}


def write(folder: Path, trials: int, rows: int, reports: int) -> None:
    """Write a results folder of made-up trials, spread evenly over cohorts of about 50 reports each."""
    base = TrialConfig(
        task=TaskConfig(family="addition", modulus=59), model=ModelConfig(width=64), steps=BUDGET_STEPS
    )
    configs = [
        dataclasses.replace(
            base,
            weight_decay=[0.0, 0.1, 0.3, 1.0, 3.0, 0.01, 0.03, 0.5, 2.0, 5.0][place % 10],
            data_fraction=round(0.2 + 0.05 * (place // 10 % 10), 2),
            seed=place // SETTINGS,
        )
        for place in range(trials)
    ]
    cohorts = max(1, reports // REPORTS_OF_A_COHORT)
    (folder / "cohorts").mkdir(parents=True)
    (folder / "sweep.json").write_text(
        json.dumps(
            {
                "name": "made-up",
                "trials": [trial.trial_id for trial in configs],
                "schema_version": SCHEMA_VERSION,
            }
        )
    )
    for index in range(cohorts):
        own = configs[index::cohorts]
        cohort_id = f"c{index:04d}-{index:08x}"
        (folder / "cohorts" / f"{cohort_id}.json").write_text(
            json.dumps(
                {
                    "cohort_id": cohort_id,
                    "index": index,
                    "trials": [{"trial_id": trial.trial_id, "config": trial.as_dict()} for trial in own],
                    "measuring": {"epsilon": 1.0},
                }
            )
        )
        columns = _rows(own, rows, index)
        many = max(1, reports // cohorts)
        edges = np.linspace(0, rows, many + 1).astype(int) if many <= rows else np.arange(rows + 1)
        for report, (low, high) in enumerate(pairwise(edges)):
            part = {name: values[:, low:high].reshape(-1) for name, values in columns.items()}
            measured = _measured(part)
            if len(measured["step"]):
                _write(folder, "complexity", cohort_id, report, measured)
            if high == rows:
                _write(folder, "trials", cohort_id, report, _ended(own, columns, cohort_id))
            _write(folder, "rows", cohort_id, report, part)


def _rows(own: list[TrialConfig], rows: int, seed: int) -> dict[str, np.ndarray]:
    """Make the columns of `rows`, each [trials, rows]."""
    random = np.random.default_rng(seed)
    n = len(own)
    step = np.concatenate([[0], np.geomspace(32, BUDGET_STEPS, rows - 1).astype(int)])
    steps = np.tile(step, (n, 1))
    memorised = random.lognormal(np.log(200), 0.4, (n, 1))
    grokked = np.where(random.random((n, 1)) < 1 / 3, np.inf, memorised * random.lognormal(np.log(7), 0.9, (n, 1)))
    train = np.clip(steps / memorised, 0, 1)
    val = np.where(steps >= grokked, 1.0, np.clip(0.02 + 0.3 * train, 0, 0.5) + random.normal(0, 0.01, steps.shape))
    measured = np.arange(rows) % 4 == 0
    size = 20_000 * train * np.where(steps >= grokked, 0.5, 1.0) + 1_500 + random.normal(0, 150, steps.shape)

    def of(name: str) -> np.ndarray:
        return np.tile(np.array([[getattr(trial, name)] for trial in own]), (1, rows))

    return {
        "trial_id": np.tile(np.array([[trial.trial_id] for trial in own], dtype=object), (1, rows)),
        "step": steps,
        **{name: of(name) for name in ("weight_decay", "data_fraction", "spectral_entropy_weight", "seed")},
        "train_loss": 4 * (1 - train) + 1e-4,
        "val_loss": np.where(steps >= grokked, 0.05, 4.0 + train),
        "train_accuracy": train,
        "val_accuracy": np.clip(val, 0, 1),
        "complexity_bytes": np.where(measured, size, np.nan),
        "description_length_bits": np.where(measured, 8 * size, np.nan),
        "zstd_bytes": np.full(steps.shape, 220_000),
        "l2_norm": 30 + random.normal(0, 1, steps.shape),
        "spectral_entropy": 3.5 - 0.5 * (steps >= grokked) + random.normal(0, 0.01, steps.shape),
        "effective_rank": 33.0 - 10 * (steps >= grokked) + random.normal(0, 0.1, steps.shape),
        "train_wall_s": 0.002 * steps,
        "measure_wall_s": 0.001 * steps,
        "clean_train_accuracy": train,
        "phase": np.zeros_like(steps),
        "phase_start_step": np.zeros_like(steps),
        "phase_end_step": np.full_like(steps, BUDGET_STEPS),
    }


def _ended(own: list[TrialConfig], columns: dict[str, np.ndarray], cohort_id: str) -> dict[str, Any]:
    because = np.where(columns["val_accuracy"][:, -3:].min(axis=1) >= 0.99, "grokked", "budget")
    stated: list[dict[str, Any]] = [
        {
            **settings_of(trial.as_dict()),
            "trial_id": trial.trial_id,
            "cohort_id": cohort_id,
            "ended_because": str(why),
            "ended_at_step": BUDGET_STEPS,
            "ended_reason": f"It ended: {why}.",
            "audited": False,
            "stop_rule": "none",
            "memorised_at": 0.99,
            "grokked_at": 0.99,
            "epsilon": 1.0,
            "complexity_method": "feedback-1",
            "parameters": 60_000,
            "training_examples": 1_000,
            "validation_examples": 2_481,
            "classes": 59,
            "bzip2_bytes": 230_000,
            "train_wall_s": 40.0,
            "measure_wall_s": 20.0,
            "device": "cpu",
            "threads": 1,
            "torch_version": "2.13.0",
            "zstd_version": "1.5.7",
            "package_version": "0.1.0",
        }
        for trial, why in zip(own, because, strict=True)
    ]
    return {column.name: [row.get(column.name) for row in stated] for column in TABLES["trials"]}


def _measured(columns: dict[str, np.ndarray]) -> dict[str, Any]:
    known = ~np.isnan(columns["complexity_bytes"])
    n = int(known.sum())
    return {
        **{name: columns[name][known] for name in ("trial_id", "step", "complexity_bytes")},
        **{name: columns[name][known] for name in ("train_loss", "train_accuracy", "val_accuracy")},
        "epsilon": np.ones(n),
        "loss_increase": np.full(n, 0.5),
        "evaluations": np.full(n, 10),
        "method": np.full(n, "feedback-1"),
        "wall_s": np.full(n, 0.01),
    }


def _write(folder: Path, table: str, cohort_id: str, report: int, columns: dict[str, Any]) -> None:
    schema = arrow_schema(table)
    n = len(next(iter(columns.values())))
    arrays = []
    for field in schema:
        values = columns.get(field.name)
        plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if values is None:
            array = pa.nulls(n, plain)
        else:
            array = pa.array(values, from_pandas=True)
            array = array.cast(plain, safe=False)
        arrays.append(array.dictionary_encode().cast(field.type) if pa.types.is_dictionary(field.type) else array)
    of = Report(cohort_id, 0, report)
    file = folder / "tables" / table / f"{of.name}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(sealed(pa.Table.from_arrays(arrays, schema=schema), of, __version__, {}))


if __name__ == "__main__":
    main()
