"""The public measurement: the smallest stream found whose decoded network keeps the loss within epsilon."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from trainables.complexity.certify import Coded, certify
from trainables.complexity.losses import Loss, base_losses, training_objective
from trainables.complexity.network import Network, check_epsilons, check_measurable, tensors
from trainables.complexity.objective import Objective
from trainables.complexity.result import ComplexityResult
from trainables.complexity.search import BUDGETS, Budget, Candidate, Search, SearchResult
from trainables.complexity.stream import encode, encode_lossless
from trainables.errors import MeasurementError
from trainables.numerics.computing import settled_torch

BudgetName = Literal["fast", "thorough"]

DEFAULT_BUDGET: BudgetName = "fast"


@settled_torch()
def measure(
    network: Network,
    loss: Loss | None = None,
    epsilons: Sequence[float] = (),
    *,
    inputs: object = None,
    targets: object = None,
    budget: BudgetName = DEFAULT_BUDGET,
) -> list[ComplexityResult]:
    """Measure complexity: bytes of the smallest decodable stream found within a distortion bound.

    This is C_eps of the paper (arXiv 2412.09810, section 3), with a tighter code: curvature of the loss along both
    sides of every matrix, rounding that corrects later weights for the errors of earlier ones, low rank where that
    is cheaper, and an adaptive entropy coder. No weight moves except by rounding; a scale for each tensor and a
    mean for each vector are sent anyway, and are fitted. Every feasible candidate was evaluated. The winner is
    decoded and evaluated once more, and if no candidate keeps the bound, the weights themselves are coded.

    Args:
        network: named tensors of any floating dtype and rank, or a module (its parameters, tied ones once).
        loss: from the network, `lambda net: cross_entropy(net(x), y, reduction="none")`, or from tensors under the
            same names, to the loss of each training example, shape [n], in nats; a scalar is taken as one example,
            at more bytes. What it does with its argument tells which of the two it is. Must be deterministic. Where
            it is differentiable, gradients decide how finely each tensor is rounded; where it is not, all tensors
            are rounded in proportion to their size, at far more bytes.
        epsilons: distortion bounds, nats per example, each above 0. A result does not depend on other epsilons.
        inputs: in place of a loss, what a module is called with, [n, ...]. It is run in evaluation mode, its
            buffers as they are, and left in the mode it was in.
        targets: with inputs, the right classes [n] (or [n, ...]) for the module's logits [n, classes] (or
            [n, classes, ...]). The loss is then their cross-entropy.
        budget: how much to search, counted in evaluations, see `trainables.complexity.search.BUDGETS`.
            `thorough` takes a better look at the curvature and more steps to fit scales and means, and tries
            tensors in bases of other tensors; it is never longer than `fast`, whose search is part of it.

    Returns:
        A result for every epsilon, in the order of `epsilons`.

    Raises:
        MeasurementError: a network, loss or epsilon for which complexity is not defined.
    """
    check_epsilons(epsilons)
    budget_of(budget)
    parameters = tensors(network)
    check_measurable(parameters)
    objective = training_objective(network, loss, inputs, targets)
    lanes = {name: tensor[None].contiguous() for name, tensor in parameters.items()}
    return [results[0] for results in measure_lanes(lanes, objective, epsilons, budget=budget)]


@settled_torch()
def measure_lanes(
    parameters: Mapping[str, Tensor],
    objective: Objective,
    epsilons: Sequence[float],
    *,
    budget: BudgetName = DEFAULT_BUDGET,
) -> list[list[ComplexityResult]]:
    """Measure many networks, on the device where they are.

    On a CPU networks are measured one after the other, so that each stream is bit-identical to that of the network
    alone: a batch of one and a batch of several use different kernels. On a GPU they are measured together.

    Args:
        parameters: name -> [L, ...].
        objective: the loss of all lanes.
        epsilons: see `measure`.
        budget: see `measure`.

    Returns:
        For every epsilon, a result for each lane.

    Raises:
        MeasurementError: see `measure`.
    """
    check_epsilons(epsilons)
    chosen = budget_of(budget)
    check_measurable(parameters)
    first = next(iter(parameters.values()))
    if first.device.type != "cpu":
        return measure_together(parameters, objective, epsilons, chosen)
    alone = []
    for lane in range(len(first)):
        one = {name: tensor[lane : lane + 1].contiguous() for name, tensor in parameters.items()}
        alone.append(measure_together(one, objective.pick(torch.tensor([lane])), epsilons, chosen))
    return [[results[place][0] for results in alone] for place in range(len(epsilons))]


def measure_together(
    parameters: Mapping[str, Tensor], objective: Objective, epsilons: Sequence[float], budget: Budget
) -> list[list[ComplexityResult]]:
    """Measure many networks as one batch on any device; see `measure_lanes`."""
    measuring = Measuring(parameters, objective, budget)
    return [measuring.at(epsilon) for epsilon in epsilons]


class Measuring:
    """Networks [L, ...] measured at one bound after the other; the work that all bounds share is done once.

    A result does not depend on the bounds before it, so the next bound may be chosen by the results so far.
    """

    def __init__(self, parameters: Mapping[str, Tensor], objective: Objective, budget: Budget) -> None:
        """Do the work that all bounds share, for networks name -> [L, ...]."""
        started = time.perf_counter()
        self._parameters = parameters
        self._objective = objective
        self._base = base_losses(objective, parameters)
        budgets = [budget] if budget.beside is None else [budget, budget.beside]
        self._networks = [
            {name: tensor[lane] for name, tensor in parameters.items()} for lane in range(len(self._base))
        ]
        self._searches = [(Search(objective, parameters, self._base, one), one) for one in budgets]
        self._shared_s = time.perf_counter() - started

    def at(self, epsilon: float) -> list[ComplexityResult]:
        """Return a result for each lane at a bound, in nats; the first bound is charged the shared work."""
        started = time.perf_counter()
        searched = [search.best(epsilon) for search, _ in self._searches]
        certified = [
            certify(
                self._objective,
                self._parameters,
                self._base,
                [
                    _streams(weights, search, extended=one.rotations)
                    for weights, search in zip(self._networks, of_lanes, strict=True)
                ],
                epsilon,
            )
            for of_lanes, (_, one) in zip(searched, self._searches, strict=True)
        ]
        wall_s = (self._shared_s + time.perf_counter() - started) / len(self._base)
        self._shared_s = 0.0
        results = []
        for streams, evaluated in zip(zip(*certified, strict=True), zip(*searched, strict=True), strict=True):
            shortest = min(streams, key=lambda one: len(one.bitstream))
            results.append(
                ComplexityResult(
                    epsilon=epsilon,
                    complexity_bytes=len(shortest.bitstream),
                    bitstream=shortest.bitstream,
                    bytes_by_tensor=shortest.bytes_by_tensor,
                    loss_increase=shortest.loss_increase,
                    evaluations=sum(one.evaluations for one in evaluated),
                    wall_s=wall_s,
                    decoded=shortest.decoded,
                )
            )
        return results


def _streams(parameters: Mapping[str, Tensor], search: SearchResult, *, extended: bool) -> Iterator[Coded]:
    """Encode one network's feasible candidates, the shortest by estimate first and the lossless stream last."""
    for candidate in sorted(search.feasible, key=lambda one: one.bits):
        yield _encoded(parameters, candidate, extended=extended)
    yield encode_lossless(parameters)


def _encoded(parameters: Mapping[str, Tensor], candidate: Candidate, *, extended: bool) -> Coded:
    rotated = any(getattr(code, "rotations", ()) for code in candidate.codes.values())
    forms = [True] if rotated else [False, True] if extended else [False]
    coded = min(
        (encode(candidate.codes, parameters, extended=form) for form in forms),
        key=lambda one: len(one[0]),
    )
    raw_bytes = sum(tensor.numel() * tensor.element_size() for tensor in parameters.values())
    # The lossless code hardly shrinks weights, so it is tried only where it might win.
    if len(coded[0]) > raw_bytes / 2:
        return min(coded, encode_lossless(parameters), key=lambda one: len(one[0]))
    return coded


def budget_of(name: str) -> Budget:
    """Return the search budget of a name.

    Raises:
        MeasurementError: there is none of that name.
    """
    if name not in BUDGETS:
        raise MeasurementError(f"budget must be one of {', '.join(BUDGETS)}, got {name!r}")
    return BUDGETS[name]
