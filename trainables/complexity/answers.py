"""A distortion that is about a network's own answers: their divergence, in place of the rise of the loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainables.complexity.objective import CHUNK_EXAMPLES, ClassificationObjective, Parameters


class AnswersObjective(ClassificationObjective):
    """Mean Kullback-Leibler divergence of a network's answers from those of given weights, in nats.

    With p the softmax probabilities of the given weights and q those of others it is the sum over classes of
    p log(p / q), for each prediction: 0 for the given weights, above 0 where any probability differs. The loss has
    no such minimum there. Weight decay keeps a network from the weights of lowest loss, so rounding may lower the
    loss and still change answers. The true labels do not matter here.

    Args:
        logits: from parameters [1, ...] and inputs [b, ...] to logits [1, b, classes, ...].
        inputs: [n, ...]
        parameters: name -> [1, ...], the given weights of one network.
    """

    def __init__(
        self, logits: Callable[[Parameters, Tensor], Tensor], inputs: Tensor, parameters: Parameters
    ) -> None:
        super().__init__(logits, inputs, torch.zeros(1, 0, dtype=torch.int64))
        with torch.no_grad():
            chunks = [
                self._predictions(parameters, inputs[first : first + CHUNK_EXAMPLES]).log_softmax(-1)
                for first in range(0, len(inputs), CHUNK_EXAMPLES)
            ]
        answers = torch.cat(chunks, 1)
        # By example, each of which may have several predictions, so that examples can be drawn.
        self._answers = answers.reshape(1, len(inputs), -1, answers.shape[-1])

    def _losses(self, predictions: Tensor, part: slice | Tensor) -> Tensor:
        given = self._answers[:, part].flatten(1, 2)
        divergence: Tensor = (given.exp() * (given - predictions.log_softmax(-1))).sum(-1)
        return divergence
