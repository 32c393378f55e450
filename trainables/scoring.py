"""Scores: what a network's losses, answers and weights are turned into.

A score is a record whose fields are exactly the columns it produces, and a function that computes it. All columns
of the table `rows` that need a network are here, and `trainables.measurement.Measurement` is made of these records.
So a new column is a field and its value here, and an entry of `analysis.schema`. The rows of the tables
`complexity` and `matrices` are records of the same kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor

from trainables.architectures import Architecture
from trainables.complexity.measure import measure_lanes
from trainables.complexity.objective import CHUNK_EXAMPLES, ClassificationObjective
from trainables.complexity.result import METHOD, ComplexityResult
from trainables.numerics.roots import square_root
from trainables.schedule import MeasuringConfig
from trainables.sizes import zstd_bytes
from trainables.spectral import matrix_sides, spectrum
from trainables.tasks import Split, Task

Outcomes = tuple[Tensor, Tensor]
"""The losses of n examples in nats, [n], and whether the answer to each was right, [n] bool."""


class TableOutcomes(NamedTuple):
    """What networks in L lanes make of a table of N examples, on their device; or one lane's part, without L."""

    losses: Tensor
    """[L, N] cross-entropies in nats, differentiable."""
    answers: Tensor
    """[L, N] classes (int64)."""
    squared_logit_norms: Tensor
    """[L, N] sums of the squares of the logits over the classes (float64), not differentiable."""


# Columns of `rows` are inherited by `Measurement`, from several records at once; so they cannot have slots.


@dataclass(frozen=True)
class Scores:
    """How well a network does on its training and its validation examples."""

    train_loss: float
    """Mean cross-entropy, nats per example, without any penalty."""
    val_loss: float
    train_accuracy: float
    """Share answered with the label trained on, noisy labels included, in [0, 1]."""
    val_accuracy: float


@dataclass(frozen=True)
class NoiseScores:
    """What a network trained on some wrong labels has memorised and what generalised, accuracies in [0, 1]."""

    clean_train_accuracy: float | None
    """On the training examples whose label is right; None if there are none."""
    corrupted_train_accuracy: float | None
    """On those whose label was replaced, share answered with that label (memorised); None without label noise."""
    recovered_train_accuracy: float | None
    """On those whose label was replaced, share answered rightly (generalised); None without label noise."""


@dataclass(frozen=True)
class GroupScores:
    """Accuracies in [0, 1] on the task's sensitive or rare group; None where the part has no member of it."""

    group_train_accuracy: float | None
    group_val_accuracy: float | None


@dataclass(frozen=True)
class LogitScores:
    """How far the softmax is from uniform, whether or not the answers are right."""

    logit_scale: float | None
    """Mean Euclidean norm of the logits over the training and the validation examples.

    It explains 97 % of the variance of the delay of a grok (arXiv 2606.18465). None in rows of checkpoints that
    older versions have written.
    """


@dataclass(frozen=True)
class SizeScores:
    """What can be said of weights without data."""

    zstd_bytes: int
    """zstd of the raw float32 weights."""
    l2_norm: float
    """Norm of all weights together; NaN where one is not finite."""
    spectral_entropy: float
    """Mean over all matrices, nats, without any floor; NaN where a weight is not finite, or without a matrix."""
    effective_rank: float
    """Mean over all matrices of exp(H); NaN where a weight is not finite, or without a matrix."""


