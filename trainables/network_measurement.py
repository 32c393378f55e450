"""Complexity of a network out of a file, with the accuracies of what its streams decode to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.complexity.measuring import measure_lanes
from trainables.complexity.result import ComplexityResult
from trainables.complexity.stream import decode
from trainables.evaluate import Scores, sequence_objective
from trainables.networks import LoadedNetwork
from trainables.tasks import build_task


@dataclass(frozen=True, slots=True)
class DecodedNetwork:
    """One stream, and how good the network is that it decodes to."""

    result: ComplexityResult
    """Bound to the names of the file, its prefix included."""
    scores: Scores


def scores(network: LoadedNetwork, parameters: Mapping[str, Tensor]) -> Scores:
    """Losses and accuracies on the network's sequences, of parameters named as in `network.parameters`."""
    found = []
    with torch.no_grad():
        for sequences in (network.train, network.validation):
            losses, correct = network.outcomes(parameters, sequences)
            found.append((float(losses.double().mean()), float(correct.double().mean())))
    (train_loss, train_accuracy), (val_loss, val_accuracy) = found
    return Scores(train_loss, val_loss, train_accuracy, val_accuracy)


def measure_network(
    network: LoadedNetwork, epsilons: Sequence[float], budget: str | None = None
) -> list[DecodedNetwork]:
    """Measure the complexity of a network at every epsilon, on all its training sequences.

    Args:
        network: out of a file, or of a trial.
        epsilons: distortion bounds, nats per example.
        budget: as for `measure`, whose default it takes.

    Raises:
        MeasurementError: a network or epsilon for which complexity is not defined.
    """
    inputs, targets = network.train[:, :-1], network.train[:, -1]
    objective = sequence_objective(network.model, inputs, targets, network.table().question, network.prefix)
    lanes = {network.prefix + name: weight[None] for name, weight in network.parameters.items()}
    chosen = {} if budget is None else {"budget": budget}
    results = [lane for (lane,) in measure_lanes(lanes, objective, epsilons, **chosen)]  # type: ignore[arg-type]
    return [DecodedNetwork(result, scores(network, _without_prefix(network, result.decoded))) for result in results]


def decoded_network(network: LoadedNetwork, bitstream: bytes) -> dict[str, Tensor]:
    """What a stream decodes to, as parameters named as in `network.parameters`.

    Args:
        network: the one it was made from, or one of the same names, shapes and dtypes.
        bitstream: as `measure_network` gave it.

    Raises:
        BitstreamError: the bytes are damaged, or belong to another network.
    """
    like = {network.prefix + name: weight for name, weight in network.parameters.items()}
    return _without_prefix(network, decode(bitstream, like))


def classes_and_replaced_labels(network: LoadedNetwork) -> tuple[int, int]:
    """Number of classes, and of training sequences whose label is wrong.

    Where the task is of no known family, the classes are those that the network tells apart, and labels are taken
    to be right.
    """
    if network.task is None:
        return network.table().classes, 0
    task = build_task(network.task)
    digits = task.vocabulary ** torch.arange(task.positions)
    keys, order = (task.inputs * digits).sum(1).sort()
    places = torch.searchsorted(keys, (network.train[:, :-1] * digits).sum(1))
    right = task.targets[order[places]]
    return task.classes, int((network.train[:, -1] != right).sum())


def _without_prefix(network: LoadedNetwork, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(network.prefix): weight for name, weight in parameters.items()}
