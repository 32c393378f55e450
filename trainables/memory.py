"""How much memory a lane takes, so that a caller can bound the number of lanes before training starts."""

from __future__ import annotations

import math

from trainables.config import TrialConfig
from trainables.evaluate import CHUNK_EXAMPLES
from trainables.lanes import effective_batch_size
from trainables.models import parameter_shapes
from trainables.tasks import build_task

_FLOAT_BYTES = 4
_COPIES_OF_WEIGHTS = 10
"""Weights, two moments, gradient and its parts, temporaries of the step, noisy weights, a copy for evaluating."""
_COPIES_WITH_PENALTY = 6
"""Stacked matrices, their products and gradients; Gram matrices and eigenvectors are no larger."""


def lane_bytes(trial: TrialConfig) -> int:
    """Estimate, from above, of the bytes one lane of a trial's shape takes while training and evaluating.

    Raises:
        ConfigError: the trial cannot be trained.
    """
    task, model = build_task(trial.task), trial.model
    shapes = parameter_shapes(task, model)
    weights = sum(math.prod(shape) for shape in shapes.values())
    copies = _COPIES_OF_WEIGHTS + (_COPIES_WITH_PENALTY if trial.spectral_entropy_weight > 0 else 0)

    # Floats kept per example: forward keeps each layer's activations for backward, which needs as many again.
    if model.kind == "transformer":
        per_position = (task.positions * 8 * model.width) * model.depth + task.positions * 2 * model.width
        per_example = per_position + model.depth * (8 * model.width + 3 * model.hidden)
        per_example += (model.depth - 1) * (task.positions - 1) * (8 * model.width + 3 * model.hidden)
    else:
        per_example = 2 * task.positions * model.width + 3 * model.depth * model.hidden
    per_example += 3 * task.classes
    training = 2 * per_example * effective_batch_size(trial)
    evaluating = per_example * min(CHUNK_EXAMPLES, task.examples) + 4 * task.examples
    return _FLOAT_BYTES * (copies * weights + max(training, evaluating) + 2 * task.examples)
