"""Measurements without training."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch

from trainables.complexity import METHOD
from trainables.config import TrialConfig
from trainables.measurement import EndedBecause, Ending, Measurement, TrialEnd
from trainables.scoring import ComplexityMeasurement, MatrixMeasurement

_ANYTHING: dict[str, Any] = {
    field.name: None if "None" in field.type else 390 if field.type == "int" else 0.5
    for field in dataclasses.fields(Measurement)
    if field.default is field.default_factory is dataclasses.MISSING
}
"""Column -> a value that it may have; a new column needs no other."""


def measurement(
    trial: TrialConfig, step: int, *, because: EndedBecause | None = None, loss: float = 1.5
) -> Measurement:
    """One measured step of a trial; its last one if it is said why it ended."""
    end = None
    if because is not None:
        end = TrialEnd(
            ending=Ending(because=because, reason=f"It was made to end ({because}).", probability=0.25),
            bzip2_bytes=400,
            parameters=100,
            training_examples=24,
            validation_examples=25,
            spectral_started_at_step=None,
        )
    stated = {
        **{name: getattr(trial, name) for name in ("trial_id", "seed", "weight_decay", "data_fraction")},
        "spectral_entropy_weight": trial.spectral_entropy_weight,
        "step": step,
        "train_loss": loss,
        "val_loss": math.inf if because == "diverged" else 2.0,
        "train_accuracy": 0.5,
        "val_accuracy": 0.25,
        "complexity_bytes": 300,
        "description_length_bits": 2400.5,
        "train_wall_s": 0.01 * step,
        "phase": 0,
        "phase_start_step": 0,
        "phase_end_step": trial.steps,
    }
    return Measurement(
        **(_ANYTHING | stated),
        complexities=(
            ComplexityMeasurement(
                epsilon=1.0,
                complexity_bytes=300,
                loss_increase=0.9,
                train_loss=loss + 0.9,
                train_accuracy=0.4,
                val_accuracy=0.2,
                group_val_accuracy=None,
                evaluations=12,
                method=METHOD,
                wall_s=0.1,
            ),
        ),
        matrices=(
            MatrixMeasurement(
                matrix="embedding/embedding",
                rows=7,
                columns=8,
                spectral_entropy=1.25,
                effective_rank=3.5,
                frobenius_norm=2.0,
            ),
        ),
        network={"embedding/embedding": torch.arange(6.0).reshape(2, 3).T},
        end=end,
    )
