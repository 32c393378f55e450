"""MNIST's files as a task: what is in the table, and that an id speaks of the data and not of their place."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.trainables.digit_folder import IMAGES, LABELS, write_folder, write_npz
from trainables.config import ModelConfig, TaskConfig, TrialConfig, identity, trial_from_dict
from trainables.errors import ConfigError
from trainables.lanes import train
from trainables.tasks import build_task


def mnist(path: Path, **values: int) -> TaskConfig:
    return TaskConfig(family="mnist", data=str(path), **values)


def test_the_table_is_an_even_draw_of_all_images(tmp_path: Path) -> None:
    task = build_task(mnist(write_folder(tmp_path / "mnist")))
    assert (task.examples, task.positions, task.classes, task.vocabulary) == (100, 64, 10, None)
    images = {tuple(image.ravel().tolist()): int(label) for image, label in zip(IMAGES, LABELS, strict=True)}
    table = (task.inputs * 255).round().int().tolist()
    assert {tuple(row): label for row, label in zip(table, task.targets.tolist(), strict=True)} == images
    few = build_task(mnist(tmp_path / "mnist", examples=30))
    assert torch.equal(few.inputs, task.inputs[:30])
    assert not torch.equal(few.targets, torch.tensor(LABELS[:30]))


def test_the_id_speaks_of_the_data_and_not_of_their_place(tmp_path: Path) -> None:
    here, there = write_folder(tmp_path / "here"), write_npz(tmp_path / "there.npz")
    trials = [TrialConfig(task=mnist(place)) for place in (here, there)]
    assert trials[0].trial_id == trials[1].trial_id
    assert identity(trials[0]).keys() == {"task.family", "task.source"}
    other = TrialConfig(task=mnist(write_npz(tmp_path / "other.npz", labels=(LABELS + 1) % 10)))
    assert other.trial_id != trials[0].trial_id


def test_a_path_is_the_same_wherever_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "mnist")
    monkeypatch.chdir(tmp_path)
    assert mnist(Path("mnist")).data == str(folder)


def test_a_worker_takes_nothing_but_what_was_planned(tmp_path: Path) -> None:
    planned = TrialConfig(task=mnist(write_folder(tmp_path / "mnist"))).as_dict()
    write_npz(tmp_path / "mnist.npz", labels=(LABELS + 1) % 10)
    elsewhere = {**planned, "task": {**planned["task"], "data": str(tmp_path / "mnist.npz")}}
    with pytest.raises(
        ConfigError, match=r"^task\.data must hold what the trial was planned with, source \w+, but"
    ):
        build_task(trial_from_dict(elsewhere).task)
    missing = {**planned, "task": {**planned["task"], "data": str(tmp_path / "gone")}}
    with pytest.raises(ConfigError, match=r"^task\.data must be a folder .* there is no gone there"):
        build_task(trial_from_dict(missing).task)


def test_data_belong_to_this_family_and_to_no_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^task\.data must be a folder .* set task\.data=PATH"):
        TaskConfig(family="mnist")
    with pytest.raises(ConfigError, match=r"^task\.data must be left out where task\.family is digits"):
        TaskConfig(family="digits", data=str(tmp_path))


def test_it_trains(tmp_path: Path) -> None:
    model = ModelConfig(kind="mlp", width=8, layers=1)
    trial = TrialConfig(task=mnist(write_folder(tmp_path / "mnist")), model=model, data_fraction=0.5, steps=96)
    last = list(train([trial]))[-1]
    assert last.end is not None
    assert last.end.training_examples == 50
    assert last.train_accuracy > 0.5
