"""Scikit-learn's digits: the table, and that large initial weights delay what a network learns of it."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits

from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.lanes import train
from trainables.schedule import MeasuringConfig
from trainables.tasks import build_task

DIGITS = TaskConfig(family="digits")


def test_the_table_is_that_of_scikit_learn() -> None:
    task = build_task(DIGITS)
    assert task.vocabulary is None
    assert (task.examples, task.positions, task.classes) == (1797, 64, 10)
    assert torch.equal(task.inputs.view(-1, 8, 8) * 16, torch.tensor(load_digits().images, dtype=torch.float32))
    assert task.targets.bincount().min() >= 174
    assert (float(task.inputs.min()), float(task.inputs.max())) == (0, 1)


def test_large_initial_weights_memorise_first_and_generalise_later() -> None:
    def gap_once_memorised(scale: float, steps: int) -> tuple[float, float]:
        """Training less validation accuracy where the training set is first memorised, and at the end."""
        model = ModelConfig(kind="mlp", width=100, hidden_width=100, layers=2, initial_scale=scale)
        trial = TrialConfig(
            task=DIGITS, model=model, data_fraction=0.2, weight_decay=1.0, batch_size=128, steps=steps
        )
        measuring = MeasuringConfig(evaluate_ratio=1.3, measure_ratio=1000, grokked_at=1)
        gaps = [
            m.train_accuracy - m.val_accuracy
            for m in train([trial], measuring=measuring)
            if m.train_accuracy >= 0.99
        ]
        return gaps[0], gaps[-1]

    assert gap_once_memorised(1, 256)[0] < 0.1
    first, last = gap_once_memorised(8, 928)
    assert first > 0.15
    assert last < 0.1
