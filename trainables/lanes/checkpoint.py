"""The state of a lane run as bytes: safetensors with a JSON part and a checksum, nothing that needs unpickling.

Whatever the bytes are, `decode` and `check_belongs` either accept them or raise `CheckpointError`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from trainables.config import AT_DECLINE, TrialConfig
from trainables.errors import CheckpointError, CheckpointTooNew
from trainables.measurement import Measurement, Parking
from trainables.numerics.environment import NOT_REPRODUCIBLE, VERDICTS, Verdict
from trainables.numerics.reference import kernels_digest
from trainables.schedule import BLOCK_STEPS, MeasuringConfig, evaluated_steps, steps_in_phases
from trainables.scoring import ComplexityMeasurement, MatrixMeasurement
from trainables.seal import check_seal, sealed

FORMAT_VERSION = 7

FORMATS_READ = (7, 6, 5)
"""Versions with a checksum. Version 5 has no parked trials, and version 6 no scale of the logits."""

FORMAT_WITHOUT_CHECKSUM = 4
"""The content of version 5 without a checksum, still read."""


@dataclass(frozen=True, slots=True)
class LaneRecord:
    """One trial of a checkpoint that has begun; its tensors are rows of `RunRecord.tensors`."""

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
    """weights, first_moment, second_moment: [running + parked + given_up, P]."""
    parked: list[LaneRecord] = field(default_factory=list)
    """Trials that wait with their state while others have their lanes."""
    given_up: list[LaneRecord] = field(default_factory=list)
    """Trials that have ended while they were parked."""
    parking: dict[str, Any] = field(default_factory=dict)
    """What `trainables.measurement.Parking.record` returned."""
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    """Ids of running trials -> what has held for their bits so far; earlier versions did not record it, and nothing
    is promised for what they trained."""
    kernels: str | None = None
    """`trainables.numerics.reference.kernels_digest` of the process that saved it; None in earlier versions."""

    @property
    def begun(self) -> list[LaneRecord]:
        """All trials whose state is recorded, in the order of the tensors' rows."""
        return [*self.running, *self.parked, *self.given_up]

    def states(self) -> list[tuple[LaneRecord, dict[str, Tensor]]]:
        """Return these trials with their states: tensor name -> [P]."""
        return [
            (lane, {name: rows[place] for name, rows in self.tensors.items()})
            for place, lane in enumerate(self.begun)
        ]


TENSORS = ("weights", "first_moment", "second_moment")
_STATE = "state"
_Fields = Measurement | ComplexityMeasurement | MatrixMeasurement

LONGEST_VALUE_CHARACTERS = 400
"""The part of a value that is shown in an error."""


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
        "running": [_lane_as_dict(lane) for lane in record.running],
        "parked": [_lane_as_dict(lane) for lane in record.parked],
        "given_up": [_lane_as_dict(lane) for lane in record.given_up],
        "parking": record.parking,
    }
    text = json.dumps(state, separators=(",", ":")).encode()
    return sealed({**record.tensors, _STATE: torch.frombuffer(bytearray(text), dtype=torch.uint8)})


def decode(data: bytes) -> RunRecord:
    """Read a record from bytes.

    Raises:
        CheckpointTooNew: a later version of the package wrote them.
        CheckpointError: the bytes are damaged, or of another format.
    """
    try:
        has_checksum = check_seal(data)
        tensors = load(data)
        state = json.loads(tensors.pop(_STATE).numpy().tobytes())
        _check_version(state["format_version"], has_checksum)
        record = RunRecord(
            trial_ids=state["trial_ids"],
            budgets=state["budgets"],
            lanes=state["lanes"],
            measuring=state["measuring"],
            next_trial=state["next_trial"],
            running=[_lane_from_dict(lane) for lane in state["running"]],
            parked=[_lane_from_dict(lane) for lane in state.get("parked", [])],
            given_up=[_lane_from_dict(lane) for lane in state.get("given_up", [])],
            parking=state.get("parking", {}),
            tensors={name: tensors[name] for name in TENSORS},
            verdicts=state.get("verdicts", {}),
            kernels=state.get("kernels"),
        )
    # ValueError: text that is not UTF-8 or JSON, or an integer too long to read.
    except (SafetensorError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"a checkpoint must be the bytes LaneRun.save returned, got {len(data)} bytes that are not "
            f"({type(error).__name__}: {_one_line(error)}); use an older checkpoint or start again"
        ) from error
    return record


