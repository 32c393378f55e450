"""Find out whether a lane's bits depend on its company: the probe at the start of a run.

Lanes share only the arithmetic, but a library may choose another kernel for a batch of eight networks than for one
of two, or for matrices at another address. So the run's own computations, with its own shapes, are done for a few
networks in companies of several sizes, each in several places, and the bits are compared. Nothing is assumed of
processor, library or settings. What a comparison finds by luck only is looked for in the sizes of the tensors
(`trainables.numerics.leftovers`).
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from trainables.architectures import initial_weights
from trainables.complexity.objective import CHUNK_EXAMPLES
from trainables.config.families import BUILT_IN_KINDS
from trainables.lanes.gradient import loss_gradient
from trainables.lanes.shape import Shape
from trainables.numerics.computing import settled_torch
from trainables.numerics.leftovers import leaves_elements_over
from trainables.random import generator
from trainables.scoring import table_outcomes
from trainables.spectral import add_penalty_gradient

NETWORKS = 3
"""Networks of the probe; a wider company has several lanes of each."""

WIDTHS = (2, 3, 8)
"""Numbers of lanes compared for the built-in networks, whose operations are known."""

WIDTHS_OF_OWN_MODULES = (2, 3, 4, 8, 16)
"""Numbers of lanes compared for any other network. They are fixed: whether lanes are batched must not depend on how
many a run has. A batch of convolutions is one with groups, whose kernel is chosen by all channels together."""

_PENALTY_WEIGHT = 0.1

_Computation = Callable[[Tensor, Sequence[int]], Tensor]
"""Does one of a run's computations at weights [l, P] of some of the networks; returns one row each, [l, ...]."""


class DependsOnCompany(RuntimeWarning):
    """Warned of once per process where a trial's bits depend on the trials it shares a process with."""


def is_own(shape: Shape) -> bool:
    """Check whether the network is user-supplied."""
    return shape.model.kind not in BUILT_IN_KINDS


def independent_of_company(shape: Shape, *, penalised: bool) -> Shape:
    """Return the shape, with lanes trained one by one where an own module's bits would depend on company batched.

    The choice depends on the shape and the machine only, so it is the same in every process and after a resumption.
    On a GPU lanes stay batched, since there a network alone costs about as much as many.

    Args:
        shape: common to the trials of a run.
        penalised: whether the spectral penalty is among its computations.
    """
    may_change = is_own(shape) and not shape.one_by_one and shape.device.type == "cpu"
    if may_change and dependent_computations(shape, penalised=penalised):
        return dataclasses.replace(shape, one_by_one=True)
    return shape


def dependent_computations(shape: Shape, *, penalised: bool, lanes: int = 0) -> tuple[str, ...]:
    """Name the computations of a run whose bits depend on company here: of step, penalty and evaluation.

    Takes about as long as 15 steps and evaluations of one lane, 35 for a user-supplied module, or 3 where lanes are
    trained one by one. The answer is kept, since neither processor nor settings change within a process.

    Args:
        shape: common to the trials of the run.
        penalised: whether the spectral penalty is among its computations.
        lanes: those of the run, compared as well if there are more of them than are compared anyway.
    """
    widths = WIDTHS_OF_OWN_MODULES if is_own(shape) else WIDTHS
    return _probe(shape, penalised, (*widths, lanes) if lanes > widths[-1] else widths)


