"""Measurements without training, for tests of what is done with them."""

from __future__ import annotations

import math

import torch

from sweep.plan.sharing import Sharing
from sweep.results.cohort import Cohort
from sweep.results.rows import RunContext
from sweep.results.store import Store
from trainables.complexity import METHOD
from trainables.config import TrialConfig
from trainables.measurement import (
    ComplexityMeasurement,
    EndedBecause,
    Ending,
    MatrixMeasurement,
    Measurement,
    TrialEnd,
)


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
    return Measurement(
        trial_id=trial.trial_id,
        step=step,
        weight_decay=trial.weight_decay,
        data_fraction=trial.data_fraction,
        spectral_entropy_weight=trial.spectral_entropy_weight,
        seed=trial.seed,
        train_loss=loss,
        val_loss=math.inf if because == "diverged" else 2.0,
        train_accuracy=0.5,
        val_accuracy=0.25,
        complexity_bytes=300,
        description_length_bits=2400.5,
        zstd_bytes=390,
        l2_norm=3.0,
        spectral_entropy=1.25,
        effective_rank=3.5,
        train_wall_s=0.01 * step,
        measure_wall_s=0.5,
        clean_train_accuracy=0.5,
        corrupted_train_accuracy=None,
        recovered_train_accuracy=None,
        group_train_accuracy=None,
        group_val_accuracy=None,
        phase=0,
        phase_start_step=0,
        phase_end_step=trial.steps,
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


def end_trials(
    store: Store, cohort: Cohort, because: dict[str, EndedBecause | None], *, step: int | None = None
) -> None:
    """One report in which each of these trials of a cohort ends, or for None is only measured."""
    trials = {trial.trial_id: trial for trial in cohort.trials}
    attempt = store.claim_attempt(cohort.cohort_id)
    rows = [
        measurement(trials[trial_id], trials[trial_id].steps if step is None else step, because=why)
        for trial_id, why in because.items()
    ]
    context = RunContext(cohort=cohort, device="cpu", threads=1)
    store.add_report(cohort.cohort_id, attempt.number, attempt.next_report, rows, context)
    store.write_checkpoint(cohort.cohort_id, attempt.number, attempt.next_report, b"state")


def on_cores(count: int) -> Sharing:
    """So many cohorts at once, with plenty of memory for each."""
    return Sharing(at_once=count, on_a_gpu=0, memory_bytes=2**34)
