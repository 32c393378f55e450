"""One trial as an ordinary Ray Tune trainable, and the decline rule as an ordinary Tune stopper.

For your own scripts, with any searcher, scheduler, stopper and logger:

    tuner = tune.Tuner(
        TrialTrainable,
        param_space={"weight_decay": tune.loguniform(0.01, 1), "modulus": 59, "steps": 20_000},
        run_config=tune.RunConfig(stop=DeclineStopper(budget_steps=20_000)),
    )

`sweep run` trains many trials in one process instead, see `sweep.training.cohort_training`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from ray import tune

from analysis.events import Thresholds
from analysis.stopping.decline import DeclineParameters, is_audited, stop_decision
from analysis.trajectory import Trajectory, phase_budget_steps
from sweep.errors import Problem, SpecificationError
from sweep.on_ray.scheduler.reported import Columns, Row, Stop, of_last_phase, row_of, take_in
from sweep.specification.bounds import oversized
from sweep.specification.config import SweepConfig, check_feasible
from sweep.specification.problems import nearest
from sweep.specification.trials import trials
from sweep.training.watch import decline_seen, thresholds_of
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.errors import CheckpointError, shown
from trainables.lanes import LaneRun
from trainables.lanes.company import warn_of_company
from trainables.measurement import Measurement
from trainables.schedule import MeasuringConfig

_NETWORK_FILE = "trial.safetensors"
_WAITING_FILE = "waiting.json"

#: Fields of a `Measurement` that are not results of their own; Tune has a `trial_id` itself.
_NOT_REPORTED = frozenset({"trial_id", "complexities", "matrices", "network", "end"})


class TrialTrainable(tune.Trainable):  # type: ignore[misc]
    """Trains one trial; one evaluated step is one Tune result.

    `param_space` holds settings of the trial (`weight_decay`, `data_fraction`, `steps`, `seed`, ...), of its task
    and model (`modulus`, `task.modulus` or `{"task": {"modulus": ...}}`) and of measuring (`epsilon`,
    `evaluate_ratio`, ...), named as in a specification. Fields that are left out have the same default as there.

    A result has all scalar fields of `trainables.Measurement`: `step`, `train_loss`, `val_accuracy`, `l2_norm`, ...
    `complexity_bytes` and `description_length_bits` are NaN at steps where complexity was not measured.
    `sweep_trial_id` is the trial's id in results of `sweep`. The last result also has `done`, `ended_because` and
    `ended_reason`.

    Raises:
        SpecificationError: unknown keys and impossible values, all at once, before any training; in the driver if
            the trainable is used as it is, in the trial if it is wrapped in `tune.with_resources`.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> None:
        """Return Tune's default resources, after checking `config`: Tune asks before a trial's process starts."""
        trial_of(config)

    def setup(self, config: dict[str, Any]) -> None:
        """Start the trial from step 0."""
        self._trial, self._measuring = trial_of(config)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._waiting: deque[dict[str, Any]] = deque()
        self._declined = decline_seen(thresholds_of(self._measuring, self._trial.task))
        self._run = LaneRun(
            [self._trial], measuring=self._measuring, declined=self._declined, lanes=1, device=self._device
        )
        warn_of_company(self._run.dependent_computations, self._run.device)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start another trial in this process (`reuse_actors=True`)."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train to the next evaluated step and return its measurement."""
        while not self._waiting:
            self._waiting.extend(_result(measurement) for measurement in self._run.advance(1))
        return self._waiting.popleft()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save the training state and the measurements that Tune has not received yet."""
        folder = Path(checkpoint_dir)
        # `advance` may return several measurements, of which Tune takes one at a time; the rest are not in the run
        # any more.
        (folder / _NETWORK_FILE).write_bytes(self._run.save())
        waiting = json.dumps(list(self._waiting))
        stated = {"blake2b": _digest(waiting), "waiting": waiting}
        (folder / _WAITING_FILE).write_text(json.dumps(stated), encoding="utf-8")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Resume from a checkpoint, bit for bit as if the trial had not been interrupted (on a CPU).

        Raises:
            CheckpointError: the checkpoint is damaged, incomplete, or of another trial.
        """
        folder = Path(checkpoint_dir)
        try:
            self._run = LaneRun.restore(
                (folder / _NETWORK_FILE).read_bytes(),
                [self._trial],
                measuring=self._measuring,
                declined=self._declined,
                device=self._device,
            )
            self._waiting = deque(_waiting_of((folder / _WAITING_FILE).read_bytes()))
        except (OSError, CheckpointError) as error:
            raise CheckpointError(f"Tune's checkpoint in {folder} cannot be resumed from: {error}") from None


def _waiting_of(data: bytes) -> list[dict[str, Any]]:
    """Read the measurements that Tune has not received yet; written without a checksum before, as a list."""
    try:
        stated = json.loads(data)
        if isinstance(stated, dict):
            if stated["blake2b"] != _digest(stated["waiting"]):
                raise ValueError("its checksum does not match")
            stated = json.loads(stated["waiting"])
        if not (isinstance(stated, list) and all(isinstance(result, dict) for result in stated)):
            raise ValueError("it is no list of results")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{_WAITING_FILE} must be as it was written ({error}); use an older checkpoint or start the trial again"
        ) from None
    return stated


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


_COLUMNS = Columns(
    step="step",
    train_accuracy="train_accuracy",
    val_accuracy="val_accuracy",
    complexity_bytes="complexity_bytes",
    val_loss=None,
)


