"""A trainable that reports trajectories that are known beforehand, with checkpoints as any other has them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ray import tune

from analysis.trajectory import Trajectory

NAMES = ("step", "train_accuracy", "val_accuracy", "complexity_bytes", "val_loss")
BUDGET = 10_000
SEED_KEYS = ("of.seed",)
STEPS = [0, *sorted({round(1.2**k) for k in range(10, 51)} | {BUDGET})]


def made_up(
    *,
    groks_at: float = math.inf,
    accuracy: float = 0.1,
    nan_from: float = math.inf,
    falls: bool = False,
    steps: list[int] = STEPS,
) -> list[dict[str, float]]:
    """Results of a trial that memorises at once and stands still, unless it groks, becomes NaN or falls."""
    rows: list[dict[str, float]] = []
    for step in steps:
        groks = step >= groks_at
        loss = 5 * max(step, 1) ** -0.5 if falls else 5.0
        values = (step, 1.0, 1.0 if groks else accuracy, 1e4, math.nan if step >= nan_from else loss)
        rows.append(dict(zip(NAMES, values, strict=True)))
    return rows


def results_of(trajectory: Trajectory) -> list[dict[str, float]]:
    """The results that a trial with this trajectory would report."""
    columns = [np.asarray(getattr(trajectory, name), dtype=float).tolist() for name in NAMES]
    return [{**dict(zip(NAMES, row, strict=True)), "step": int(row[0])} for row in zip(*columns, strict=True)]


def written(folder: Path, trials: Mapping[str, list[dict[str, float]]]) -> str:
    """Write results where trainables of any process find them, and return the file."""
    file = folder / "trajectories.json"
    file.write_text(json.dumps(dict(trials)), encoding="utf-8")
    return str(file)


class Replayed(tune.Trainable):
    """Reports the results of `config["file"]` under `config["of"]["cell"]-config["of"]["seed"]`."""

    def setup(self, config: dict[str, Any]) -> None:
        of = config["of"]
        self.name = f"{of['cell']}-{of['seed']}"
        self.rows = json.loads(Path(config["file"]).read_text(encoding="utf-8"))[self.name]
        self.at = 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        row = self.rows[self.at]
        self.at += 1
        if row.get("raises"):
            raise RuntimeError("planted")
        return {**row, "name": self.name, "done": self.at == len(self.rows)}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        (Path(checkpoint_dir) / "at").write_text(str(self.at), encoding="utf-8")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        self.at = int((Path(checkpoint_dir) / "at").read_text(encoding="utf-8"))


def run(
    folder: Path,
    trials: Mapping[tuple[str, int], list[dict[str, float]]],
    scheduler: Any,
    *,
    trainable: Callable[..., Any] | type = Replayed,
    lanes: int = 1,
    **how: Any,
) -> tune.ResultGrid:
    """Run Tune on these trials, in this order, on a Ray of two CPUs.

    Args:
        folder: for results and Tune's files.
        trials: (cell, seed) -> results.
        scheduler: the scheduler under test.
        trainable: what reports them.
        lanes: how many run at a time, 1 or 2.
        how: `tune.TuneConfig` and `tune.RunConfig` arguments.
    """
    file = written(folder, {f"{cell}-{seed}": rows for (cell, seed), rows in trials.items()})
    of_run = {name: how.pop(name) for name in ("failure_config", "callbacks", "stop", "name") if name in how}
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": 2 // lanes}),
        param_space={"file": file, "of": tune.grid_search([{"cell": c, "seed": s} for c, s in trials])},
        tune_config=tune.TuneConfig(scheduler=scheduler, reuse_actors=True, **how),
        run_config=tune.RunConfig(storage_path=str(folder / "tune"), verbose=0, **of_run),
    ).fit()


def steps_of(grid: tune.ResultGrid) -> dict[tuple[str, int], int]:
    """(cell, seed) -> the step of the last result."""
    return {(one.config["of"]["cell"], one.config["of"]["seed"]): one.metrics["step"] for one in grid}
