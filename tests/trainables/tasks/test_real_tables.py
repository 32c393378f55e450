"""Tables of real data: what the group is, and what is reported of it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from sklearn.datasets import load_diabetes

from trainables import scoring
from trainables.architectures import architecture_of
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.lanes import train
from trainables.schedule import MeasuringConfig
from trainables.tasks import build_task, split


@pytest.mark.parametrize(
    ("family", "examples", "features", "classes", "members"),
    [("diabetes", 442, 10, 2, 207), ("breast_cancer", 569, 30, 2, 212), ("wine", 178, 13, 3, 48)],
)
def test_features_are_standardised_and_the_group_is_what_the_module_says(
    family: str, examples: int, features: int, classes: int, members: int
) -> None:
    task = build_task(TaskConfig(family=family))
    assert (task.examples, task.positions, task.classes) == (examples, features, classes)
    assert task.group is not None
    assert int(task.group.sum()) == members
    assert torch.allclose(task.inputs.mean(0), torch.zeros(features), atol=1e-5)
    assert torch.allclose(task.inputs.std(0, correction=0), torch.ones(features), atol=1e-5)


def test_diabetes_is_above_or_below_the_median_and_its_group_a_sex() -> None:
    task = build_task(TaskConfig(family="diabetes"))
    raw = load_diabetes(scaled=False)
    assert task.group is not None
    assert task.group.tolist() == (raw.data[:, 1] == 2).tolist()
    assert task.targets.bincount().tolist() == [221, 221]
    assert raw.target[task.targets.numpy() == 0].max() < raw.target[task.targets.numpy() == 1].min()


def test_the_group_is_reported_of_the_network_and_of_what_it_is_compressed_to() -> None:
    config = TrialConfig(
        task=TaskConfig(family="wine"),
        model=ModelConfig(kind="mlp", width=8, layers=1),
        data_fraction=0.4,
        steps=128,
        weight_decay=0.0,
        learning_rate=1e-2,
    )
    last = list(train([config], measuring=MeasuringConfig(epsilon=0.05, extra_epsilons=(1.0,))))[-1]
    task = build_task(config.task)
    parts = split(task, config.data_fraction, 0.0, config.seed)
    assert task.group is not None
    members = int(task.group[parts.validation].sum())
    shares = [last.group_val_accuracy, *(measured.group_val_accuracy for measured in last.complexities)]
    assert all(share is not None and (share * members) == pytest.approx(round(share * members)) for share in shares)
    assert last.group_train_accuracy == 1.0
    assert last.network is not None
    whole = dataclasses.replace(task, group=torch.ones(task.examples, dtype=torch.bool))
    architecture = architecture_of(whole, config.model)
    (measured,) = scoring.complexities(architecture, whole, parts, last.network, MeasuringConfig(epsilon=0.5))
    assert measured.group_val_accuracy == measured.val_accuracy
