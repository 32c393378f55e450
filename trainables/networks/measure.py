"""Complexity of a network out of a file, with the accuracies of what its streams decode to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.complexity.measure import measure_lanes
from trainables.complexity.result import ComplexityResult
from trainables.complexity.stream import decode
from trainables.evaluate import Scores, objective_of
from trainables.networks.files import LoadedNetwork


@dataclass(frozen=True, slots=True)
class DecodedNetwork:
    """One stream, and how good the network is that it decodes to."""

    result: ComplexityResult
    """Bound to the names of the file, its prefix included."""
    scores: Scores


def scores(network: LoadedNetwork, parameters: Mapping[str, Tensor]) -> Scores:
    """Losses and accuracies on the network's examples, of parameters named as in `network.parameters`."""
    found = []
    with torch.no_grad():
        for examples in (network.train, network.validation):
            losses, correct = network.outcomes(parameters, examples)
            found.append((float(losses.double().mean()), float(correct.double().mean())))
    (train_loss, train_accuracy), (val_loss, val_accuracy) = found
    return Scores(train_loss, val_loss, train_accuracy, val_accuracy)


def measure_network(
    network: LoadedNetwork, epsilons: Sequence[float], budget: str | None = None
) -> list[DecodedNetwork]:
    """Measure the complexity of a network at every epsilon, on all its training examples.

    Args:
        network: out of a file, or of a trial.
        epsilons: distortion bounds, nats per example.
        budget: as for `measure`, whose default it takes.

    Raises:
        MeasurementError: a network or epsilon for which complexity is not defined.
    """
    objective = objective_of(network.architecture, network.train.inputs, network.train.targets, network.prefix)
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


def _without_prefix(network: LoadedNetwork, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(network.prefix): weight for name, weight in parameters.items()}
