"""Sweeps made up in the results layout, so that pictures and reports are tested on every kind of ending.

Curves are formulas with a little seeded noise; the files are real Parquet, read by the real loader.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from analysis.checks.reports import Report
from analysis.checks.tables import sealed
from analysis.schema import arrow_schema
from trainables.config import ModelConfig, TaskConfig, TrialConfig

TASK = TaskConfig(family="addition", modulus=59)
MODEL = ModelConfig(width=64)
RULE = "decline-1(patience=20)"


@dataclass(frozen=True, kw_only=True)
class Fate:
    """How a made-up trial goes: `outcome` is an ending, `running`, `planned`, or `never` (not even learned)."""

    outcome: str
    memorisation_step: int = 150
    grok_step: int = 2_000
    last_step: int | None = None
    audited: bool = False
    marked_at_step: int | None = None


def evaluated_steps(last: int) -> list[int]:
    """0, then a geometric grid in whole blocks of 32, then the last."""
    steps, at = {0, last}, 1.0
    while at < last:
        step = math.ceil(at) if at <= 64 else 32 * math.ceil(at / 32)
        steps.add(min(step, last))
        at *= 1.2
    return sorted(steps)


def trial(seed: int = 0, **settings: Any) -> TrialConfig:
    """A trial of the made-up task."""
    return TrialConfig(task=TASK, model=MODEL, seed=seed, **{"steps": 20_000, **settings})


def grid(
    weight_decay: Iterable[float] = (0.0, 0.1, 1.0),
    data_fraction: Iterable[float] = (0.3, 0.5),
    spectral_entropy_weight: Iterable[float] = (0.0,),
    seeds: int = 3,
    steps: int = 20_000,
) -> list[TrialConfig]:
    """A full grid of trials."""
    return [
        trial(
            seed,
            weight_decay=float(decay),
            data_fraction=float(fraction),
            spectral_entropy_weight=float(weight),
            steps=steps,
        )
        for weight in spectral_entropy_weight
        for fraction in data_fraction
        for decay in weight_decay
        for seed in range(seeds)
    ]


def usual_fate(config: TrialConfig) -> Fate:
    """More decay and more data grok sooner; little of both never does."""
    ease = math.log10(config.weight_decay + 0.02) + 6 * config.data_fraction + 3 * config.spectral_entropy_weight
    generator = np.random.default_rng([config.seed, round(1000 * ease) + 10_000])
    ease += generator.normal(0, 0.15)
    audited = generator.random() < 0.1
    memorised = int(60 + 90 * generator.random() + 300 * config.data_fraction)
    grokked = int(10 ** (5.1 - 0.75 * ease))
    if config.data_fraction < 0.25:
        return Fate(outcome="never", last_step=config.steps)
    if 2 * grokked <= config.steps:
        return Fate(
            outcome="grokked", memorisation_step=memorised, grok_step=max(grokked, memorised + 20), audited=audited
        )
    patience = 20 * memorised
    if audited or patience >= config.steps:
        return Fate(outcome="budget", memorisation_step=memorised, audited=audited, marked_at_step=patience)
    return Fate(outcome="stopped", memorisation_step=memorised, last_step=patience)


def curves(config: TrialConfig, fate: Fate) -> list[dict[str, Any]]:
    """The rows of one trial."""
    last = {
        "grokked": 2 * fate.grok_step,
        "budget": config.steps,
        "never": config.steps,
        "running": fate.last_step or 700,
        "stopped": fate.last_step or 20 * fate.memorisation_step,
        "diverged": fate.last_step or 64,
        "failed": fate.last_step or 200,
    }[fate.outcome]
    noise = np.random.default_rng([config.seed, fate.memorisation_step, fate.grok_step])
    learns = fate.outcome != "never"
    groks = fate.outcome in ("grokked", "running")
    rows: list[dict[str, Any]] = []
    measured_at = -1.0
    for step in evaluated_steps(last):
        x = math.log(step + 1)
        rise = 1 / (1 + math.exp(-4 * (x - math.log(fate.memorisation_step * 0.55))))
        late = 1 / (1 + math.exp(-5 * (x - math.log(fate.grok_step * 0.6))))
        train = rise if learns else 0.12 * rise
        val = (0.16 * rise + 0.84 * late) if groks else (0.16 * rise if learns else 0.02)
        jitter = 0.01 * noise.normal()
        done = step >= 1.35 * fate.grok_step and groks
        train_accuracy = 1.0 if train > 0.97 else float(np.clip(train + jitter, 0, 1))
        val_accuracy = 1.0 if done or val > 0.985 else float(np.clip(val + jitter, 0, 1))
        measured = step == 0 or step == last or step >= 2 * measured_at
        complexity = int(
            1_500
            + (21_000 if learns else 3_000) * rise * (1 - (0.62 * late if groks else 0))
            + 150 * noise.normal()
        )
        if measured:
            measured_at = max(step, 1)
        rows.append(
            {
                "trial_id": config.trial_id,
                "step": step,
                "weight_decay": config.weight_decay,
                "data_fraction": config.data_fraction,
                "spectral_entropy_weight": config.spectral_entropy_weight,
                "seed": config.seed,
                "train_loss": 4 * (1 - train) + 1e-4,
                "val_loss": 4 + 2 * rise - 6 * late * groks + 1e-3,
                "train_accuracy": train_accuracy,
                "val_accuracy": val_accuracy,
                "complexity_bytes": complexity if measured else None,
                "description_length_bits": 8.0 * complexity if measured else None,
                "zstd_bytes": 220_000,
                "l2_norm": 30.0 + rise,
                "spectral_entropy": 3.5 - 0.5 * late,
                "effective_rank": 33.0 - 10 * late,
                "train_wall_s": 0.002 * step,
                "measure_wall_s": 0.001 * step,
                "clean_train_accuracy": train_accuracy,
                "corrupted_train_accuracy": None,
                "recovered_train_accuracy": None,
                "group_train_accuracy": None,
                "group_val_accuracy": None,
                "phase": 0,
                "phase_start_step": 0,
                "phase_end_step": config.steps,
                "logit_scale": 10.0 + rise,
            }
        )
    return rows


def trial_row(config: TrialConfig, fate: Fate, last: int) -> dict[str, Any]:
    """The row of the table `trials`."""
    because = "budget" if fate.outcome == "never" else fate.outcome
    return {
        "trial_id": config.trial_id,
        "cohort_id": "c0000-00000000",
        "task_family": config.task.family,
        "modulus": config.task.modulus,
        "degree": config.task.degree,
        "bits": config.task.bits,
        "relevant_bits": config.task.relevant_bits,
        "examples": config.task.examples,
        "task_data": config.task.data,
        "model_kind": config.model.kind,
        "width": config.model.width,
        "layers": config.model.depth,
        "heads": config.model.heads,
        "hidden_width": config.model.hidden,
        "attention": config.model.attention,
        "initial_scale": config.model.initial_scale,
        "data_fraction": config.data_fraction,
        "label_noise": config.label_noise,
        "weight_decay": config.weight_decay,
        "spectral_entropy_weight": config.spectral_entropy_weight,
        "spectral_floor": config.spectral_floor,
        "spectral_every": config.spectral_every,
        "spectral_start": str(config.spectral_start),
        "spectral_started_at_step": config.penalised_from,
        "weight_noise": config.weight_noise,
        "learning_rate": config.learning_rate,
        "adam_beta1": config.adam_beta1,
        "adam_beta2": config.adam_beta2,
        "adam_epsilon": config.adam_epsilon,
        "batch_size": config.batch_size,
        "drift": "",
        "seed": config.seed,
        "budget_steps": config.steps,
        "ended_because": because,
        "ended_at_step": last,
        "ended_reason": f"it ended: {because}",
        "stop_probability": 0.03 if because == "stopped" else None,
        "audited": fate.audited,
        "marked_at_step": fate.marked_at_step,
        "stop_rule": RULE,
        "memorised_at": 0.99,
        "grokked_at": 0.99,
        "epsilon": 1.0,
        "complexity_method": "feedback-1",
        "parameters": 60_000,
        "training_examples": int(config.data_fraction * 3_481),
        "validation_examples": 3_481 - int(config.data_fraction * 3_481),
        "classes": config.task.modulus,
        "bzip2_bytes": 230_000,
        "train_wall_s": 0.002 * last,
        "measure_wall_s": 0.001 * last,
        "device": "cpu",
        "threads": 1,
        "reproducible": "here",
        "torch_version": "2.13.0",
        "zstd_version": "1.5.7",
        "package_version": "0.1.0",
    }


def write_sweep(folder: Path, fates: list[tuple[TrialConfig, Fate]], *, name: str = "made-up") -> Path:
    """Writes a results folder and returns it."""
    cohort = "c0000-00000000"
    (folder / "cohorts").mkdir(parents=True)
    (folder / "sweep.json").write_text(
        json.dumps({"name": name, "trials": [config.trial_id for config, _ in fates], "schema_version": 2})
    )
    failed = [(config, fate) for config, fate in fates if fate.outcome == "failed"]
    going = [(config, fate) for config, fate in fates if fate.outcome != "failed"]
    _write_cohort(folder, cohort, 0, going)
    if failed:
        _write_cohort(folder, "c0001-00000001", 1, failed)
        (folder / "cohorts" / "c0001-00000001.failed.json").write_text(json.dumps({"reason": "out of memory"}))
    return folder


def _write_cohort(folder: Path, cohort: str, index: int, fates: list[tuple[TrialConfig, Fate]]) -> None:
    (folder / "cohorts" / f"{cohort}.json").write_text(
        json.dumps(
            {
                "cohort_id": cohort,
                "index": index,
                "trials": [{"trial_id": c.trial_id, "config": c.as_dict()} for c, _ in fates],
                "lanes": 8,
                "measuring": {"epsilon": 1.0},
                "stop_rule": RULE,
                "decline": {"patience": 20},
                "audit_share": 0.1,
                "keep_networks": "final",
                "created": "2026-11-24T00:00:00Z",
            }
        )
    )
    rows: list[dict[str, Any]] = []
    trials: list[dict[str, Any]] = []
    for config, fate in fates:
        if fate.outcome == "planned":
            continue
        of_trial = curves(config, fate)
        rows += of_trial
        if fate.outcome not in ("running", "failed"):
            trials.append(trial_row(config, fate, of_trial[-1]["step"]))
    complexity = [
        {
            "trial_id": row["trial_id"],
            "step": row["step"],
            "epsilon": 1.0,
            "complexity_bytes": row["complexity_bytes"],
            "loss_increase": 0.9,
            "train_loss": row["train_loss"] + 0.9,
            "train_accuracy": row["train_accuracy"],
            "val_accuracy": row["val_accuracy"],
            "group_val_accuracy": None,
            "evaluations": 20,
            "method": "feedback-1",
            "wall_s": 0.2,
        }
        for row in rows
        if row["complexity_bytes"] is not None
    ]
    for table, records in (("rows", rows), ("complexity", complexity), ("trials", trials)):
        if records or table == "rows":
            target = folder / "tables" / table
            target.mkdir(parents=True, exist_ok=True)
            report = Report(cohort, 0, 0)
            content = sealed(pa.Table.from_pylist(records, schema=arrow_schema(table)), report, "0.1.0", {})
            (target / f"{report.name}.parquet").write_bytes(content)
