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


@settled_torch()
def measure(
    network: Network,
    loss: Loss | None = None,
    epsilons: Sequence[float] = (),
    *,
    inputs: object = None,
    targets: object = None,
    budget: BudgetName = "fast",
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
    _check(epsilons, budget)
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
    budget: BudgetName = "fast",
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
    _check(epsilons, budget)
    check_measurable(parameters)
    first = next(iter(parameters.values()))
    if first.device.type != "cpu":
        return measure_together(parameters, objective, epsilons, BUDGETS[budget])
    alone = []
    for lane in range(len(first)):
        one = {name: tensor[lane : lane + 1].contiguous() for name, tensor in parameters.items()}
        alone.append(measure_together(one, objective.pick(torch.tensor([lane])), epsilons, BUDGETS[budget]))
    return [[results[place][0] for results in alone] for place in range(len(epsilons))]


def measure_together(
    parameters: Mapping[str, Tensor], objective: Objective, epsilons: Sequence[float], budget: Budget
) -> list[list[ComplexityResult]]:
    """Measure many networks as one batch on any device; see `measure_lanes`."""
    started = time.perf_counter()
    base = base_losses(objective, parameters)
    budgets = [budget] if budget.beside is None else [budget, budget.beside]
    networks = [{name: tensor[lane] for name, tensor in parameters.items()} for lane in range(len(base))]
    searches = [(Search(objective, parameters, base, one), one) for one in budgets]
    results: list[list[ComplexityResult]] = []
    for epsilon in epsilons:
        searched = [search.best(epsilon) for search, _ in searches]
        certified = [
            certify(
                objective,
                parameters,
                base,
                [
                    _streams(weights, search, extended=one.rotations)
                    for weights, search in zip(networks, of_lanes, strict=True)
                ],
                epsilon,
            )
            for of_lanes, (_, one) in zip(searched, searches, strict=True)
        ]
        wall_s = (time.perf_counter() - started) / len(base)
        results.append([])
        for streams, evaluated in zip(zip(*certified, strict=True), zip(*searched, strict=True), strict=True):
            shortest = min(streams, key=lambda one: len(one.bitstream))
            results[-1].append(
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
        started = time.perf_counter()
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


def _check(epsilons: Sequence[float], budget: str) -> None:
    if budget not in BUDGETS:
        raise MeasurementError(f"budget must be one of {', '.join(BUDGETS)}, got {budget!r}")
    check_epsilons(epsilons)
