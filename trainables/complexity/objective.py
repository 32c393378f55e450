"""The loss that is measured against: losses of networks with a lane axis, and random looks at their curvature."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
import torch.nn.functional as functional
from torch import Tensor

from trainables.out_of_memory import is_out_of_memory
from trainables.random import generator

Parameters = Mapping[str, Tensor]

#: The examples of one look at the curvature, the number of looks, and the examples of one step that fits scales and
#: means.
CURVATURE_EXAMPLES = 256
CURVATURE_LOOKS = 24
FITTED_EXAMPLES = 64

_SEED = 0
"""The seed of all random draws here: a network's complexity must not depend on chance."""

#: The number of looks at all examples, for a loss that cannot be evaluated on some examples only.
FUNCTION_LOOKS = 8

#: Examples evaluated at once, a bound on memory. A constant: a lane's bits must not depend on how many lanes fit.
CHUNK_EXAMPLES = 2048


def over_lanes(values: Tensor, tensor: Tensor) -> Tensor:
    """Reshape values [L] to broadcast over a tensor [L, ...]."""
    return values.reshape(-1, *[1] * (tensor.ndim - 1))


def differentiable(losses: Callable[[], Tensor]) -> Tensor | None:
    """Evaluate losses; return None if no gradient flows from them back to the tensors."""
    try:
        values = losses()
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        # It works on tensors without gradient, so the loss must leave torch somewhere.
        return None
    return values if values.requires_grad else None


class Objective(Protocol):
    """A loss as the measure uses it. All parameters are [L, ...], and lanes do not affect each other."""

    looks: int
    """The number of random looks worth taking."""

    def pick(self, lanes: Tensor) -> Objective:
        """Return the objective of these lanes [M] only."""
        ...

    def losses(self, parameters: Parameters, examples: int | None = None) -> Tensor:
        """Return losses [L, n] in nats: of all training examples, or of about `examples` of them."""
        ...

    def look(self, parameters: Parameters, number: int) -> Tensor:
        """Return [L], differentiable: the expected square of its gradient is the curvature per example."""
        ...

    def fitted(
        self, parameters: Parameters, number: int, *, examples: int = FITTED_EXAMPLES, seed: int = _SEED
    ) -> Tensor:
        """Return differentiable mean losses [L] of about `examples` examples, drawn by seed and number."""
        ...


class FunctionObjective:
    """Any function of one network that returns the loss of each example, [n], or one number for all."""

    looks = FUNCTION_LOOKS

    def __init__(self, loss: Callable[[Parameters], Tensor]) -> None:
        self._loss = loss

    def pick(self, lanes: Tensor) -> FunctionObjective:  # noqa: ARG002
        """Return this objective, which has only one lane; see `Objective`."""
        return self

    def losses(self, parameters: Parameters, examples: int | None = None) -> Tensor:  # noqa: ARG002
        """Return the losses of all examples, always; see `Objective`."""
        return self._loss({name: tensor[0] for name, tensor in parameters.items()}).reshape(1, -1)

    def look(self, parameters: Parameters, number: int) -> Tensor:
        """Combine losses with random signs r into sum(r_i loss_i) / sqrt(n), see `Objective`.

        The expected square of its gradient is the mean over examples of each example's squared gradient. A loss
        that is one number counts as one example.
        """
        losses = self.losses(parameters)
        # Random signs make the products of different examples' gradients vanish on average, so that one gradient
        # does for all examples.
        draws = torch.randint(0, 2, losses.shape, generator=generator(_SEED, "signs", number))
        summed: Tensor = (losses * (draws * 2 - 1).to(losses)).sum(1)
        return summed / math.sqrt(losses.shape[1])

    def fitted(
        self,
        parameters: Parameters,
        number: int,  # noqa: ARG002
        *,
        examples: int = FITTED_EXAMPLES,  # noqa: ARG002
        seed: int = _SEED,  # noqa: ARG002
    ) -> Tensor:
        """Return the mean loss over all examples, every time; see `Objective`."""
        return self.losses(parameters).mean(1)


