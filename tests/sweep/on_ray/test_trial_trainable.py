"""TrialTrainable and DeclineStopper: by themselves, and under a real Ray Tune."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from ray import tune
from ray.tune.schedulers import FIFOScheduler

from analysis.stopping.decline import DeclineParameters, first_stop
from analysis.trajectory import Trajectory
from sweep.errors import SpecificationError
from sweep.on_ray.cluster import RaySession
from sweep.on_ray.trial_trainable import DeclineStopper, TrialTrainable, trial_of
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.errors import CheckpointError
from trainables.lanes import train
from trainables.measurement import Measurement
from trainables.schedule import MeasuringConfig

EXAMPLES = Path(__file__).parents[3] / "examples"
TINY: dict[str, Any] = {"modulus": 7, "width": 8, "heads": 2, "data_fraction": 0.6, "steps": 200}
TINY_TRIAL = TrialConfig(
    task=TaskConfig(modulus=7), model=ModelConfig(width=8, heads=2), data_fraction=0.6, steps=200
)
NOT_COMPARED = {"train_wall_s", "measure_wall_s", "trial_id", "complexities", "matrices", "network", "end"}


def comparable(result: dict[str, Any]) -> dict[str, Any]:
    """The part of a result that must not depend on how it came about; NaN made equal to itself."""
    names = [field.name for field in dataclasses.fields(Measurement) if field.name in result]
    values = {name: result[name] for name in names if name not in NOT_COMPARED}
    return {name: None if value != value else value for name, value in values.items()}


def results_of(trainable: TrialTrainable) -> list[dict[str, Any]]:
    results = [trainable.train()]
    while not results[-1]["done"]:
        results.append(trainable.train())
    return results


@pytest.fixture(scope="module")
def undisturbed() -> list[dict[str, Any]]:
    return results_of(TrialTrainable(dict(TINY)))


# Damaged checkpoints


def damaged(data: bytes, how: str) -> bytes:
    """Alter, cut or empty a file."""
    place = len(data) - 12
    return {
        "altered": data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :],
        "cut": data[:place],
        "empty": b"",
    }[how]


@pytest.mark.parametrize("name", ["trial.safetensors", "waiting.json"])
def test_a_damaged_checkpoint_is_a_clear_error(name: str, tmp_path: Path) -> None:
    trainable = TrialTrainable(dict(TINY))
    trainable.train()
    trainable.save_checkpoint(str(tmp_path))
    trainable.load_checkpoint(str(tmp_path))
    sound = (tmp_path / name).read_bytes()
    for how in ("altered", "cut", "empty"):
        (tmp_path / name).write_bytes(damaged(sound, how))
        with pytest.raises(CheckpointError, match=f"checkpoint in {tmp_path} cannot be resumed") as caught:
            trainable.load_checkpoint(str(tmp_path))
        assert "\n" not in str(caught.value)
    (tmp_path / name).unlink()
    with pytest.raises(CheckpointError, match="No such file"):
        trainable.load_checkpoint(str(tmp_path))


def test_waiting_results_of_before_are_read(tmp_path: Path) -> None:
    trainable = TrialTrainable(dict(TINY))
    trainable.train()
    trainable.save_checkpoint(str(tmp_path))
    (tmp_path / "waiting.json").write_text('[{"step": 3}]')
    trainable.load_checkpoint(str(tmp_path))
    assert trainable.step() == {"step": 3}


# The search space


@pytest.mark.parametrize(
    "space",
    [
        {"modulus": 11, "width": 16, "weight_decay": 0.5},
        {"task.modulus": 11, "model.width": 16, "weight_decay": 0.5},
        {"task": {"modulus": 11}, "model": {"width": 16}, "weight_decay": 0.5},
        {"modulus": np.int64(11), "width": 16.0, "weight_decay": np.float64(0.5)},
    ],
    ids=["short", "dotted", "nested", "as samplers draw them"],
)
def test_spellings_of_one_trial(space: dict[str, Any]) -> None:
    trial, measuring = trial_of(space)
    assert trial == TrialConfig(task=TaskConfig(modulus=11), model=ModelConfig(width=16), weight_decay=0.5)
    assert measuring == MeasuringConfig()


def test_every_field_has_its_place() -> None:
    trial = dataclasses.replace(TINY_TRIAL, label_noise=0.1, seed=7, batch_size=5, adam_beta1=0.8)
    measuring = MeasuringConfig(epsilon=0.5, extra_epsilons=(0.2,), evaluate_ratio=1.5, grokked_at=0.9)
    values = {**trial.as_dict(), **dataclasses.asdict(measuring)}
    for part in ("task", "model"):
        del values[part]["source"]
    assert trial_of(values) == (trial, measuring)


def test_all_mistakes_at_once_with_the_nearest_names() -> None:
    with pytest.raises(SpecificationError) as refused:
        trial_of({"weight_decy": 1, "model.widthh": 8, "data_fraction": 2, "modulus": [7, 11], "stop": "none"})
    text = str(refused.value)
    assert "'weight_decy'; did you mean 'weight_decay'?" in text
    assert "'model.widthh'; did you mean 'model.width'?" in text
    assert "data_fraction" in text
    assert "a trial has one modulus, got [7, 11]" in text
    assert "unknown key 'stop'" in text


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"steps": 1e308}, "steps"),
        ({"steps": 10**12, "evaluate_ratio": 1.0000001}, "evaluate_ratio"),
        ({"epsilon": 1e-300}, "epsilon"),
        ({"layers": 10**9}, "layers"),
        ({"seed": 2**70}, "seed"),
        ({"weight_decay": [0.1] * 1_000_000}, "weight_decay may have at most 10,000 values"),
        ({"extra_epsilons": list(range(1, 9_000))}, "extra_epsilons"),
        ({"drift": functools.reduce(lambda inner, _: {1: inner}, range(3_000), 1)}, "nested at most"),
        (functools.reduce(lambda inner, _: {"task": inner}, range(3_000), 1), "nested at most"),
    ],
)
def test_bounds_are_those_of_a_specification(space: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecificationError, match=message) as refused:
        TrialTrainable.default_resource_request({**TINY, **space})
    assert len(str(refused.value)) < 2_000


def test_a_setting_given_twice() -> None:
    with pytest.raises(SpecificationError, match=r"task\.modulus is given more than once"):
        trial_of({"modulus": 7, "task.modulus": 11})


def test_a_penalty_that_waits_for_the_decline_has_someone_to_ask() -> None:
    late = {**TINY, "spectral_entropy_weight": 0.1, "spectral_start": "at_decline", "steps": 40}
    assert results_of(TrialTrainable(late))[-1]["ended_because"] == "budget"


# One trial in this process


def test_one_result_for_each_evaluated_step(undisturbed: list[dict[str, Any]]) -> None:
    measurements = list(train([TINY_TRIAL]))
    assert [comparable(result) for result in undisturbed] == [
        comparable(dataclasses.asdict(measurement)) for measurement in measurements
    ]
    assert {result["sweep_trial_id"] for result in undisturbed} == {TINY_TRIAL.trial_id}


def test_the_last_result_says_why(undisturbed: list[dict[str, Any]]) -> None:
    assert [result["done"] for result in undisturbed] == [False] * (len(undisturbed) - 1) + [True]
    assert undisturbed[-1]["ended_because"] == "budget"
    assert undisturbed[-1]["ended_reason"]
    assert undisturbed[0]["ended_because"] is None
    assert all(result.keys() >= undisturbed[0].keys() for result in undisturbed)


def test_unmeasured_complexity_is_nan(undisturbed: list[dict[str, Any]]) -> None:
    measured = [not math.isnan(result["complexity_bytes"]) for result in undisturbed]
    assert any(measured)
    assert not all(measured)


@pytest.mark.parametrize("after", [1, 2, 13, 20, 24])
def test_restored_trial_goes_on_bit_for_bit(undisturbed: list[dict[str, Any]], tmp_path: Path, after: int) -> None:
    first = TrialTrainable(dict(TINY))
    for _ in range(after):
        first.train()
    checkpoint = first.save(str(tmp_path))
    second = TrialTrainable(dict(TINY))
    second.restore(checkpoint)
    assert [comparable(result) for result in results_of(second)] == [
        comparable(result) for result in undisturbed[after:]
    ]


def test_reused_process_starts_from_nothing(undisturbed: list[dict[str, Any]]) -> None:
    trainable = TrialTrainable({**TINY, "weight_decay": 0.1, "seed": 5})
    trainable.train()
    assert trainable.reset(dict(TINY))
    assert [comparable(result) for result in results_of(trainable)] == [
        comparable(result) for result in undisturbed
    ]


# The stopper by itself

STEPS = np.array([*range(0, 64, 8), *range(64, 6400, 64)])


def memorising_only(complexity_every: int = 2) -> Trajectory:
    """Memorises at step 40 and stays there."""
    complexity = np.where(np.arange(len(STEPS)) % complexity_every == 0, 5000.0, np.nan)
    return Trajectory.of(STEPS, np.where(STEPS >= 40, 1.0, 0.3), np.full(len(STEPS), 0.2), complexity)


def grokking() -> Trajectory:
    """Memorises at step 40, groks from step 800 on, complexity falling with it."""
    risen = STEPS >= 800
    return Trajectory.of(
        STEPS, np.where(STEPS >= 40, 1.0, 0.3), np.where(risen, 1.0, 0.2), np.where(risen, 2000.0, 5000.0)
    )


def rows_of(trajectory: Trajectory) -> list[dict[str, Any]]:
    names = ("step", "train_accuracy", "val_accuracy", "complexity_bytes")
    return [
        dict(zip(names, values, strict=True))
        for values in zip(*(getattr(trajectory, name).tolist() for name in names), strict=True)
    ]


def first_true(stopper: DeclineStopper, rows: list[dict[str, Any]], trial_id: str = "a") -> int | None:
    return next((row["step"] for row in rows if stopper(trial_id, row)), None)


def test_stops_where_the_rule_does() -> None:
    expected = first_stop(memorising_only(), 6400)
    stopper = DeclineStopper(6400, audit_share=0)
    assert expected is not None
    assert first_true(stopper, rows_of(memorising_only())) == expected
    assert stopper.stops["a"].step == expected
    assert "Memorised at step" in stopper.stops["a"].reason
    assert 0 <= stopper.stops["a"].probability <= 1
    assert not stopper.stop_all()


def test_does_not_stop_a_grokking_trial() -> None:
    stopper = DeclineStopper(6400, audit_share=0)
    assert first_true(stopper, rows_of(grokking())) is None
    assert stopper.stops == {}


def test_unmeasured_may_be_none() -> None:
    rows = rows_of(memorising_only())
    as_none = [{**row, "complexity_bytes": None} if math.isnan(row["complexity_bytes"]) else row for row in rows]
    assert first_true(DeclineStopper(6400, audit_share=0), as_none) == first_stop(memorising_only(), 6400)


def test_audited_trials_are_marked_and_go_on() -> None:
    stopper = DeclineStopper(6400, audit_share=1)
    assert first_true(stopper, rows_of(memorising_only())) is None
    assert stopper.stops["a"].audited
    assert stopper.stops["a"].step == first_stop(memorising_only(), 6400)


def test_trials_are_judged_apart() -> None:
    stopper = DeclineStopper(6400, audit_share=0)
    stopped = set()
    for one, other in zip(rows_of(memorising_only()), rows_of(grokking()), strict=True):
        stopped |= {name for name, row in (("one", one), ("other", other)) if stopper(name, row)}
    assert stopped == {"one"}


def test_a_trial_that_went_back_to_a_checkpoint() -> None:
    rows = rows_of(memorising_only())
    stopper = DeclineStopper(6400, audit_share=0)
    assert first_true(stopper, [*rows[:20], *rows[10:]]) == first_stop(memorising_only(), 6400)


def test_a_trial_whose_training_set_was_exchanged_is_judged_by_the_present_one() -> None:
    first = [{**row, "phase_start_step": 0, "phase_end_step": 6400} for row in rows_of(grokking())]
    later = [
        {**row, "step": 6400 + row["step"], "phase_start_step": 6400, "phase_end_step": 12_800}
        for row in rows_of(memorising_only())
        if row["step"]
    ]
    expected = first_stop(memorising_only(), 6400)
    assert expected is not None
    stopper = DeclineStopper(12_800, audit_share=0)
    assert first_true(stopper, [*first, *later]) == 6400 + expected


def test_a_space_may_exchange_training_sets() -> None:
    trial, _ = trial_of({"drift": {64: {"split": 1}}, "steps": 200})
    assert trial.drift.as_dict() == {"64": {"split": 1}}


def test_parameters_count() -> None:
    patient = DeclineParameters(patience=100)
    stopper = DeclineStopper(6400, patient, audit_share=0)
    assert first_true(stopper, rows_of(memorising_only())) == first_stop(memorising_only(), 6400, patient)


def test_results_without_what_the_rule_needs() -> None:
    with pytest.raises(ValueError, match="none named 'train_accuracy'"):
        DeclineStopper(6400)("a", {"step": 1})


def test_audit_share_is_a_share() -> None:
    with pytest.raises(ValueError, match="audit_share"):
        DeclineStopper(6400, audit_share=10)


# Under Ray Tune


class Recorder(tune.Callback):
    """Keeps every result, by the trial's seed."""

    def __init__(self) -> None:
        self.results: dict[int, list[dict[str, Any]]] = {}

    def on_trial_result(self, iteration, trials, trial, result, **info) -> None:
        self.results.setdefault(trial.config["seed"], []).append(result)


