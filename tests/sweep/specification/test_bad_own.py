"""User-supplied networks and data that cannot be trained: one line each at `sweep plan`, with file:line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sweep.cli import main
from tests.sweep.own_lab import Lab, new_lab

NETWORK = "return nn.Sequential(nn.Linear(4, config.width), nn.ReLU(), nn.Linear(config.width, task.classes))"
DATA = "return Task.of(torch.randn(60, 4, generator=stream) + labels[:, None], labels)"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return new_lab(tmp_path)


def planned(lab: Lab, **settings: Any) -> list[str]:
    """What `sweep plan` says to the lab's specification, on lines."""
    answer = CliRunner().invoke(main, ["plan", lab.specification(**settings), "--import", lab.module])
    assert answer.exit_code == (2 if answer.stderr else 0)
    return answer.stderr.splitlines()


def replaced(lab: Lab, old: str, new: str) -> None:
    text = lab.file.read_text(encoding="utf-8")
    assert old in text
    lab.file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ("return nn.Linear(5, 3)", "must take inputs [4, 4] of features, the task's, got RuntimeError: "),
        (
            "return nn.Linear(4, 7)",
            "must map inputs [4, 4] to logits [4, 3], one for each class, got [4, 7]; change its last layer",
        ),
        (
            "network = nn.Linear(4, 3)\n    nn.init.constant_(network.weight, 1e38)\n    return network",
            "must have a finite loss on the task's inputs before training, got logits from ",
        ),
        (
            "return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))",
            "must not keep statistics of batches, got BatchNorm1d in '1': ",
        ),
        (
            "return nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.1))",
            "must not draw random numbers in forward, got dropout",
        ),
        ("return 1 / 0", "must be built without an error, got ZeroDivisionError: division by zero"),
        ("return 'a network'", "must give a torch.nn.Module, got str"),
    ],
)
def test_a_network_that_does_not_fit(lab: Lab, network: str, said: str) -> None:
    replaced(lab, NETWORK, network)
    [line] = planned(lab)
    assert line.startswith(f"error: {lab.name}.yaml:2: model.kind '{lab.name}-layers' of {lab.module} {said}")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            "return Task.of(torch.randn(50, 4), labels)",
            ": inputs must be [N, ...] and targets [N], of the same examples, got inputs [50, 4] and targets [60]",
        ),
        (
            "return Task.of(torch.randn(60, 4), labels, classes=2)",
            ": targets must lie from 0 to 1, the 2 classes, got 2",
        ),
        ("return Task.of(torch.randn(60, 4), labels - 1)", ": targets must lie from 0 to 1, the 2 classes, got -1"),
        ("return Task.of(torch.randn(60, 4) / 0, labels)", ": inputs must be finite, got 240 values that are not"),
        ("return labels", " must give a Task, got Tensor; use Task.of(inputs, targets)"),
        ("return Task.of(torch.load('no.pt'), labels)", " must be built without an error, got FileNotFoundError: "),
    ],
)
def test_data_that_does_not_fit(lab: Lab, data: str, said: str) -> None:
    replaced(lab, DATA, data)
    [line] = planned(lab)
    assert line.startswith(f"error: {lab.name}.yaml:1: task.family '{lab.name}-blobs' of {lab.module}{said}")


def test_a_transformer_for_features(lab: Lab) -> None:
    [line] = planned(lab, model={"kind": "transformer", "width": 8})
    assert line.startswith(f"error: {lab.name}.yaml:2: model.kind must be mlp for ")
    assert planned(lab, model={"kind": "mlp", "width": 8}) == []


def test_a_penalty_without_a_matrix(lab: Lab) -> None:
    replaced(lab, NETWORK, "return nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 1, 2), nn.Flatten())")
    [line] = planned(lab, spectral_entropy_weight=[0.0, 0.1])
    assert line == (
        f"error: {lab.name}.yaml:8: spectral_entropy_weight must be 0 for model.kind '{lab.name}-layers', none of "
        "whose parameters is a matrix of two rows and columns, got 0.1"
    )
    assert planned(lab, spectral_entropy_weight=0.0) == []


def test_an_epsilon_that_is_too_large_for_the_classes(lab: Lab) -> None:
    [line] = planned(lab, epsilon=1.2)
    assert line.startswith(f"error: {lab.name}.yaml:8: epsilon must")
