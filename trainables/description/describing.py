"""The public function: the shortest stream found of any network that does a task as well as one that is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from trainables.complexity.codes import Code, Direct, Zeros
from trainables.complexity.curvature import increases
from trainables.complexity.losses import Loss, base_losses, training_objective
from trainables.complexity.network import Network, check_epsilons, check_measurable, tensors
from trainables.complexity.objective import Objective
from trainables.complexity.pieces import Piece
from trainables.complexity.prices import PRICES_PER_OCTAVE
from trainables.complexity.search import Budget, Search
from trainables.complexity.stream import decode, encode, encode_lossless
from trainables.description.fine_tuning import Checkpoint, FineTuning
from trainables.description.quantised import QuantisedNetwork
from trainables.description.result import DescriptionResult
from trainables.errors import MeasurementError

DescriptionBudget = Literal["fast", "thorough"]

#: Steps of straight-through training.
BUDGETS: Mapping[str, int] = {"fast": 2000, "thorough": 6000}

#: How to round at first. No factors, and a transform only where it saves much: training makes weights sparse where
#: they may be in any basis, and a basis that cannot be chosen (of tokens, say) saves much.
_FIRST = Budget(looks=1, fitting_steps=10, factors=False, transform_gain=0.2)

#: So many of the networks on the way, the shortest by estimate, are coded.
_CODED = 5


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a description has come."""

    epsilon: float
    step: int
    estimated_bytes: float
    loss_increase: float
    """Nats per example, of the network rounded as it is now."""
    parameters: Mapping[str, Tensor]
    """Its weights."""


def describe_task(
    network: Network,
    loss: Loss | None = None,
    epsilons: Sequence[float] = (),
    *,
    inputs: Tensor | None = None,
    targets: Tensor | None = None,
    budget: DescriptionBudget | int = "fast",
    seed: int = 0,
    watch: Callable[[Progress], object] | None = None,
) -> list[DescriptionResult]:
    """Describe a task: bytes of the shortest decodable stream found of any network that is as good within a bound.

    Unlike `measure`, weights are trained further, straight through their rounding and at a price for bits. So the
    number says nothing about the network given, which is where training begins; it is an upper bound on the
    description length of the task, and what a generalisation bound asks for. A network that has memorised may well
    generalise under it.

    Args:
        network: named tensors of any floating dtype and rank, or a module (its parameters, tied ones once). Left as
            it is.
        loss: as for `measure`. Without a gradient nothing is trained.
        epsilons: bounds on the mean training loss above that of the network given, nats per example, each above 0.
            Each result is what it would be alone.
        inputs: as for `measure`.
        targets: as for `measure`.
        budget: steps of training, or the name of a number of them, see `BUDGETS`.
        seed: of the training examples drawn for each step. The same on the same CPU build gives the same bytes.
        watch: told of the network on the way every 50 steps.

    Returns:
        A result for every epsilon, in their order. Each stream is decoded and evaluated before it counts; where
        nothing else keeps the bound, the weights themselves are coded.

    Raises:
        MeasurementError: a network, loss, epsilon or budget for which there is no description.
    """
    steps = _steps(budget)
    check_epsilons(epsilons)
    parameters = tensors(network)
    check_measurable(parameters)
    objective = training_objective(network, loss, inputs, targets)
    return describe_objective(parameters, objective, epsilons, steps=steps, seed=seed, watch=watch)


def describe_objective(
    parameters: Mapping[str, Tensor],
    objective: Objective,
    epsilons: Sequence[float],
    *,
    steps: int = BUDGETS["fast"],
    seed: int = 0,
    watch: Callable[[Progress], object] | None = None,
) -> list[DescriptionResult]:
    """The same for parameters [...] without lane axis and the objective of one lane."""
    lanes = {name: tensor[None].contiguous() for name, tensor in parameters.items()}
    base = base_losses(objective, lanes)
    nothing = {name: torch.zeros_like(tensor) for name, tensor in lanes.items()}
    reachable = float(increases(objective, nothing, base)[0])
    search = Search(objective, lanes, base, _FIRST)
    results = []
    for epsilon in epsilons:
        started = time.perf_counter()
        (found,) = search.best(epsilon)
        kept = [_Kept(candidate.bits, candidate.codes) for candidate in found.feasible]
        evaluations = found.evaluations
        taken = 0
        if found.feasible and steps:
            first = min(found.feasible, key=lambda candidate: candidate.bits)
            codes = cast(Mapping[Piece, Zeros | Direct], first.codes)
            tuning = FineTuning(
                objective,
                QuantisedNetwork(codes, parameters),
                float(base[0]),
                epsilon,
                reachable,
                2.0 ** (first.price / PRICES_PER_OCTAVE),
                seed,
            )
            for checkpoint in tuning.run(steps):
                taken = checkpoint.step
                evaluations += 1
                if checkpoint.increase <= epsilon:
                    kept.append(_Kept(checkpoint.bits, checkpoint.codes))
                if watch is not None:
                    watch(_progress(epsilon, checkpoint))
        stream, shares, decoded, increase, tried = _certified(kept, parameters, objective, base, epsilon)
        results.append(
            DescriptionResult(
                epsilon=epsilon,
                task_description_bytes=len(stream),
                bitstream=stream,
                bytes_by_tensor=shares,
                loss_increase=increase,
                evaluations=evaluations + tried,
                steps=taken,
                wall_s=time.perf_counter() - started,
                decoded=decoded,
            )
        )
    return results


@dataclass(frozen=True, slots=True)
class _Kept:
    """A network that keeps the bound."""

    bits: float
    codes: Mapping[Piece, Code]


def _certified(
    kept: list[_Kept], parameters: Mapping[str, Tensor], objective: Objective, base: Tensor, epsilon: float
) -> tuple[bytes, dict[str, float], dict[str, Tensor], float, int]:
    """The shortest stream that keeps the bound as it decodes, and how many were tried."""
    kept.sort(key=lambda one: one.bits)
    tried = 0
    for first in range(0, len(kept), _CODED):
        streams = [encode(one.codes, parameters) for one in kept[first : first + _CODED]]
        for stream, shares in sorted(streams, key=lambda coded: len(coded[0])):
            decoded = decode(stream, parameters)
            increase = float(increases(objective, _one_lane(decoded), base)[0])
            tried += 1
            if increase <= epsilon:
                return stream, shares, decoded, increase, tried
    stream, shares = encode_lossless(parameters)
    decoded = decode(stream, parameters)
    return stream, shares, decoded, float(increases(objective, _one_lane(decoded), base)[0]), tried + 1


def _progress(epsilon: float, checkpoint: Checkpoint) -> Progress:
    weights = {name: tensor[0] for name, tensor in checkpoint.parameters.items()}
    return Progress(epsilon, checkpoint.step, checkpoint.bits / 8, checkpoint.increase, weights)


def _one_lane(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor[None] for name, tensor in parameters.items()}


def _steps(budget: str | int) -> int:
    if isinstance(budget, str) and budget in BUDGETS:
        return BUDGETS[budget]
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 0:
        raise MeasurementError(f"budget must be a number of steps or one of {', '.join(BUDGETS)}, got {budget!r}")
    return budget