@dataclass(frozen=True)
class ComplexityScores:
    """Complexity at the primary epsilon; None at steps where complexity was not measured."""

    complexity_bytes: int | None
    description_length_bits: float | None
    """8 x complexity_bytes + n x training cross-entropy of the decoded network in bits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComplexityMeasurement:
    """Complexity at one epsilon: a row of the table `complexity` (with `trial_id` and `step`)."""

    epsilon: float
    complexity_bytes: int
    loss_increase: float
    """Training loss of the decoded network minus that of the network, nats per example, at most epsilon."""
    train_loss: float
    """Training loss of the decoded network, nats per example."""
    train_accuracy: float
    val_accuracy: float
    group_val_accuracy: float | None
    """Of the decoded network on the validation examples of the task's group; None if it has none there."""
    evaluations: int
    """Candidates whose training loss was computed: the search budget spent."""
    method: str
    """Name and version of the method, e.g. `feedback-1`; numbers of different methods are never compared."""
    wall_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class MatrixMeasurement:
    """Spectrum of one weight matrix: a row of the table `matrices` (with `trial_id` and `step`)."""

    matrix: str
    rows: int
    columns: int
    spectral_entropy: float
    effective_rank: float
    frobenius_norm: float


# --- from answers ------------------------------------------------------------------------------------------------


def table_outcomes(
    architecture: Architecture, parameters: Mapping[str, Tensor], inputs: Tensor, targets: Tensor
) -> TableOutcomes:
    """Compute cross-entropy, answer and squared norm of the logits of every example of the table in every lane.

    Args:
        architecture: which network.
        parameters: name -> [L, ...], L >= 2 where bits shall not depend on L.
        inputs: [N, ...], the same for all lanes.
        targets: [L, N] labels.
    """
    losses, answers, squares = [], [], []
    for first in range(0, max(len(inputs), 1), CHUNK_EXAMPLES):  # without examples, one chunk of none
        labels = targets[:, first : first + CHUNK_EXAMPLES]
        logits = architecture.forward(parameters, inputs[first : first + CHUNK_EXAMPLES])
        losses.append(
            functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)
        )
        answers.append(logits.argmax(-1))
        # In double precision: a norm over many classes would lose its last digits. No roots are taken here, since
        # how a root is rounded depends on its place among those of other lanes.
        squares.append(logits.detach().double().square().sum(-1))
    return TableOutcomes(torch.cat(losses, 1), torch.cat(answers, 1), torch.cat(squares, 1))


def scores(losses: Tensor, answers: Tensor, split: Split) -> Scores:
    """Average over one lane's own training and validation examples, given its rows [N] of `table_outcomes`."""
    correct = answers == split.targets
    train, validation = ((losses[part], correct[part]) for part in (split.train, split.validation))
    return scores_of(train, validation)


def scores_of(train: Outcomes, validation: Outcomes) -> Scores:
    """Average over training and over validation examples; NaN where there are none."""

    def loss(outcomes: Outcomes) -> float:
        # Summed in double precision: a mean of thousands of float32 losses would lose its last digits.
        return float(outcomes[0].double().mean())

    return Scores(
        train_loss=loss(train),
        val_loss=loss(validation),
        train_accuracy=_share(train[1]),
        val_accuracy=_share(validation[1]),
    )


def noise_scores(answers: Tensor, split: Split, right: Tensor) -> NoiseScores:
    """Score clean and corrupted training examples apart.

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
    """Score the members of a group, with the labels that the trial sees.

    Args:
        answers: [N] classes, one lane's row of `table_outcomes`.
        split: which examples are trained on, and with which labels.
        group: [N] bool, the members; None if the task has no group.
    """

    def of(part: Tensor) -> float | None:
        members = part[group[part]] if group is not None else part[:0]
        return _share(answers[members] == split.targets[members]) if len(members) else None

    return GroupScores(group_train_accuracy=of(split.train), group_val_accuracy=of(split.validation))


def logit_scores(squared_logit_norms: Tensor, split: Split) -> LogitScores:
    """Average the norms of one lane's logits over all its examples, given its row [N] of `table_outcomes`."""
    squares = squared_logit_norms[torch.cat([split.train, split.validation])]
    return LogitScores(logit_scale=float(square_root(squares).mean()))


def _share(correct: Tensor) -> float:
    return int(correct.sum()) / len(correct) if len(correct) else math.nan


