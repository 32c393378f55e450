"""From weights to a `Measurement`: losses, accuracies, norms, spectra, sizes and complexity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from trainables.architectures import Architecture
from trainables.complexity.measure import measure_lanes
from trainables.complexity.objective import CHUNK_EXAMPLES, ClassificationObjective
from trainables.complexity.result import METHOD, ComplexityResult
from trainables.measurement import ComplexityMeasurement, MatrixMeasurement
from trainables.schedule import MeasuringConfig
from trainables.sizes import zstd_bytes
from trainables.spectral import matrix_sides, spectrum
from trainables.tasks import Split, Task


@dataclass(frozen=True, slots=True)
class Scores:
    """Losses in nats per example, accuracies in [0, 1]."""

    train_loss: float
    val_loss: float
    train_accuracy: float
    val_accuracy: float


@dataclass(frozen=True, slots=True)
class NoiseScores:
    """What a network trained on some wrong labels has memorised and what generalised, accuracies in [0, 1]."""

    clean_train_accuracy: float | None
    """Of the training examples whose label is right, share answered so; None if there are none."""
    corrupted_train_accuracy: float | None
    """Of those whose label was replaced, share answered with the replaced label; None if there are none."""
    recovered_train_accuracy: float | None
    """Of those whose label was replaced, share answered rightly all the same; None if there are none."""


@dataclass(frozen=True, slots=True)
class GroupScores:
    """Accuracies in [0, 1] on the task's sensitive or rare group; None where the part has no member of it."""

    group_train_accuracy: float | None
    group_val_accuracy: float | None


@dataclass(frozen=True, slots=True)
class Size:
    """What can be said of weights without data."""

    l2_norm: float
    zstd_bytes: int
    spectral_entropy: float
    effective_rank: float
    matrices: tuple[MatrixMeasurement, ...]