def check_belongs(
    record: RunRecord, trials: Sequence[TrialConfig], measuring: dict[str, Any], parameters: int
) -> None:
    """Check that a checkpoint belongs to these trials, and that nothing in it is impossible for them.

    Args:
        record: the checkpoint.
        trials: all trials of the run, in its order.
        measuring: the way of measuring, as plain values.
        parameters: P, the weights of one trial.

    Raises:
        CheckpointError: other trials, another order, other budgets, another way of measuring, or values that no
            run of these trials can have.
    """
    for what, saved, asked in (
        ("trials", record.trial_ids, [trial.trial_id for trial in trials]),
        ("budgets in steps", record.budgets, [trial.steps for trial in trials]),
        ("measuring", record.measuring, json.loads(json.dumps(measuring))),
    ):
        if saved != asked:
            raise CheckpointError(
                f"a checkpoint can only continue with the {what} it was saved with: {_difference(saved, asked)}; "
                "pass the same or start again"
            )
    if not (_is_whole(record.lanes) and record.lanes >= 1):
        _impossible("lanes must be a whole number above 0", record.lanes)
    if not (_is_whole(record.next_trial) and 0 <= record.next_trial <= len(trials)):
        _impossible(f"next_trial must lie in 0 to {len(trials)}", record.next_trial)
    indices = [lane.trial_index for lane in record.begun]
    if not all(_is_whole(index) and 0 <= index < record.next_trial for index in indices):
        _impossible(f"trials that have begun must lie in 0 to {record.next_trial - 1}", indices)
    if len(set(indices)) < len(indices):
        _impossible("a trial must run once", indices)
    if not isinstance(record.parking, dict):
        _impossible("what is known for parking must be a mapping", record.parking)
    _check_verdicts(record)
    for name, tensor in record.tensors.items():
        arrived = (tensor.dtype, tuple(tensor.shape))
        if arrived != (torch.float32, (len(indices), parameters)):
            _impossible(f"{name} must be float32 of shape [{len(indices)}, {parameters}]", arrived)
    for lane in record.begun:
        _check_lane(lane, trials[lane.trial_index])


def state_of(
    record: RunRecord, trial: TrialConfig, measuring: MeasuringConfig, parameters: int
) -> tuple[LaneRecord, dict[str, Tensor]]:
    """Return what another run has recorded of a trial that it parked, as this trial would have recorded it.

    The trial may have had another budget there: its rows are given the ends of phases that they have here.

    Args:
        record: the checkpoint of the other run.
        trial: the trial as it continues.
        measuring: how it is watched from now on.
        parameters: P, its weights.

    Raises:
        CheckpointError: the checkpoint does not hold the trial, it was watched in another way, or is damaged.
    """
    if any(len(rows) != len(record.begun) for rows in record.tensors.values()):
        _impossible(
            f"its tensors must have {len(record.begun)} rows", [len(rows) for rows in record.tensors.values()]
        )
    ids = dict(enumerate(record.trial_ids))
    own = [(lane, state) for lane, state in record.states() if ids.get(lane.trial_index) == trial.trial_id]
    if not own:
        raise CheckpointError(f"trial {trial.trial_id} is not in the checkpoint; it begins anew")
    lane, state = own[0]
    if record.measuring != json.loads(json.dumps(dataclasses.asdict(measuring))):
        raise CheckpointError(f"trial {trial.trial_id} was measured in another way; it begins anew")
    _check_verdicts(record)
    lane = dataclasses.replace(lane, history=[_in_phases_of(trial, row) for row in lane.history])
    _check_lane(lane, trial)
    steps = [step for step in steps_in_phases(evaluated_steps, measuring, trial.phases) if step <= lane.age]
    if [row.step for row in lane.history] != steps:
        raise CheckpointError(f"trial {trial.trial_id} was evaluated at other steps; it begins anew")
    if any(tuple(tensor.shape) != (parameters,) for tensor in state.values()):
        _impossible(f"a trial must have {parameters} weights", {name: len(rows) for name, rows in state.items()})
    return lane, state


def verdicts_of(record: RunRecord) -> dict[str, Verdict]:
    """Return what has held for the bits of recorded trials, if this process computes as the one that saved them.

    What is not known of the steps before, as in checkpoints of earlier versions, is not promised.
    """
    same_kernels = record.kernels == kernels_digest()
    begun = (record.trial_ids[lane.trial_index] for lane in record.begun)
    return {
        trial_id: record.verdicts.get(trial_id, NOT_REPRODUCIBLE) if same_kernels else NOT_REPRODUCIBLE
        for trial_id in begun
    }


def restore_parking(parking: Parking, record: RunRecord) -> None:
    """Let a rule of parking continue with what was recorded.

    Raises:
        CheckpointError: the rule cannot have recorded that.
    """
    try:
        parking.go_back(record.parking)
    except (ValueError, TypeError) as error:
        _impossible(str(error), record.parking)


def _check_verdicts(record: RunRecord) -> None:
    if not (isinstance(record.verdicts, dict) and all(said in VERDICTS for said in record.verdicts.values())):
        _impossible(f"verdicts must be one of {', '.join(VERDICTS)} for each trial", record.verdicts)


def _in_phases_of(trial: TrialConfig, row: Measurement) -> Measurement:
    if not (_is_whole(row.phase) and 0 <= row.phase < len(trial.phases)):
        _impossible(f"a row's phase must be one of {trial.phases}", row.phase)
    return dataclasses.replace(row, phase_end_step=trial.phases[row.phase][1])