@lru_cache(maxsize=16)
def _probe(shape: Shape, penalised: bool, widths: tuple[int, ...]) -> tuple[str, ...]:
    architecture, layout, task, device = shape.architecture, shape.layout, shape.task, shape.device
    # Where lanes are trained one by one, only the address of a lane's row can make a difference: one network is
    # compared with itself at three addresses.
    companies = [[0] * NETWORKS] if shape.one_by_one else _companies(widths)
    networks = [initial_weights(architecture, shape.model, seed) for seed in range(1 + max(map(max, companies)))]
    rows = {name: torch.stack([network[name] for network in networks]) for name in architecture.shapes}
    weights = layout.rows(rows).to(device)
    # Each network has a batch of its own, as in a run: equal rows could hide a mix-up of lanes.
    some = torch.randint(task.examples, (NETWORKS, shape.batch_size), generator=generator(0, "probe"))
    inputs, targets = task.inputs[some].to(device), task.targets[some].to(device)
    sizes = CHUNK_EXAMPLES + task.examples % CHUNK_EXAMPLES  # a whole chunk and one of the size of the last
    table, labels = task.inputs[:sizes].to(device), task.targets[:sizes].to(device)

    def step(at: Tensor, lanes: Sequence[int]) -> Tensor:
        chosen = list(lanes)
        return loss_gradient(architecture, layout, at, inputs[chosen], targets[chosen])

    def penalty(at: Tensor, lanes: Sequence[int]) -> Tensor:
        gradient, weight = torch.zeros_like(at), at.new_full((len(lanes), 1), _PENALTY_WEIGHT)
        add_penalty_gradient(layout.parameters(gradient), layout.parameters(at), shape.spectral_floor, weight)
        return gradient

    def evaluation(at: Tensor, lanes: Sequence[int]) -> Tensor:
        losses, _, squares = table_outcomes(
            architecture, layout.parameters(at), table, labels.repeat(len(lanes), 1)
        )
        return torch.cat([losses, squares.view(torch.float32)], 1)  # all bits, for `_same_bits`

    def rows_of(compute: _Computation, company: Sequence[int]) -> Iterator[Tensor]:
        """Compute as the run does: for all together, or for each in a row of its own, at an address of its own."""
        # A copy for each company: MKL chooses kernels by the alignment of memory, too.
        at = weights[list(company)]
        size = 1 if shape.one_by_one else len(company)
        for first in range(0, len(company), size):
            yield from compute(at[first : first + size], company[first : first + size])

    def depends(compute: _Computation) -> bool:
        if compute in of_a_module and leaves_elements_over(lambda: compute(weights, range(NETWORKS))):
            return True
        first_bits: dict[int, Tensor] = {}
        for company in companies:
            for network, bits in zip(company, rows_of(compute, company), strict=True):
                # What the first company gave for a network, all others must give.
                if not _same_bits(bits, first_bits.setdefault(network, bits)):
                    return True
        return False

    # The built-in networks and the penalty are written so that what is left over rounds alike.
    is_batched = is_own(shape) and not shape.one_by_one and device.type == "cpu"
    of_a_module = (step, evaluation) if is_batched else ()
    computations: dict[str, _Computation] = {"step": step}
    if penalised:
        computations["penalty"] = penalty
    computations["evaluation"] = evaluation
    with settled_torch():
        return tuple(name for name, compute in computations.items() if depends(compute))


def _companies(widths: tuple[int, ...]) -> list[list[int]]:
    """List companies of these numbers of lanes; in each, the networks take turns."""
    # At least two are together where they are batched, so a third network is compared from another pair.
    return [[2, 0], *([place % NETWORKS for place in range(width)] for width in widths)]


def _same_bits(first: Tensor, second: Tensor) -> bool:
    """Compare as integers: a NaN is itself, and -0 is not 0."""
    return torch.equal(first.detach().view(torch.int32), second.detach().view(torch.int32))


_warned = set[str]()


def warn_of_company(computations: Sequence[str], device: torch.device) -> None:
    """Warn where a trial's bits depend on its company, with each text once in a process."""
    text = advice(computations, device)
    if text is not None and text not in _warned:
        _warned.add(text)
        warnings.warn(text, DependsOnCompany, stacklevel=3)


def advice(computations: Sequence[str], device: torch.device) -> str | None:
    """Say which bits of a trial depend on its company, and what to do; None if none do."""
    if not computations:
        return None
    where = f"a trial's bits depend on the trials it shares a process with ({', '.join(computations)})"
    has_mkl = bool(torch.backends.mkl.is_available())  # type: ignore[no-untyped-call]
    setting = os.environ.get("MKL_CBWR")
    if device.type == "cpu" and has_mkl and setting == "AUTO":
        return (
            f"{where}: most likely torch computed something before trainables was imported, and MKL chose its "
            "kernels then. Import trainables before torch computes anything, or set MKL_CBWR=AUTO before Python "
            "starts"
        )
    if device.type == "cpu" and has_mkl:
        return f"{where} with MKL_CBWR={setting}. Set MKL_CBWR=AUTO before Python starts, or leave it unset"
    library = f"torch's kernels on {device.type}" if device.type != "cpu" else "this build of torch, without MKL,"
    return (
        f"{where}, by rounding only: {library} choose by the size of the batch. To compare trials to the last bit, "
        "train each with lanes=1 or in the same cohort"
    )