class DeclineStopper(tune.Stopper):  # type: ignore[misc]
    """Stops trials whose complexity will not decline within their budget, by `stop_decision`.

    The function is in `analysis.stopping.decline`. Works with every trainable that reports `step`,
    `train_accuracy`, `val_accuracy` and `complexity_bytes` (None or NaN where complexity was not measured). A trial
    with drift reports `phase_start_step` and `phase_end_step`, too, and is judged by its current phase.

    Attributes:
        stops: Tune's trial id -> `Stop`, for stopped and for marked trials.
    """

    def __init__(
        self,
        budget_steps: int,
        parameters: DeclineParameters = DeclineParameters(),  # noqa: B008 (frozen)
        *,
        audit_share: float = SweepConfig.model_fields["audit_share"].default,
        thresholds: Thresholds = Thresholds(),  # noqa: B008 (frozen)
    ) -> None:
        """Set up the rule.

        Args:
            budget_steps: optimiser updates a trial is allowed.
            parameters: parameters of the decline rule.
            audit_share: share of trials that are never stopped, only marked: they show how often the rule is wrong.
                They are chosen by `sweep_trial_id` if it is reported, otherwise by Tune's trial id.
            thresholds: the thresholds for memorised, grokked and declined.
        """
        if not 0 <= audit_share <= 1:
            raise ValueError(f"audit_share must lie in [0, 1], got {audit_share}")
        self.stops: dict[str, Stop] = {}
        self._budget_steps = budget_steps
        self._parameters = parameters
        self._audit_share = audit_share
        self._thresholds = thresholds
        self._rows: dict[str, list[Row]] = {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Decide whether to stop the trial after this result."""
        rows = self._rows.setdefault(trial_id, [])
        row = row_of(result, _COLUMNS, self._budget_steps, type(self).__name__)
        take_in(rows, row)
        if trial_id in self.stops:
            return not self.stops[trial_id].audited
        decision = stop_decision(
            Trajectory.of_phase(of_last_phase(rows)), phase_budget_steps(row), self._parameters, self._thresholds
        )
        if not decision.stop:
            return False
        # Marked as it goes, not by a replay at the end as in `TrialWatch`: Tune does not tell which result is last.
        audited = is_audited(str(result.get("sweep_trial_id", trial_id)), self._audit_share)
        self.stops[trial_id] = Stop(row.step, decision.reason, decision.probability, audited)
        return not audited

    def stop_all(self) -> bool:
        """Return False: each trial is judged by itself."""
        return False


def trial_of(space: Mapping[str, Any]) -> tuple[TrialConfig, MeasuringConfig]:
    """Build the trial, and how it is measured, from a sampled `param_space`.

    Args:
        space: keys as in a specification: nested, dotted, or the last part of a dotted key alone.

    Raises:
        SpecificationError: there are problems; the message lists every unknown key, wrong type and impossible
            value.
    """
    too_large = oversized(space)
    if too_large is not None:
        raise SpecificationError([too_large])
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for key, value in _flat(space):
        place = _PLACES.get(key)
        if place is None:
            problems.append(Problem((key,), f"unknown key {shown(key)}{nearest(key, _PLACES)}"))
            continue
        *outer, name = place
        target = values.setdefault(outer[0], {}) if outer else values
        if name in target:
            problems.append(Problem((key,), f"{'.'.join(place)} is given more than once; keep one"))
        elif isinstance(value, (list, tuple)) and name != "extra_epsilons":
            message = f"a trial has one {key}, got {shown(value)}; draw one with tune.choice or tune.grid_search"
            problems.append(Problem((key,), message))
        else:
            target[name] = value
    if "seed" in values:
        values["seeds"] = [values.pop("seed")]
    try:
        config = SweepConfig(**values)
        check_feasible(config)
    except SpecificationError as error:
        raise SpecificationError([*problems, *error.problems]) from None
    if problems:
        raise SpecificationError(problems)
    return trials(config)[0], config.measuring


def _places() -> dict[str, tuple[str, ...]]:
    places: dict[str, tuple[str, ...]] = {
        field.name: (field.name,)
        for config in (TrialConfig, MeasuringConfig)
        for field in dataclasses.fields(config)
        if field.name not in ("task", "model")
    }
    for part, config in (("task", TaskConfig), ("model", ModelConfig)):
        for field in dataclasses.fields(config):
            if field.name == "source":  # not a setting: it follows from the registered name
                continue
            places[f"{part}.{field.name}"] = places[field.name] = (part, field.name)
    return places


#: Every key of a `param_space` -> its place in a specification.
_PLACES = _places()


def _flat(space: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in space.items():
        # A drift is one setting although it is a mapping, of steps to what is exchanged there.
        if isinstance(value, Mapping) and f"{prefix}{key}" != "drift":
            yield from _flat(value, f"{prefix}{key}.")
        else:
            # Tune's samplers return numpy's numbers.
            yield f"{prefix}{key}", value.item() if hasattr(value, "item") else value


def _result(measurement: Measurement) -> dict[str, Any]:
    result = {
        field.name: getattr(measurement, field.name)
        for field in dataclasses.fields(measurement)
        if field.name not in _NOT_REPORTED
    }
    ending = measurement.end.ending if measurement.end else None
    return {
        **{name: math.nan if value is None else value for name, value in result.items()},
        "sweep_trial_id": measurement.trial_id,
        "done": ending is not None,
        "ended_because": ending.because if ending else None,
        "ended_reason": ending.reason if ending else None,
    }
