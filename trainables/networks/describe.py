"""Task description length of a network out of a file, with the accuracies of what its streams decode to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trainables.description.describing import BUDGETS, Progress, describe_objective
from trainables.description.result import DescriptionResult
from trainables.evaluate import Scores, objective_of
from trainables.networks.files import LoadedNetwork
from trainables.networks.measure import scores


@dataclass(frozen=True, slots=True)
class DescribedTask:
    """One stream, and how good the network is that it decodes to."""

    result: DescriptionResult
    """Bound to the names of `LoadedNetwork.parameters`."""
    scores: Scores


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
        network: out of a file, or of a trial; where training begins.
        epsilons: bounds, nats per example, as for `describe_task`.
        steps: of straight-through training.
        seed: of the examples drawn for each step.
        watch: as for `describe_task`.

    Raises:
        MeasurementError: a network or epsilon for which there is no description.
    """
    objective = objective_of(network.architecture, network.train.inputs, network.train.targets)
    results = describe_objective(network.parameters, objective, epsilons, steps=steps, seed=seed, watch=watch)
    return [DescribedTask(result, scores(network, result.decoded)) for result in results]