# --- from weights ------------------------------------------------------------------------------------------------


def matrices(network: Mapping[str, Tensor]) -> tuple[MatrixMeasurement, ...]:
    """Measure the spectrum of every matrix of one network (on the CPU, no lane axis), unsmoothed."""
    sides = matrix_sides({name: weight.shape for name, weight in network.items()})
    return tuple(_matrix(name, network[name].reshape(two)) for name, two in sides.items())


def size_scores(network: Mapping[str, Tensor], spectra: Sequence[MatrixMeasurement]) -> SizeScores:
    """Compute norm, mean spectrum and zstd size of one network, given its `matrices`."""
    finite = all(bool(torch.isfinite(weight).all()) for weight in network.values())
    squares = (float(weight.double().square().sum()) for weight in network.values())
    return SizeScores(
        zstd_bytes=zstd_bytes(network),
        l2_norm=math.sqrt(math.fsum(squares)) if finite else math.nan,
        spectral_entropy=_mean([matrix.spectral_entropy for matrix in spectra]),
        effective_rank=_mean([matrix.effective_rank for matrix in spectra]),
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


# --- complexity --------------------------------------------------------------------------------------------------


def complexities(
    architecture: Architecture,
    task: Task,
    split: Split,
    network: Mapping[str, Tensor],
    measuring: MeasuringConfig,
) -> tuple[ComplexityMeasurement, ...]:
    """Measure complexity at every epsilon, primary first, with the accuracies of the decoded networks.

    The distortion is that of the full training set with the labels trained on, noisy ones included.
    """
    inputs, labels = task.inputs[split.train], split.targets[split.train]
    objective = objective_of(architecture, inputs, labels)
    lanes = {name: weight[None] for name, weight in network.items()}
    results = [one_lane[0] for one_lane in measure_lanes(lanes, objective, measuring.epsilons)]
    return tuple(_complexity(architecture, task, split, result) for result in results)


def complexity_scores(measured: Sequence[ComplexityMeasurement], training_examples: int) -> ComplexityScores:
    """Take the columns of the primary epsilon out of `complexities`, or None where nothing was measured."""
    if not measured:
        return ComplexityScores(complexity_bytes=None, description_length_bits=None)
    return ComplexityScores(
        complexity_bytes=measured[0].complexity_bytes,
        description_length_bits=description_length_bits(measured[0], training_examples),
    )


def description_length_bits(complexity: ComplexityMeasurement, training_examples: int) -> float:
    """Return 8 C + n x training cross-entropy of the decoded network, in bits."""
    return 8 * complexity.complexity_bytes + training_examples * complexity.train_loss / math.log(2)


def objective_of(
    architecture: Architecture, inputs: Tensor, targets: Tensor, prefix: str = ""
) -> ClassificationObjective:
    """Make the cross-entropy of one network as the complexity measure sees it.

    Args:
        architecture: which network.
        inputs: [n, ...].
        targets: [n] classes.
        prefix: what the names of the parameters begin with.
    """

    return ClassificationObjective(logits_of(architecture, prefix), inputs, targets[None])


def logits_of(architecture: Architecture, prefix: str = "") -> Callable[[Mapping[str, Tensor], Tensor], Tensor]:
    """Return the function from parameters [L, ...] and inputs [n, ...] to logits [L, n, classes].

    Args:
        architecture: which network.
        prefix: what the names of the parameters begin with.
    """

    def logits(parameters: Mapping[str, Tensor], some: Tensor) -> Tensor:
        return architecture.forward({name.removeprefix(prefix): p for name, p in parameters.items()}, some)

    return logits


@torch.no_grad()
def _complexity(
    architecture: Architecture, task: Task, split: Split, result: ComplexityResult
) -> ComplexityMeasurement:
    one_lane = {name: weight[None] for name, weight in result.decoded.items()}
    losses, answers, _ = table_outcomes(architecture, one_lane, task.inputs, split.targets[None])
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
