"""Ids: what makes two trials the same, and which configurations are refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.config import ModelConfig, TaskConfig, TrialConfig, identity, trial_from_dict
from trainables.config.drift import Drift
from trainables.errors import ConfigError

#: Ids of settings that are already in users' results: a change of any of them orphans those results.
PINNED_IDS = {
    "44136fa355b3678a": TrialConfig(),
    "88982190d6f9c220": TrialConfig(weight_decay=0.1, data_fraction=0.2, seed=3),
    "f971c8d51bc873be": TrialConfig(task=TaskConfig(modulus=59), model=ModelConfig(kind="mlp", width=64)),
}


def test_ids_never_change() -> None:
    assert {trial.trial_id: trial for trial in PINNED_IDS.values()} == PINNED_IDS


def test_the_budget_is_not_in_the_id() -> None:
    assert TrialConfig(steps=10).trial_id == TrialConfig(steps=20_000).trial_id


def test_numbers_are_canonical() -> None:
    ids = {TrialConfig(weight_decay=value).trial_id for value in (2, 2.0, 2e0)}
    assert len(ids) == 1


def test_a_default_spelled_out_is_the_default() -> None:
    spelled_out = TrialConfig(
        weight_decay=1, model=ModelConfig(layers=1, hidden_width=512, attention="softmax", heads=4)
    )
    assert spelled_out.trial_id == TrialConfig().trial_id
    assert identity(TrialConfig(model=ModelConfig(kind="mlp", layers=3))) == {"model.kind": '"mlp"'}


@pytest.mark.parametrize(
    "field", [f.name for f in dataclasses.fields(TrialConfig) if f.name not in ("steps", "task", "model")]
)
def test_every_other_field_is_in_the_id(field: str) -> None:
    others: dict[str, Any] = {"batch_size": 7, "seed": 5, "spectral_every": 4, "spectral_start": 64}
    other = {**others, "drift": Drift.of({64: {"split": 1}})}.get(field, 0.25)
    penalised = TrialConfig(spectral_entropy_weight=0.1)
    assert dataclasses.replace(penalised, **{field: other}).trial_id != penalised.trial_id


def penalised(start: Any, **values: Any) -> TrialConfig:
    return TrialConfig(spectral_entropy_weight=0.1, spectral_start=start, **values)


def test_a_penalty_begins_to_act_at_a_block_boundary_within_the_budget() -> None:
    assert [penalised(start).penalised_from for start in (0, 1, 32, 33)] == [0, 32, 32, 64]
    assert penalised(96, steps=97).penalised_from == 96
    assert penalised("at_decline").penalised_from is None
    assert TrialConfig().penalised_from is None
    assert trial_from_dict(penalised("at_decline").as_dict()) == penalised("at_decline")


trials = st.builds(
    TrialConfig,
    task=st.builds(TaskConfig, family=st.sampled_from(["addition", "division"]), modulus=st.integers(2, 500)),
    model=st.builds(
        ModelConfig,
        kind=st.sampled_from(["transformer", "mlp"]),
        width=st.sampled_from([8, 32, 128]),
        layers=st.none() | st.integers(1, 4),
        heads=st.sampled_from([1, 2, 4]),
    ),
    data_fraction=st.floats(0.01, 0.99),
    weight_decay=st.floats(0, 10),
    spectral_entropy_weight=st.floats(0, 1),
    batch_size=st.none() | st.integers(0, 1000),
    seed=st.integers(0, 2**40),
    steps=st.integers(1, 10**6),
)


@given(trials)
def test_dictionary_round_trip_keeps_trial_and_id(trial: TrialConfig) -> None:
    again = trial_from_dict(trial.as_dict())
    assert again == trial
    assert again.trial_id == trial.trial_id


@given(trials, trials)
def test_equal_ids_mean_equal_trials_but_for_the_budget(one: TrialConfig, other: TrialConfig) -> None:
    same = dataclasses.replace(one, steps=1) == dataclasses.replace(other, steps=1)
    assert (one.trial_id == other.trial_id) == same


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrialConfig(data_fraction=1.0), "strictly between 0 and 1"),
        (lambda: TrialConfig(weight_decay=-1), "weight_decay must be finite and at least 0, got -1"),
        (lambda: TrialConfig(weight_decay=float("nan")), "weight_decay must be finite"),
        (lambda: TrialConfig(learning_rate=0), "learning_rate"),
        (lambda: TrialConfig(steps=0), "steps must be at least 1"),
        (lambda: TrialConfig(spectral_every=3), "spectral_every must divide 32"),
        (lambda: penalised(-1), "spectral_start must be a step, .* got -1"),
        (lambda: penalised(1.5), "spectral_start must be a step, .* got 1.5"),
        (lambda: penalised(True), "spectral_start must be a step, .* got True"),
        (lambda: penalised("at_grok"), "or at_decline, got 'at_grok'"),
        (lambda: penalised(97, steps=128), "must come before the end of the budget, .* got 97 for 128 steps"),
        (lambda: TrialConfig(spectral_start=64), "must be 0 where spectral_entropy_weight is 0, got 64"),
        (lambda: TrialConfig(spectral_start="at_decline"), "must be 0 where spectral_entropy_weight is 0"),
        (lambda: ModelConfig(heads=3), "heads must divide model.width, got 3 heads for width 128"),
        (lambda: TaskConfig(modulus=1), "modulus must be at least 2"),
    ],
)
def test_impossible_configurations_say_what_must_hold(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