def _check_version(version: object, has_checksum: bool) -> None:
    if _is_whole(version) and version > FORMAT_VERSION:
        raise CheckpointTooNew(
            f"a checkpoint must have format version {FORMAT_VERSION} at most, got {version}; "
            "continue with the package version that wrote it, or start again"
        )
    if version not in (FORMATS_READ if has_checksum else (FORMAT_WITHOUT_CHECKSUM,)):
        raise CheckpointError(
            f"a checkpoint must have format version {' or '.join(map(str, FORMATS_READ))} and a checksum, or "
            f"{FORMAT_WITHOUT_CHECKSUM} and none, got {_one_line(version)}; use an older checkpoint or start again"
        )


def _check_lane(lane: LaneRecord, trial: TrialConfig) -> None:
    """Check what is recorded of one running trial."""
    if not (_is_whole(lane.age) and 0 <= lane.age < trial.steps and lane.age % BLOCK_STEPS == 0):
        _impossible(f"a running trial's age must be whole blocks of steps below its budget {trial.steps}", lane.age)
    for seconds in (lane.train_wall_s, lane.measure_wall_s):
        if not (_is_number(seconds) and math.isfinite(seconds) and seconds >= 0):
            _impossible("seconds must be finite and at least 0", seconds)
    begins = lane.penalised_from
    if trial.spectral_start != AT_DECLINE:
        if begins != trial.penalised_from:
            _impossible(f"the penalty must begin at step {trial.penalised_from}", begins)
    elif not (begins is None or (_is_whole(begins) and 0 <= begins <= lane.age + BLOCK_STEPS)):
        _impossible("the penalty must begin at a step so far, or not have begun", begins)
    last = -1
    for row in lane.history:
        parts: tuple[_Fields, ...] = (row, *row.complexities, *row.matrices)
        for part in parts:
            _check_fields(part)
        if row.trial_id != trial.trial_id or not last < row.step <= lane.age:
            _impossible(f"rows must be of {trial.trial_id}, in order, up to step {lane.age}", row)
        last = row.step
        phases = trial.phases
        if not 0 <= row.phase < len(phases) or phases[row.phase] != (row.phase_start_step, row.phase_end_step):
            _impossible(f"a row's phase must be one of {phases}", row)


def _check_fields(record: _Fields) -> None:
    """Check that the fields of a dataclass hold words and numbers where they should."""
    for name, allowed in _ALLOWED[type(record)].items():
        value = getattr(record, name)
        if not isinstance(value, allowed) or isinstance(value, bool):
            _impossible(f"{name} must be a {allowed[0].__name__}", value)


def _allowed(record_class: type) -> dict[str, tuple[type, ...]]:
    """Return field -> the types that it may have, for the fields that hold words and numbers."""
    hints = typing.get_type_hints(record_class)
    types = {name: typing.get_args(hint) or (hint,) for name, hint in hints.items()}
    plain = {name: given for name, given in types.items() if {*given} <= {str, int, float, type(None)}}
    return {name: (*given, int) if float in given else given for name, given in plain.items()}


_ALLOWED = {kind: _allowed(kind) for kind in (Measurement, ComplexityMeasurement, MatrixMeasurement)}


def _is_whole(value: object) -> typing.TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> typing.TypeGuard[float]:
    return isinstance(value, float) or _is_whole(value)


def _impossible(must: str, arrived: object) -> NoReturn:
    raise CheckpointError(
        f"a checkpoint is damaged: {must}, got {_one_line(arrived)}; use an older checkpoint or start again"
    )


def _difference(saved: object, asked: object) -> str:
    """Say what was saved and what is asked for, of long lists only the first difference."""
    if isinstance(saved, list) and isinstance(asked, list):
        if len(saved) != len(asked):
            return f"{len(saved)} of them, got {len(asked)}"
        place = next(place for place, (old, new) in enumerate(zip(saved, asked, strict=True)) if old != new)
        return f"{_one_line(saved[place])} at place {place}, got {_one_line(asked[place])}"
    return f"{_one_line(saved)}, got {_one_line(asked)}"


def _one_line(value: object) -> str:
    """Write a value for people, shortened."""
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST_VALUE_CHARACTERS else f"{text[:LONGEST_VALUE_CHARACTERS]} ..."


def _lane_as_dict(lane: LaneRecord) -> dict[str, Any]:
    return {
        "trial_index": lane.trial_index,
        "age": lane.age,
        "train_wall_s": lane.train_wall_s,
        "measure_wall_s": lane.measure_wall_s,
        "penalised_from": lane.penalised_from,
        "history": [_measurement_as_dict(measurement) for measurement in lane.history],
    }


def _lane_from_dict(values: dict[str, Any]) -> LaneRecord:
    return LaneRecord(**{**values, "history": [_measurement_from_dict(row) for row in values["history"]]})


def _measurement_as_dict(measurement: Measurement) -> dict[str, Any]:
    """Dump everything but the network and the ending, which no measurement of a running trial has."""
    return dataclasses.asdict(dataclasses.replace(measurement, network=None, end=None))


def _measurement_from_dict(values: dict[str, Any]) -> Measurement:
    return Measurement(
        **{
            "logit_scale": None,  # absent before format 7
            **values,
            "complexities": tuple(ComplexityMeasurement(**row) for row in values["complexities"]),
            "matrices": tuple(MatrixMeasurement(**row) for row in values["matrices"]),
        }
    )
