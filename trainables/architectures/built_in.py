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
        task: the task that the network is for.
        model: the configuration of the network.

    Raises:
        ConfigError: the model is a transformer and the task's inputs are not tokens.
    """

    def __init__(self, task: Task, model: ModelConfig) -> None:
        self.shapes = parameter_shapes(task, model)
        self.layers = model.depth
        self._task = task
        self._model = model

    def initialise(self, seed: int) -> dict[str, Tensor]:
        """Draw fresh weights, see `Architecture`."""
        return initialise(self._task, self._model, seed)

    def forward(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Compute logits, see `Architecture`."""
        return forward(self._model, parameters, self._flat(inputs), self._task.question)

    def by_hand(self, batch_size: int, device: torch.device) -> WriteGradient | None:
        """Return a gradient by hand on a CPU, where a single network keeps the core busy; see `Architecture`.

        The output of one operation is then still in the cache for the next one, and a single lane needs no padding.
        """
        pays = device.type == "cpu" and batch_size * self._model.hidden >= CHUNK_ELEMENTS
        return self._write_gradient if pays else None

    def _write_gradient(
        self, weights: Mapping[str, Tensor], gradient: Mapping[str, Tensor], inputs: Tensor, targets: Tensor
    ) -> None:
        network = by_hand.Network(self._model, weights, gradient)
        by_hand.write_gradient(network, self._flat(inputs), targets, self._task.fixed_tokens)

    def kept_floats(self) -> float:
        """Count the floats kept for the backward pass, see `Architecture`."""
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
        """Count products, see `Architecture`; before the last layer all positions count, then only the last one."""
        return self._often() * sum(rows * columns for rows, columns in self._matrices())

    def values(self) -> float:
        """Sum the geometric means of each matrix's sides, as often as an example passes it; see `Architecture`."""
        return self._often() * sum(math.sqrt(rows * columns) for rows, columns in self._matrices())

    def _flat(self, inputs: Tensor) -> Tensor:
        """Flatten the features of an example to one row; leave sequences as they are."""
        axes = self._task.inputs.ndim - 1
        return inputs.flatten(-axes) if axes > 1 else inputs

    def _matrices(self) -> list[tuple[int, ...]]:
        return [shape for shape in self.shapes.values() if len(shape) == 2]

    def _often(self) -> float:
        if self._model.kind == "mlp":
            return 1.0
        return 1 + (self._task.positions - 1) * (self._model.depth - 1) / self._model.depth
