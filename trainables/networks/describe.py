"""Task description length of a network from a file, with the accuracies of the decoded networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trainables.description.describing import BUDGETS, Progress, describe_objective
from trainables.description.result import DescriptionResult
from trainables.networks import LoadedNetwork
from trainables.networks.measure import scores
from trainables.numerics.computing import settled_torch
from trainables.scoring import Scores, objective_of


@dataclass(frozen=True, slots=True)
class DescribedTask:
    """One stream, and the scores of the network that it decodes to."""

    result: DescriptionResult
    """The result; its streams are bound to the names of `LoadedNetwork.parameters`."""
    scores: Scores


@settled_torch()
def describe_network_task(
    network: LoadedNetwork,
    epsilons: Sequence[float],
    *,
    steps: int = BUDGETS["fast"],
    seed: int = 0,
    watch: Callable[[Progress], object] | None = None,
) -> list[DescribedTask]:
    """Describe the task of a network at every epsilon, on all its training examples.

    Args:
        network: from a file or a trial; training starts from it.
        epsilons: bounds, nats per example, see `describe_task`.
        steps: the number of steps of straight-through training.
        seed: draws the examples of each step.
        watch: see `describe_task`.

    Raises:
        MeasurementError: a network or epsilon for which there is no description.
    """
    objective = objective_of(network.architecture, network.train.inputs, network.train.targets)
    results = describe_objective(network.parameters, objective, epsilons, steps=steps, seed=seed, watch=watch)
    return [DescribedTask(result, scores(network, result.decoded)) for result in results]