def table_outcomes(
    architecture: Architecture, parameters: Mapping[str, Tensor], inputs: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropy and answer of every example of the table in every lane; the losses are differentiable.

    Args:
        architecture: which network.
        parameters: name -> [L, ...], L >= 2 where bits shall not depend on L.
        inputs: [N, ...], the same for all lanes.
        targets: [L, N] labels.

    Returns:
        Losses [L, N] in nats and classes answered [L, N] (int64), on the parameters' device.
    """
    losses, answers = [], []
    for first in range(0, len(inputs), CHUNK_EXAMPLES):
        labels = targets[:, first : first + CHUNK_EXAMPLES]
        logits = architecture.forward(parameters, inputs[first : first + CHUNK_EXAMPLES])
        losses.append(
            functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)
        )
        answers.append(logits.argmax(-1))
    return torch.cat(losses, 1), torch.cat(answers, 1)


def scores(losses: Tensor, answers: Tensor, split: Split) -> Scores:
    """Means over one lane's own training and validation examples, from its rows [N] of `table_outcomes`."""
    correct = answers == split.targets

    def loss(part: Tensor) -> float:
        return float(losses[part].double().mean())

    return Scores(
        loss(split.train), loss(split.validation), _share(correct[split.train]), _share(correct[split.validation])
    )


def noise_scores(answers: Tensor, split: Split, right: Tensor) -> NoiseScores:
    """Accuracies on clean and on corrupted training examples.

    Args:
        answers: [N] classes, one lane's row of `table_outcomes`.
        split: which examples are trained on, and with which labels.
        right: [N] the right classes.
    """
    corrupted = split.corrupted[split.train]
    clean, replaced = split.train[~corrupted], split.train[corrupted]
    labels = split.targets
    return NoiseScores(
        clean_train_accuracy=_share(answers[clean] == right[clean]) if len(clean) else None,
        corrupted_train_accuracy=_share(answers[replaced] == labels[replaced]) if len(replaced) else None,
        recovered_train_accuracy=_share(answers[replaced] == right[replaced]) if len(replaced) else None,
    )


def group_scores(answers: Tensor, split: Split, group: Tensor | None) -> GroupScores:
    """Accuracies on a group, with the labels that the trial sees.

    Args:
        answers: [N] classes, one lane's row of `table_outcomes`.
        split: which examples are trained on, and with which labels.
        group: [N] bool, the members; None if the task has no group.
    """

    def of(part: Tensor) -> float | None:
        members = part[group[part]] if group is not None else part[:0]
        return _share(answers[members] == split.targets[members]) if len(members) else None

    return GroupScores(of(split.train), of(split.validation))


def _share(correct: Tensor) -> float:
    return int(correct.sum()) / len(correct)


def size(network: Mapping[str, Tensor]) -> Size:
    """Norm, spectra and zstd size of one network's weights (on the CPU, no lane axis).

    The means of entropy and rank are over all matrices, unsmoothed; NaN where weights are not finite, or where
    there is no matrix.
    """
    matrices = tuple(
        _matrix(name, network[name].reshape(two))
        for name, two in matrix_sides({name: weight.shape for name, weight in network.items()}).items()
    )
    return Size(
        l2_norm=math.sqrt(math.fsum(float(weight.double().square().sum()) for weight in network.values()))
        if all(bool(torch.isfinite(weight).all()) for weight in network.values())
        else math.nan,
        zstd_bytes=zstd_bytes(network),
        spectral_entropy=_mean([m.spectral_entropy for m in matrices]),
        effective_rank=_mean([m.effective_rank for m in matrices]),
        matrices=matrices,
    )


def complexities(
    architecture: Architecture,
    task: Task,
    split: Split,
    network: Mapping[str, Tensor],
    measuring: MeasuringConfig,
) -> tuple[ComplexityMeasurement, ...]:
    """Complexity at every epsilon, primary first, with the accuracies of the decoded networks.

    The distortion is that of the full training set with the labels trained on, noisy ones included.
    """
    inputs, labels = task.inputs[split.train], split.targets[split.train]
    objective = objective_of(architecture, inputs, labels)
    lanes = {name: weight[None] for name, weight in network.items()}
    results = [one_lane[0] for one_lane in measure_lanes(lanes, objective, measuring.epsilons)]
    return tuple(_complexity(architecture, task, split, result) for result in results)


def objective_of(
    architecture: Architecture, inputs: Tensor, targets: Tensor, prefix: str = ""
) -> ClassificationObjective:
    """The cross-entropy of one network, as the complexity measure sees it.

    Args:
        architecture: which network.
        inputs: [n, ...].
        targets: [n] classes.
        prefix: what the names of the parameters begin with.
    """

    def logits(parameters: Mapping[str, Tensor], some: Tensor) -> Tensor:
        return architecture.forward({name.removeprefix(prefix): p for name, p in parameters.items()}, some)

    return ClassificationObjective(logits, inputs, targets[None])


def description_length_bits(complexity: ComplexityMeasurement, training_examples: int) -> float:
    """8 C + n x training cross-entropy of the decoded network, in bits."""
    return 8 * complexity.complexity_bytes + training_examples * complexity.train_loss / math.log(2)


@torch.no_grad()
def _complexity(
    architecture: Architecture, task: Task, split: Split, result: ComplexityResult
) -> ComplexityMeasurement:
    one_lane = {name: weight[None] for name, weight in result.decoded.items()}
    losses, answers = table_outcomes(architecture, one_lane, task.inputs, split.targets[None])
    decoded = scores(losses[0], answers[0], split)
    return ComplexityMeasurement(
        epsilon=result.epsilon,
        complexity_bytes=result.complexity_bytes,
        loss_increase=result.loss_increase,
        train_loss=decoded.train_loss,
        train_accuracy=decoded.train_accuracy,
        val_accuracy=decoded.val_accuracy,
        group_val_accuracy=group_scores(answers[0], split, task.group).group_val_accuracy,
        evaluations=result.evaluations,
        method=METHOD,
        wall_s=result.wall_s,
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _matrix(name: str, matrix: Tensor) -> MatrixMeasurement:
    entropy, rank = spectrum(matrix)
    return MatrixMeasurement(
        matrix=name,
        rows=matrix.shape[0],
        columns=matrix.shape[1],
        spectral_entropy=entropy,
        effective_rank=rank,
        frobenius_norm=float(torch.linalg.vector_norm(matrix.double())),
    )
