"""The transformer and the MLP as an `Architecture`."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from trainables.architectures import by_hand
from trainables.architectures.models import forward, initialise, parameter_shapes
from trainables.architectures.operations import CHUNK_ELEMENTS
from trainables.architectures.protocol import WriteGradient
from trainables.config import ModelConfig
from trainables.tasks import Task


class BuiltIn:
    """See `trainables.architectures.protocol.Architecture`.

    Args:
        task: what it is for.
        model: which network.

    Raises:
        ConfigError: a transformer for a task whose inputs are no tokens.
    """

    def __init__(self, task: Task, model: ModelConfig) -> None:
        self.shapes = parameter_shapes(task, model)
        self.layers = model.depth
        self._task = task
        self._model = model

    def initialise(self, seed: int) -> dict[str, Tensor]:
        """See `Architecture`."""
        return initialise(self._task, self._model, seed)

    def forward(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """See `Architecture`."""
        return forward(self._model, parameters, self._flat(inputs), self._task.question)

    def by_hand(self, batch_size: int, device: torch.device) -> WriteGradient | None:
        """See `Architecture`: on a CPU, where one network by itself keeps the core busy.

        What one operation writes the next one then finds in the cache, and a lone lane needs no company.
        """
        pays = device.type == "cpu" and batch_size * self._model.hidden >= CHUNK_ELEMENTS
        return self._write_gradient if pays else None

    def _write_gradient(
        self, weights: Mapping[str, Tensor], gradient: Mapping[str, Tensor], inputs: Tensor, targets: Tensor
    ) -> None:
        network = by_hand.Network(self._model, weights, gradient)
        by_hand.write_gradient(network, self._flat(inputs), targets, self._task.fixed_tokens)

    def kept_floats(self) -> float:
        """See `Architecture`."""
        task, model = self._task, self._model
        positions, width, hidden = task.positions, model.width, model.hidden
        if model.kind == "mlp":
            entering = 1 if task.vocabulary is None else 2 * width
            return entering * positions + 3 * model.depth * hidden + 3 * task.classes
        floats = 3 * task.classes
        for layer in range(model.depth):
            queried = 1 if layer == model.depth - 1 else positions
            floats += queried * (10 * width + 4 * hidden)
            if model.depth == 1 and task.question is not None and model.attention == "softmax":
                floats += width + 6 * model.heads * positions
            else:
                floats += (4 + 2 * queried) * positions * width
        return floats

    def products(self) -> float:
        """See `Architecture`. Only the last position of a sequence counts, except in the layers before the last."""
        return self._often() * sum(rows * columns for rows, columns in self._matrices())

    def values(self) -> float:
        """See `Architecture`: of each matrix the geometric mean of its sides, as often as an example passes it."""
        return self._often() * sum(math.sqrt(rows * columns) for rows, columns in self._matrices())

    def _flat(self, inputs: Tensor) -> Tensor:
        """The features of an example in one row; sequences are as they are."""
        axes = self._task.inputs.ndim - 1
        return inputs.flatten(-axes) if axes > 1 else inputs

    def _matrices(self) -> list[tuple[int, ...]]:
        return [shape for shape in self.shapes.values() if len(shape) == 2]

    def _often(self) -> float:
        if self._model.kind == "mlp":
            return 1.0
        return 1 + (self._task.positions - 1) * (self._model.depth - 1) / self._model.depth
