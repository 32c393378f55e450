"""The examples that are trained on, and their labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.errors import ConfigError
from trainables.random import generator
from trainables.tasks.task import Task


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Disjoint training and validation parts that together are the whole table of N examples."""

    train: Tensor
    """[n] int64 indices into the table."""
    validation: Tensor
    """[m] int64 indices into the table, n + m = N."""
    targets: Tensor
    """[N] int64: the labels the trial sees; those of validation examples are always right."""
    corrupted: Tensor
    """[N] bool: where a training label was replaced by another class."""


def training_size(examples: int, data_fraction: float) -> int:
    """Return the number of training examples: round(data_fraction x examples).

    Raises:
        ConfigError: the training or the validation part would be empty.
    """
    size = round(data_fraction * examples)
    if not 0 < size < examples:
        raise ConfigError(
            f"both parts of the split need at least one example, got data_fraction {data_fraction} of {examples}: "
            f"{size} to train on and {examples - size} to validate; choose a fraction nearer to one half"
        )
    return size


def split(task: Task, data_fraction: float, label_noise: float, seed: int, number: int = 0) -> Split:
    """Split a task's table, and replace a share of the training labels.

    The training part is the start of one permutation per seed, so the training sets of one seed are nested
    over data fractions; an example's noisy label and its rank in the order of corruption depend on the seed only.

    Args:
        task: the table.
        data_fraction: share of all examples that is trained on.
        label_noise: share of the training examples whose label becomes another class, drawn evenly.
        seed: the trial's seed.
        number: which of the seed's splits; 0 is the split of a trial without drift.

    Raises:
        ConfigError: either part would be empty.
    """
    size = training_size(task.examples, data_fraction)
    # The first split is named without its number, as it was before a seed had several.
    stream = generator(seed, "split", number) if number else generator(seed, "split")
    order = torch.randperm(task.examples, generator=stream)
    train, validation = order[:size].clone(), order[size:].clone()

    corrupted = torch.zeros(task.examples, dtype=torch.bool)
    targets = task.targets
    count = round(label_noise * size)
    if count:
        stream = generator(seed, "label noise")
        # Drawn for the whole table, so that an example's noise does not depend on which others are trained on.
        rank = torch.randperm(task.examples, generator=stream)
        # From 1 on, so that a replaced label is never the right one.
        shift = torch.randint(1, task.classes, (task.examples,), generator=stream)
        corrupted[train[rank[train].argsort()[:count]]] = True
        targets = torch.where(corrupted, (targets + shift) % task.classes, targets)
    return Split(train, validation, targets, corrupted)
