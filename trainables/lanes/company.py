"""Find out whether a lane's bits depend on its company: the probe at the start of a run.

Lanes share only the arithmetic, but a library may choose another kernel for a batch of three matrices than for one
of two, or for matrices at another address. So the run's own computations, with its own shapes, are done for a few
networks together and for each of them in smaller company and in another place, and the bits are compared. Nothing
is assumed of processor, library or settings.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from trainables.architectures import Architecture, initial_weights
from trainables.complexity.objective import CHUNK_EXAMPLES
from trainables.config import ModelConfig
from trainables.lanes.gradient import loss_gradient
from trainables.lanes.layout import Layout
from trainables.lanes.shape import Shape
from trainables.random import generator
from trainables.scoring import table_outcomes
from trainables.spectral import add_penalty_gradient
from trainables.tasks import Task

LANES = 3
"""Networks of the probe: enough for two of them to be together while a third is left out."""

_PENALTY_WEIGHT = 0.1

_Computation = Callable[[Sequence[int]], Tensor]
"""Does one of a run's computations for some of the networks, [l] of `LANES`; returns one row each, [l, ...]."""


class DependsOnCompany(RuntimeWarning):
    """Warned of once per process where a trial's bits depend on the trials it shares a process with."""


def dependent_computations(shape: Shape, *, penalised: bool) -> tuple[str, ...]:
    """Name the computations of a run whose bits depend on company here: of step, penalty and evaluation.

    Takes about as long as three steps of `LANES` lanes and three evaluations of a chunk or two of examples; the
    answer is kept, since neither processor nor settings change within a process.

    Args:
        shape: common to the trials of the run.
        penalised: whether the spectral penalty is among its computations.
    """
    floor = shape.spectral_floor if penalised else None
    return _probe(shape.architecture, shape.model, shape.task, shape.batch_size, floor, shape.device)


@lru_cache(maxsize=16)
def _probe(
    architecture: Architecture,
    model: ModelConfig,
    task: Task,
    batch_size: int,
    floor: float | None,
    device: torch.device,
) -> tuple[str, ...]:
    layout = Layout(architecture.shapes)
    networks = [initial_weights(architecture, model, seed) for seed in range(LANES)]
    rows = {name: torch.stack([network[name] for network in networks]) for name in architecture.shapes}
    weights = layout.rows(rows).to(device)
    some = torch.randint(task.examples, (LANES, batch_size), generator=generator(0, "probe"))
    inputs, targets = task.inputs[some].to(device), task.targets[some].to(device)
    sizes = CHUNK_EXAMPLES + task.examples % CHUNK_EXAMPLES  # a whole chunk and one of the size of the last
    table, labels = task.inputs[:sizes].to(device), task.targets[:sizes].to(device)

    def step(lanes: Sequence[int]) -> Tensor:
        chosen = list(lanes)
        return loss_gradient(architecture, layout, weights[chosen], inputs[chosen], targets[chosen])

    def step_of_one(lanes: Sequence[int]) -> Tensor:
        placed = weights[list(lanes)]  # each network in a row of its own: at an address that depends on its place
        parts = [
            loss_gradient(architecture, layout, placed[at : at + 1], inputs[lane][None], targets[lane][None])
            for at, lane in enumerate(lanes)
        ]
        return torch.cat(parts)

    def penalty(lanes: Sequence[int]) -> Tensor:
        placed = weights[list(lanes)]
        gradient = torch.zeros_like(placed)
        weight = placed.new_full((len(lanes), 1), _PENALTY_WEIGHT)
        add_penalty_gradient(layout.parameters(gradient), layout.parameters(placed), floor or 0.0, weight)
        return gradient

    def evaluation(lanes: Sequence[int]) -> Tensor:
        parameters = layout.parameters(weights[list(lanes)])
        return table_outcomes(architecture, parameters, table, labels.repeat(len(lanes), 1))[0]

    one_by_one = architecture.by_hand(batch_size, device) is not None
    computations: dict[str, _Computation] = {"step": step_of_one if one_by_one else step}
    if floor is not None:
        computations["penalty"] = penalty
    if not one_by_one:  # otherwise networks are evaluated one at a time as well
        computations["evaluation"] = evaluation
    return tuple(name for name, compute in computations.items() if _depends(compute))


def _depends(compute: _Computation) -> bool:
    """Compare networks' bits among all `LANES` with those in smaller company, in the same place and in another.

    At least two are together: a lane run never trains fewer in one batch.
    """
    together = compute(range(LANES))
    for company in ([0, 2], [1, 1]):
        apart = compute(company)
        if not all(_same_bits(apart[place], together[lane]) for place, lane in enumerate(company)):
            return True
    return False


def _same_bits(first: Tensor, second: Tensor) -> bool:
    """Compare as integers: a NaN is itself, and -0 is not 0."""
    return torch.equal(first.detach().view(torch.int32), second.detach().view(torch.int32))


def warn_of_company(computations: Sequence[str], device: torch.device) -> None:
    """Warn where a trial's bits depend on its company; Python shows one text once per place that warns."""
    text = advice(computations, device)
    if text is not None:
        warnings.warn(text, DependsOnCompany, stacklevel=3)


def advice(computations: Sequence[str], device: torch.device) -> str | None:
    """Say which bits of a trial depend on its company, and what to do; None if none do."""
    if not computations:
        return None
    where = f"a trial's bits depend on the trials it shares a process with ({', '.join(computations)})"
    has_mkl = bool(torch.backends.mkl.is_available())  # type: ignore[no-untyped-call]
    if device.type == "cpu" and has_mkl:
        return (
            f"{where}: MKL chose its kernels before trainables was imported, or MKL_CBWR is set to a value it does "
            "not know. Import trainables before torch computes anything, or set MKL_CBWR=AUTO before Python starts"
        )
    library = f"torch's kernels on {device.type}" if device.type != "cpu" else "this build of torch, without MKL,"
    return (
        f"{where}, by rounding only: {library} choose by the size of the batch. To compare trials to the last bit, "
        "train each with lanes=1 or in the same cohort"
    )
