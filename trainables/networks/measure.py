"""Complexity of a network from a file, with the accuracies of the decoded networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from trainables.complexity.answers import AnswersObjective
from trainables.complexity.measure import DEFAULT_BUDGET, Measuring, budget_of
from trainables.complexity.network import check_epsilons, check_measurable
from trainables.complexity.objective import Objective
from trainables.complexity.result import ComplexityResult
from trainables.complexity.stream import decode
from trainables.networks import LoadedNetwork
from trainables.numerics.computing import settled_torch
from trainables.scoring import Scores, logits_of, objective_of, scores_of

Bound = Literal["loss", "answers"]
"""What an epsilon bounds on the training examples: the rise of the mean loss, which makes the length of the stream
the network's complexity; or the mean divergence of the answers from the network's own, see `AnswersObjective`."""


@dataclass(frozen=True, slots=True)
class DecodedNetwork:
    """One stream, and the scores of the network that it decodes to."""

    result: ComplexityResult
    """The result; its stream is bound to the names in the file, with their prefix."""
    scores: Scores
    bound: Bound = "loss"
    """What its epsilon is a bound on."""


@settled_torch()
def scores(network: LoadedNetwork, parameters: Mapping[str, Tensor]) -> Scores:
    """Return losses and accuracies on the network's examples; parameters are named as in `network.parameters`."""
    with torch.no_grad():
        train, validation = (
            network.outcomes(parameters, examples) for examples in (network.train, network.validation)
        )
        return scores_of(train, validation)


class NetworkMeasuring:
    """One network that is measured at one bound after the other, on all its training examples."""

    @settled_torch()
    def __init__(self, network: LoadedNetwork, budget: str | None = None, bound: Bound = "loss") -> None:
        """Do the work that all bounds share.

        Args:
            network: from a file or a trial.
            budget: see `measure`; None takes its default.
            bound: what the epsilons are bounds on.

        Raises:
            MeasurementError: a network for which complexity is not defined, or an unknown budget.
        """
        self.network = network
        chosen = budget_of(DEFAULT_BUDGET if budget is None else budget)
        lanes = {network.prefix + name: weight[None].contiguous() for name, weight in network.parameters.items()}
        check_measurable(lanes)
        architecture, train = network.architecture, network.train
        self._bound = bound
        objective: Objective
        if bound == "answers":
            objective = AnswersObjective(logits_of(architecture, network.prefix), train.inputs, lanes)
        else:
            objective = objective_of(architecture, train.inputs, train.targets, network.prefix)
        self._measuring = Measuring(lanes, objective, chosen)

    @settled_torch()
    def at(self, epsilon: float) -> DecodedNetwork:
        """Measure at a distortion bound, nats per example; the result does not depend on the bounds before it.

        Raises:
            MeasurementError: no stream is defined for such a bound.
        """
        check_epsilons([epsilon])
        (result,) = self._measuring.at(epsilon)
        decoded = without_prefix(self.network, result.decoded)
        return DecodedNetwork(result, scores(self.network, decoded), self._bound)


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
    check_epsilons(epsilons)
    measuring = NetworkMeasuring(network, budget)
    return [measuring.at(epsilon) for epsilon in epsilons]


def decoded_network(network: LoadedNetwork, bitstream: bytes) -> dict[str, Tensor]:
    """Decode a stream to parameters named as in `network.parameters`.

    Args:
        network: the network it was made from, or one with the same names, shapes and dtypes.
        bitstream: a bitstream from `measure_network`.

    Raises:
        BitstreamError: the bytes are damaged, or belong to another network.
    """
    like = {network.prefix + name: weight for name, weight in network.parameters.items()}
    return without_prefix(network, decode(bitstream, like))


def without_prefix(network: LoadedNetwork, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name parameters of the file as in `network.parameters`, which lack its common prefix."""
    return {name.removeprefix(network.prefix): weight for name, weight in parameters.items()}