class ClassificationObjective:
    """Mean cross-entropy of networks whose logits can be computed for any examples.

    Every prediction counts: with logits [L, n, classes, T] there are n T of them.

    Args:
        logits: from parameters [L, ...] and inputs [b, ...] to logits [L, b, classes, ...].
        inputs: [n, ...]
        targets: [L, n, ...] classes, L may be 1 for all lanes.
    """

    looks = CURVATURE_LOOKS

    def __init__(self, logits: Callable[[Parameters, Tensor], Tensor], inputs: Tensor, targets: Tensor) -> None:
        self._logits = logits
        self._inputs = inputs
        self._targets = targets

    def pick(self, lanes: Tensor) -> ClassificationObjective:
        """Return the objective of these lanes only, see `Objective`."""
        if len(self._targets) == 1:
            return self
        return ClassificationObjective(self._logits, self._inputs, self._targets[lanes.to(self._targets.device)])

    def losses(self, parameters: Parameters, examples: int | None = None) -> Tensor:
        """Return losses [L, n], computed in chunks, see `Objective`."""
        total = min(len(self._inputs), examples or len(self._inputs))
        chunks = []
        for first in range(0, total, CHUNK_EXAMPLES):
            part = slice(first, min(first + CHUNK_EXAMPLES, total))
            chunks.append(self._losses(self._predictions(parameters, self._inputs[part]), part))
        return torch.cat(chunks, 1)

    def look(self, parameters: Parameters, number: int) -> Tensor:
        """Use few examples, with labels drawn from the network's own predictions (true Fisher); see `Objective`."""
        drawn = generator(_SEED, "curvature", number)
        predictions = self._predictions(parameters, self._inputs[self._draw(CURVATURE_EXAMPLES, drawn)])
        points = torch.rand(predictions.shape[1], 1, generator=drawn, dtype=torch.float64).to(predictions.device)
        cumulated = predictions.detach().double().softmax(-1).cumsum(-1)
        # A draw by inverting the cumulated probabilities, which end at 1 only up to rounding.
        labels = (cumulated < points * cumulated[..., -1:]).sum(-1).clamp_max(predictions.shape[-1] - 1)
        return _cross_entropy(predictions, labels).sum(1) / math.sqrt(predictions.shape[1])

    def fitted(
        self, parameters: Parameters, number: int, *, examples: int = FITTED_EXAMPLES, seed: int = _SEED
    ) -> Tensor:
        """Return the mean losses of examples drawn at random, see `Objective`."""
        index = self._draw(examples, generator(seed, "fit", number))
        return self._losses(self._predictions(parameters, self._inputs[index]), index).mean(1)

    def _predictions(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        """Return [L, m, classes] in at least float32: half-precision losses are too coarse for a small epsilon."""
        logits = self._logits(parameters, inputs).movedim(2, -1).flatten(1, -2)
        return logits if logits.dtype == torch.float64 else logits.float()

    def _losses(self, predictions: Tensor, part: slice | Tensor) -> Tensor:
        """Return the losses [L, m] of predictions for these examples."""
        return _cross_entropy(predictions, self._targets[:, part].flatten(1))

    def _draw(self, count: int, drawn: torch.Generator) -> Tensor:
        total = len(self._inputs)
        # Every example once, which is better than a draw with repetitions.
        if count >= total:
            return torch.arange(total, device=self._inputs.device)
        return torch.randint(total, (count,), generator=drawn).to(self._inputs.device)


def _cross_entropy(predictions: Tensor, labels: Tensor) -> Tensor:
    """Return losses [L, m] from predictions [L, m, classes] and labels [L or 1, m]."""
    labels = labels.expand(predictions.shape[:2])
    flat = functional.cross_entropy(predictions.flatten(0, 1), labels.flatten(), reduction="none")
    return flat.view(labels.shape)