class PausingScheduler(FIFOScheduler):
    """Pauses a running trial after every fifth result, so that trials take turns in one process."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses = 0

    def on_trial_result(self, tune_controller, trial, result) -> str:
        if result["training_iteration"] % 5:
            return self.CONTINUE
        self.pauses += 1
        return self.PAUSE


def test_paused_trials_go_on_bit_for_bit(
    ray_session: RaySession, undisturbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    scheduler, recorder = PausingScheduler(), Recorder()
    grid = tune.Tuner(
        TrialTrainable,
        param_space={**TINY, "seed": tune.grid_search([0, 1])},
        tune_config=tune.TuneConfig(scheduler=scheduler, reuse_actors=True, max_concurrent_trials=1),
        run_config=tune.RunConfig(storage_path=str(tmp_path), callbacks=[recorder], verbose=0),
    ).fit()
    assert grid.num_errors == 0
    assert scheduler.pauses >= 8
    assert [comparable(result) for result in recorder.results[0]] == [comparable(result) for result in undisturbed]
    assert [result["step"] for result in recorder.results[1]] == [result["step"] for result in undisturbed]


def test_unknown_keys_are_refused_before_any_process_starts(ray_session: RaySession, tmp_path: Path) -> None:
    tuner = tune.Tuner(
        TrialTrainable,
        param_space={**TINY, "weight_decy": tune.loguniform(0.1, 1)},
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    )
    with pytest.raises(SpecificationError, match="did you mean 'weight_decay'"):
        tuner.fit()


def anyones_trainable(config: dict[str, Any]) -> None:
    for row in rows_of(grokking() if config["groks"] else memorising_only()):
        tune.report(row)


def test_stopper_on_somebody_elses_trainable(ray_session: RaySession, tmp_path: Path) -> None:
    stopper = DeclineStopper(6400, audit_share=0)
    grid = tune.Tuner(
        anyones_trainable,
        param_space={"groks": tune.grid_search([True, False])},
        run_config=tune.RunConfig(storage_path=str(tmp_path), stop=stopper, verbose=0),
    ).fit()
    last = {result.config["groks"]: result.metrics for result in grid}
    assert last[True]["step"] == STEPS[-1]
    assert last[False]["step"] == first_stop(memorising_only(), 6400)
    assert stopper.stops.keys() == {last[False]["trial_id"]}


def example(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_example_asha(ray_session: RaySession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = example("tune_asha").main(steps=256, samples=4, modulus=7, width=8, results=tmp_path)
    assert grid.num_errors == 0
    steps = [result.metrics["step"] for result in grid]
    assert max(steps) == 256
    assert min(steps) >= 64
    assert "best of 4 trials" in capsys.readouterr().out


def test_example_decline(ray_session: RaySession, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid, stopper = example("tune_decline").main(steps=256, samples=4, modulus=7, width=8, results=tmp_path)
    assert grid.num_errors == 0
    for result in grid:
        stop = stopper.stops.get(result.metrics["trial_id"])
        stopped = stop is not None and not stop.audited
        assert result.metrics["step"] == (stop.step if stopped else 256)
    assert capsys.readouterr().out.count("weight decay") >= 4
