"""The state of a lane run as bytes: safetensors with a JSON part, nothing that needs unpickling."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from trainables.errors import CheckpointError
from trainables.measurement import Measurement
from trainables.numerics.environment import Verdict
from trainables.scoring import ComplexityMeasurement, MatrixMeasurement

FORMAT_VERSION = 4


@dataclass(frozen=True, slots=True)
class LaneRecord:
    """One running trial of a checkpoint; its tensors are rows of `RunRecord.tensors`."""

    trial_index: int
    age: int
    train_wall_s: float
    measure_wall_s: float
    penalised_from: int | None
    """Step at which the spectral penalty begins to act; None if there is none, or that is not known yet."""
    history: list[Measurement]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """All that a lane run needs to continue, besides the trials themselves."""

    trial_ids: list[str]
    budgets: list[int]
    lanes: int
    measuring: dict[str, Any]
    next_trial: int
    """Index of the first trial that has not been started; earlier ones are running or done."""
    running: list[LaneRecord]
    tensors: dict[str, Tensor]
    """weights, first_moment, second_moment: [running, P]."""
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    """Ids of running trials -> what has held for their bits so far; earlier versions did not record it."""
    kernels: str | None = None
    """`trainables.numerics.reference.kernels_digest` of the process that saved it; None as well."""


TENSORS = ("weights", "first_moment", "second_moment")
_STATE = "state"


def encode(record: RunRecord) -> bytes:
    """Write a record as bytes."""
    state = {
        "format_version": FORMAT_VERSION,
        "trial_ids": record.trial_ids,
        "budgets": record.budgets,
        "lanes": record.lanes,
        "measuring": record.measuring,
        "next_trial": record.next_trial,
        "verdicts": record.verdicts,
        "kernels": record.kernels,
        "running": [
            {
                "trial_index": lane.trial_index,
                "age": lane.age,
                "train_wall_s": lane.train_wall_s,
                "measure_wall_s": lane.measure_wall_s,
                "penalised_from": lane.penalised_from,
                "history": [_measurement_as_dict(measurement) for measurement in lane.history],
            }
            for lane in record.running
        ],
    }
    text = json.dumps(state, separators=(",", ":")).encode()
    data: bytes = save({**record.tensors, _STATE: torch.frombuffer(bytearray(text), dtype=torch.uint8)})
    return data


def decode(data: bytes) -> RunRecord:
    """Read a record from bytes.

    Raises:
        CheckpointError: the bytes are damaged, or of another format.
    """
    try:
        tensors = load(data)
        state = json.loads(tensors.pop(_STATE).numpy().tobytes())
        if state["format_version"] != FORMAT_VERSION:
            raise CheckpointError(
                f"a checkpoint must have format version {FORMAT_VERSION}, got {state['format_version']}; "
                "continue with the package version that wrote it, or start again"
            )
        record = RunRecord(
            trial_ids=state["trial_ids"],
            budgets=state["budgets"],
            lanes=state["lanes"],
            measuring=state["measuring"],
            next_trial=state["next_trial"],
            running=[
                LaneRecord(**{**lane, "history": [_measurement_from_dict(row) for row in lane["history"]]})
                for lane in state["running"]
            ],
            tensors={name: tensors[name] for name in TENSORS},
            verdicts=state.get("verdicts", {}),
            kernels=state.get("kernels"),
        )
    except (SafetensorError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"a checkpoint must be the bytes LaneRun.save returned, got {len(data)} bytes that are not "
            f"({type(error).__name__}: {error}); use an older checkpoint or start again"
        ) from error
    return record


def check_belongs(
    record: RunRecord, trial_ids: Sequence[str], budgets: Sequence[int], measuring: dict[str, Any]
) -> None:
    """Check that a checkpoint belongs to these trials.

    Raises:
        CheckpointError: other trials, another order, other budgets, or another way of measuring.
    """
    for what, saved, asked in (
        ("trials", record.trial_ids, list(trial_ids)),
        ("budgets in steps", record.budgets, list(budgets)),
        ("measuring", record.measuring, json.loads(json.dumps(measuring))),
    ):
        if saved != asked:
            raise CheckpointError(
                f"a checkpoint can only continue with the {what} it was saved with: {saved}, got {asked}; "
                "pass the same or start again"
            )


def _measurement_as_dict(measurement: Measurement) -> dict[str, Any]:
    """Dump everything but the network and the ending, which no measurement of a running trial has."""
    return dataclasses.asdict(dataclasses.replace(measurement, network=None, end=None))


def _measurement_from_dict(values: dict[str, Any]) -> Measurement:
    return Measurement(
        **{
            **values,
            "complexities": tuple(ComplexityMeasurement(**row) for row in values["complexities"]),
            "matrices": tuple(MatrixMeasurement(**row) for row in values["matrices"]),
        }
    )
