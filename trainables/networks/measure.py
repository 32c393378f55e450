"""Complexity of a network from a file, with the accuracies of the decoded networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.complexity.measure import measure_lanes
from trainables.complexity.result import ComplexityResult
from trainables.complexity.stream import decode
from trainables.networks import LoadedNetwork
from trainables.numerics.computing import settled_torch
from trainables.scoring import Scores, objective_of, scores_of


@dataclass(frozen=True, slots=True)
class DecodedNetwork:
    """One stream, and the scores of the network that it decodes to."""

    result: ComplexityResult
    """The result; its stream is bound to the names in the file, with their prefix."""
    scores: Scores


@settled_torch()
def scores(network: LoadedNetwork, parameters: Mapping[str, Tensor]) -> Scores:
    """Return losses and accuracies on the network's examples; parameters are named as in `network.parameters`."""
    with torch.no_grad():
        train, validation = (
            network.outcomes(parameters, examples) for examples in (network.train, network.validation)
        )
        return scores_of(train, validation)


@settled_torch()
def measure_network(
    network: LoadedNetwork, epsilons: Sequence[float], budget: str | None = None
) -> list[DecodedNetwork]:
    """Measure the complexity of a network at every epsilon, on all its training examples.

    Args:
        network: from a file or a trial.
        epsilons: distortion bounds, nats per example.
        budget: see `measure`; None takes its default.

    Raises:
        MeasurementError: a network or epsilon for which complexity is not defined.
    """
    objective = objective_of(network.architecture, network.train.inputs, network.train.targets, network.prefix)
    lanes = {network.prefix + name: weight[None] for name, weight in network.parameters.items()}
    chosen = {} if budget is None else {"budget": budget}
    results = [lane for (lane,) in measure_lanes(lanes, objective, epsilons, **chosen)]  # type: ignore[arg-type]
    return [DecodedNetwork(result, scores(network, _without_prefix(network, result.decoded))) for result in results]


def decoded_network(network: LoadedNetwork, bitstream: bytes) -> dict[str, Tensor]:
    """Decode a stream to parameters named as in `network.parameters`.

    Args:
        network: the network it was made from, or one with the same names, shapes and dtypes.
        bitstream: a bitstream from `measure_network`.

    Raises:
        BitstreamError: the bytes are damaged, or belong to another network.
    """
    like = {network.prefix + name: weight for name, weight in network.parameters.items()}
    return _without_prefix(network, decode(bitstream, like))


def _without_prefix(network: LoadedNetwork, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(network.prefix): weight for name, weight in parameters.items()}
