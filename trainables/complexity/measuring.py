"""The public measurement: the smallest stream found whose decoded network keeps the loss within epsilon."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Literal

from torch import Tensor

from trainables.complexity.losses import Loss, base_loss, training_loss
from trainables.complexity.network import Network, check_measurable, tensors
from trainables.complexity.result import ComplexityResult
from trainables.complexity.search import Candidate, Search
from trainables.complexity.stream import decode, encode, encode_lossless
from trainables.errors import MeasurementError

#: Per search budget, one bisection for each of these: how many times its price a bit is taken to be worth.
#: Above 1, since fewer components cost the loss less than their squared error says.
BUDGETS: dict[str, tuple[float, ...]] = {"fast": (1.4,)}


def measure(
    network: Network,
    loss: Loss | None = None,
    epsilons: Sequence[float] = (),
    *,
    inputs: Tensor | None = None,
    targets: Tensor | None = None,
    budget: Literal["fast"] = "fast",
) -> list[ComplexityResult]:
    """Measure complexity: bytes of the smallest decodable stream found within a distortion bound.

    C_eps of the paper (arXiv 2412.09810, section 3): each matrix rounded, directly or as two factors cut by
    SVD at a share of its nuclear norm, with one bin size for the network in units of what the loss feels, and an
    adaptive entropy coder made for integer matrices. Every feasible candidate was evaluated as it decodes, the
    winner is decoded and evaluated once more, and where nothing else holds the weights themselves are coded.

    Args:
        network: named tensors of any floating dtype and rank, or a module (its parameters, tied ones once).
        loss: from tensors under the same names to the loss of each training example, shape [n], in nats; a
            scalar is taken as one example, at more bytes. Deterministic. Where it is differentiable, gradients
            decide how finely each tensor is rounded; where it is not, all tensors are rounded in proportion
            to their size, at far more bytes.
        epsilons: distortion bounds, nats per example, each above 0. Each result is what it would be alone.
        inputs: in place of a loss, what a module is called with, [n, ...]. It is run in evaluation mode, its
            buffers as they are, and left in the mode it was in.
        targets: with inputs, the right classes [n] (or [n, ...]) for the module's logits [n, classes] (or
            [n, classes, ...]). The loss is then their cross-entropy.
        budget: how much to search, counted in evaluations of the loss: `fast` is about twenty.

    Returns:
        A result for every epsilon, in their order.

    Raises:
        MeasurementError: a network, loss or epsilon for which complexity is not defined.
    """
    started = time.perf_counter()
    if budget not in BUDGETS:
        raise MeasurementError(f"budget must be one of {', '.join(BUDGETS)}, got {budget!r}")
    if isinstance(epsilons, float | int) or not len(epsilons):
        raise MeasurementError(f"epsilons must be a list of bounds in nats, such as [1.0], got {epsilons!r}")
    for epsilon in epsilons:
        if not (math.isfinite(epsilon) and epsilon > 0):
            raise MeasurementError(f"epsilon must be finite and above 0 nats, got {epsilon}")
    parameters = tensors(network)
    check_measurable(parameters)
    losses = training_loss(network, loss, inputs, targets)
    search = Search(losses, parameters, base_loss(losses, parameters))
    results = []
    for epsilon in epsilons:
        results.append(_measure_one(search, parameters, epsilon, BUDGETS[budget], started))
        started = time.perf_counter()
    return results


def _measure_one(
    search: Search, parameters: Mapping[str, Tensor], epsilon: float, thrifts: tuple[float, ...], started: float
) -> ComplexityResult:
    finalists: list[bytes] = []
    evaluations = 2 + search.preparing_evaluations
    for thrift in thrifts:
        feasible, asked = search.feasible(epsilon, thrift)
        evaluations += asked
        if feasible:
            finalists.append(_encoded(search, min(feasible, key=lambda candidate: candidate.bits), parameters))
    raw_bytes = sum(tensor.numel() * tensor.element_size() for tensor in parameters.values())
    finalists.sort(key=len)
    # Weights as they are hardly shrink: coding them is only tried where it might win.
    if not finalists or len(finalists[0]) > raw_bytes / 2:
        finalists = sorted([*finalists, encode_lossless(parameters)], key=len)
    while True:
        bitstream = finalists.pop(0) if finalists else encode_lossless(parameters)
        decoded = decode(bitstream, parameters)
        increase = search.increase(decoded)
        evaluations += 1
        if increase <= epsilon:
            break
    return ComplexityResult(
        epsilon=epsilon,
        complexity_bytes=len(bitstream),
        bitstream=bitstream,
        loss_increase=increase,
        evaluations=evaluations,
        wall_s=time.perf_counter() - started,
        decoded=decoded,
    )


def _encoded(search: Search, candidate: Candidate, parameters: Mapping[str, Tensor]) -> bytes:
    rounded = search.rounded(candidate)
    assert rounded is not None, "a feasible candidate has been rounded before"
    return encode(rounded.codes, parameters)
