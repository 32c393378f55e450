"""Drift: what may be asked for, what each phase trains on, and that company and interruptions change nothing."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from tests.trainables.comparing import comparable, rows_of
from trainables.config import ModelConfig, TaskConfig, TrialConfig, identity, trial_from_dict
from trainables.config.drift import Drift
from trainables.errors import ConfigError
from trainables.lanes import LaneRun, shape_key, train
from trainables.measurement import Measurement
from trainables.random import generator
from trainables.schedule import MeasuringConfig, evaluated_steps, measured_steps, steps_in_phases
from trainables.tasks import build_task
from trainables.tasks.phases import check_drift, phase_split, phase_task, shifted

RARELY = MeasuringConfig(measure_ratio=1e6)
EVERYTHING = {64: {"split": 1}, 128: {"family": "subtraction", "shift": 0.5}, 160: {}}


def trial(**values: Any) -> TrialConfig:
    defaults = {"task": TaskConfig(modulus=11), "model": ModelConfig(width=8, heads=2), "batch_size": 17}
    drift = {"drift": Drift.of(values.pop("drift"))} if "drift" in values else {}
    return TrialConfig(**{**defaults, "data_fraction": 0.4, "steps": 200, **drift, **values})


def test_a_trial_with_drift_is_another_trial_and_survives_a_dictionary() -> None:
    one = trial(drift=EVERYTHING)
    assert trial_from_dict(one.as_dict()) == one
    assert one.as_dict()["drift"] == {"64": {"split": 1}, "128": {"family": "subtraction", "shift": 0.5}, "160": {}}
    assert set(identity(one)) - set(identity(trial())) == {"drift"}
    assert one.phases == ((0, 64), (64, 128), (128, 160), (160, 200))
    assert [one.phase_at(age) for age in (0, 63, 64, 127, 128, 160, 199)] == [0, 0, 1, 1, 2, 3, 3]


def test_what_means_the_same_has_one_id() -> None:
    same: list[Any] = [{64: {"split": 1}}, {"33": {"split": 1}}, {6.4e1: {"split": 1}}]
    same.append({64: {"split": 1, "shift": 0, "family": "addition"}})
    assert len({trial(drift=drift).trial_id for drift in same}) == 1
    assert trial(drift={}).trial_id == trial().trial_id


@pytest.mark.parametrize(
    ("drift", "message"),
    [
        ({128: {"split": 1}, 64: {"split": 2}}, "drift needs increasing steps, .* got 64 after 128"),
        ({33: {"split": 1}, 64: {"split": 2}}, "drift needs increasing steps, .* got 64 after 64"),
        ({192: {"split": 1}, 200: {}}, "drift must come before the end of the budget, .* got 224 for 200 steps"),
        ({0: {"split": 1}}, "whole numbers from 1 to 1,000,000,000, got 0"),
        ({"soon": {"split": 1}}, "whole numbers from 1 to 1,000,000,000, got 'soon'"),
        ({64: {"shift": math.inf}}, "drift at step 64: shift must be a finite number, got inf"),
        ({64: {"split": -1}}, "drift at step 64: split must be a whole number of at least 0, got -1"),
        ({64: {"fam": "addition"}}, "drift at step 64: unknown key 'fam'; did you mean 'family'?"),
        ({64: 1}, "drift at step 64 must be a mapping"),
        ([64], "drift must be a mapping"),
        ({64: {}}, "drift at step 64 must change the training set"),
        ({64: {"family": "addition"}}, "drift at step 64 must change the training set"),
        ({64: {"split": 1}, 96: {"split": 1}}, "drift at step 96 must change the training set"),
    ],
)
def test_impossible_exchanges_say_what_must_hold(drift: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trial(drift=drift)


@pytest.mark.parametrize(
    ("drift", "message"),
    [
        ({64: {"family": "subtract"}}, "drift at step 64: .* got 'subtract'; try subtraction"),
        (
            {64: {"family": "division"}},
            r"drift at step 64: family must .* as addition modulo 11, got division modulo 11 with examples 110 "
            "instead of 121",
        ),
        ({64: {"shift": 0.01}}, "drift at step 64: shift must move the inputs, got 0.01"),
        ({64: {"shift": 1}}, "shift must move the inputs, got 1, .* of tokens no whole number"),
    ],
)
def test_what_the_tables_refuse_is_refused_before_training(drift: Any, message: str) -> None:
    one = trial(drift=drift)
    for check in (lambda: check_drift(one.task, one.drift), lambda: shape_key(one), lambda: train([one])):
        with pytest.raises(ConfigError, match=message):
            check()


def test_the_training_set_of_each_phase() -> None:
    one = trial(drift=EVERYTHING, label_noise=0.1)
    tasks = [phase_task(one, phase) for phase in range(4)]
    splits = [phase_split(one, phase, task) for phase, task in enumerate(tasks)]
    assert tasks[0] is tasks[1] is tasks[3] is build_task(one.task)
    assert torch.equal(splits[0].train, splits[3].train)
    assert torch.equal(splits[0].train, splits[2].train), "what is not said is as in phase 0"
    others = [phase_split(trial(drift={64: {"split": k}}), 1, tasks[0]).train for k in (1, 2)]
    assert torch.equal(splits[1].train, others[0])
    distinct = {tuple(sorted(train.tolist())) for train in (splits[0].train, *others)}
    assert len(distinct) == 3
    assert [int(split.corrupted.sum()) for split in splits] == [5] * 4

    subtraction = build_task(TaskConfig(family="subtraction", modulus=11))
    assert torch.equal(tasks[2].targets, subtraction.targets)
    # round(0.5 x 11) = 6 further on in the circle of the eleven numbers; operation and `=` stay.
    assert torch.equal(tasks[2].inputs[:, [0, 2]], (subtraction.inputs[:, [0, 2]] + 6) % 11)
    assert torch.equal(tasks[2].inputs[:, [1, 3]], subtraction.inputs[:, [1, 3]])


def test_real_features_are_shifted_by_their_standard_deviation() -> None:
    features = torch.tensor([[1.0, 10.0, 5.0], [3.0, 30.0, 5.0]])
    assert shifted(features, 0.5).tolist() == [[1.5, 15.0, 5.0], [3.5, 35.0, 5.0]]


def test_each_phase_is_evaluated_and_measured_from_its_beginning() -> None:
    measuring = MeasuringConfig()
    phases = ((0, 320), (320, 1600), (1600, 1700))
    evaluated = steps_in_phases(evaluated_steps, measuring, phases)
    measured = steps_in_phases(measured_steps, measuring, phases)
    assert set(measured) <= set(evaluated)
    assert [step for step in evaluated if step <= 320] == list(evaluated_steps(measuring, 320))
    for start, end in phases[1:]:
        own = [step - start for step in evaluated if start < step <= end]
        assert own == list(evaluated_steps(measuring, end - start))[1:]
        own = [step - start for step in measured if start < step <= end]
        assert own == [1, *measured_steps(measuring, end - start)[1:]]


def test_rows_say_their_phase_and_are_about_its_training_set() -> None:
    one = trial(drift=EVERYTHING, label_noise=0.2)
    rows = list(train([one], measuring=RARELY))
    assert [m.step for m in rows] == list(steps_in_phases(evaluated_steps, RARELY, one.phases))
    for start, end in one.phases:
        own = [m for m in rows if (m.phase_start_step, m.phase_end_step) == (start, end)]
        assert {m.phase for m in own} == {one.phases.index((start, end))}
        assert (own[0].step, own[-1].step) == (start + 1 if start else 0, end)
        assert own[0].complexity_bytes is not None
        assert own[-1].complexity_bytes is not None
    at = {m.step: m for m in rows}
    assert at[64].train_accuracy > at[65].train_accuracy, "half of the new split has not been seen"
    before = at[64].network
    assert before is not None
    assert [m.end is None for m in rows] == [True] * (len(rows) - 1) + [False]


def test_training_goes_on_as_it_would_by_hand() -> None:
    """Weights and moments continue; epochs and batches are of the new training set, counted from the exchange."""
    one = trial(drift={64: {"split": 1, "family": "subtraction"}}, steps=96)
    run = LaneRun([one], measuring=RARELY)
    run.advance(2)
    lane = run._lanes.running()[0]
    task = phase_task(one, 1)
    other = phase_split(one, 1, task).train
    per_epoch = len(other) // 17
    expected = [
        other[torch.randperm(len(other), generator=generator(0, "batches", 1, step // per_epoch))][
            step % per_epoch * 17 :
        ][:17]
        for step in range(4)
    ]
    assert torch.equal(lane.next_batches(4, 17), torch.stack(expected))
    moments = run._lanes.second_moment.abs().sum()
    run.advance(1)
    assert moments > 0
    assert run.finished


def company(**shape: Any) -> list[TrialConfig]:
    """Others of the shape, in other phases at the same time, and without any."""
    drifts: list[Any] = [{}, {32: {"shift": 0.3}}, {96: {"split": 2}, 128: {"family": "square_sum"}}, {}]
    return [
        trial(**shape, drift=drift, data_fraction=0.35 + 0.05 * i, seed=i, steps=201 - i)
        for i, drift in enumerate(drifts)
    ]


SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "penalty and noise": {"spectral_entropy_weight": 0.1, "weight_noise": 1e-2, "label_noise": 0.1},
    "lane by lane": {"model": ModelConfig(width=8, heads=2, hidden_width=863), "batch_size": 38},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_a_trial_with_drift_has_the_same_rows_alone_and_in_any_company(shape: dict[str, Any]) -> None:
    one = trial(**shape, drift=EVERYTHING, seed=7, weight_decay=0.3)
    others = company(**shape)
    assert {shape_key(other) for other in others} == {shape_key(one)}
    alone = rows_of(one.trial_id, train([one], measuring=RARELY))
    assert len(alone) == len(steps_in_phases(evaluated_steps, RARELY, one.phases))
    assert rows_of(one.trial_id, train([*others, one], measuring=RARELY, lanes=4)) == alone


def test_until_the_exchange_a_trial_is_the_one_without() -> None:
    with_drift, without = trial(drift={96: {"split": 1}}), trial()

    def until(config: TrialConfig) -> list[Measurement]:
        rows = train([config], measuring=RARELY)
        return [dataclasses.replace(m, trial_id="", phase_end_step=0) for m in rows if m.step <= 70]

    assert [comparable(m) for m in until(with_drift)] == [comparable(m) for m in until(without)]


def test_a_run_restored_after_every_block_has_the_same_rows() -> None:
    trials = [trial(drift=EVERYTHING, seed=9, weight_noise=1e-2), *company(weight_noise=1e-2)[1:]]
    undisturbed = [comparable(m) for m in train(trials, measuring=RARELY, lanes=3)]
    run, restored = LaneRun(trials, measuring=RARELY, lanes=3), []
    while not run.finished:
        restored += run.advance(1)
        run = LaneRun.restore(run.save(), trials, measuring=RARELY)
    assert [comparable(m) for m in restored] == undisturbed
