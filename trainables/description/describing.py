"""The public function: the shortest stream found of any network that does a task as well as a given one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from trainables.complexity.certify import Coded, certify
from trainables.complexity.codes import Code, Direct, Zeros
from trainables.complexity.curvature import increases
from trainables.complexity.losses import Loss, base_losses, training_objective
from trainables.complexity.network import Network, check_epsilons, check_measurable, tensors
from trainables.complexity.objective import Objective
from trainables.complexity.pieces import Piece
from trainables.complexity.prices import PRICES_PER_OCTAVE
from trainables.complexity.search import Budget, Search
from trainables.complexity.stream import encode, encode_lossless
from trainables.description.fine_tuning import Checkpoint, FineTuning
from trainables.description.quantised import QuantisedNetwork
from trainables.description.result import DescriptionResult
from trainables.errors import MeasurementError
from trainables.numerics.computing import settled_torch

DescriptionBudget = Literal["fast", "thorough"]

#: Steps of straight-through training.
BUDGETS: Mapping[str, int] = {"fast": 2000, "thorough": 6000}

#: How to round at first: without factors, and with a transform only where it saves much. Training makes weights
#: sparse where the basis is free; where it is not (the basis of tokens, say), a transform saves much.
_FIRST = Budget(looks=1, fitting_steps=10, factors=False, transform_gain=0.2)

#: The number of checkpoints that are coded: the shortest by estimate.
_CODED = 5


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a description in progress."""

    epsilon: float
    step: int
    estimated_bytes: float
    loss_increase: float
    """Loss increase of the network as rounded now, nats per example."""
    parameters: Mapping[str, Tensor]
    """The weights of the network as rounded now."""


@settled_torch()
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
    """Describe a task: bytes of the shortest decodable stream found of any network within a distortion bound.

    Unlike `measure`, this trains the weights further, straight through their rounding and at a price for bits. So
    the number says nothing about the given network, from which training starts; it is an upper bound on the
    description length of the task, as a generalisation bound requires. A network that has only memorised may
    generalise after this training.

    Args:
        network: named tensors of any floating dtype and rank, or a module (its parameters, tied ones once); left
            as it is.
        loss: see `measure`. If it has no gradient, nothing is trained.
        epsilons: bounds on the increase of mean training loss over the given network, nats per example, above 0.
            A result does not depend on other epsilons.
        inputs: see `measure`.
        targets: see `measure`.
        budget: training steps, or the name of a budget in `BUDGETS`.
        seed: draws the training examples of each step. The same seed on the same CPU build gives the same bytes.
        watch: called with the progress every 50 steps.

    Returns:
        A result for every epsilon, in order. Each stream is decoded and evaluated before it counts; where
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


@settled_torch()
def describe_objective(
    parameters: Mapping[str, Tensor],
    objective: Objective,
    epsilons: Sequence[float],
    *,
    steps: int = BUDGETS["fast"],
    seed: int = 0,
    watch: Callable[[Progress], object] | None = None,
) -> list[DescriptionResult]:
    """Describe the task of parameters [...] without lane axis, by the objective of one lane."""
    lanes = {name: tensor[None].contiguous() for name, tensor in parameters.items()}
    base = base_losses(objective, lanes)
    nothing = {name: torch.zeros_like(tensor) for name, tensor in lanes.items()}
    reachable = float(increases(objective, nothing, base)[0])
    search = Search(objective, lanes, base, _FIRST)
    results = []
    for epsilon in epsilons:
        started = time.perf_counter()
        (searched,) = search.best(epsilon)
        kept = [_Kept(candidate.bits, candidate.codes) for candidate in searched.feasible]
        evaluations = searched.evaluations
        taken = 0
        if searched.feasible and steps:
            first = min(searched.feasible, key=lambda candidate: candidate.bits)
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
        (certified,) = certify(objective, lanes, base, [_streams(kept, parameters)], epsilon)
        results.append(
            DescriptionResult(
                epsilon=epsilon,
                task_description_bytes=len(certified.bitstream),
                bitstream=certified.bitstream,
                bytes_by_tensor=certified.bytes_by_tensor,
                loss_increase=certified.loss_increase,
                evaluations=evaluations + certified.tried,
                steps=taken,
                wall_s=time.perf_counter() - started,
                decoded=certified.decoded,
            )
        )
    return results


@dataclass(frozen=True, slots=True)
class _Kept:
    """A rounded network that keeps the bound."""

    bits: float
    codes: Mapping[Piece, Code]


def _streams(kept: list[_Kept], parameters: Mapping[str, Tensor]) -> Iterator[Coded]:
    """Encode what was kept, the shortest by estimate first, and last the weights themselves."""
    kept.sort(key=lambda one: one.bits)
    for first in range(0, len(kept), _CODED):
        # Neighbours are closer than the estimate is exact, so a few are coded and ordered by their real lengths.
        coded = [encode(one.codes, parameters) for one in kept[first : first + _CODED]]
        yield from sorted(coded, key=lambda one: len(one[0]))
    yield encode_lossless(parameters)


def _progress(epsilon: float, checkpoint: Checkpoint) -> Progress:
    weights = {name: tensor[0] for name, tensor in checkpoint.parameters.items()}
    return Progress(epsilon, checkpoint.step, checkpoint.bits / 8, checkpoint.increase, weights)


def _steps(budget: str | int) -> int:
    if isinstance(budget, str) and budget in BUDGETS:
        return BUDGETS[budget]
    if isinstance(budget, bool) or not isinstance(budget, int) or budget < 0:
        raise MeasurementError(f"budget must be a number of steps or one of {', '.join(BUDGETS)}, got {budget!r}")
    return budget
