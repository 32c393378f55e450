"""The search for one distortion bound: the highest price of a bit at which the loss still keeps it.

Prices are on one grid for all bounds, and a candidate depends only on its price, neither on the requested bound nor
on the prices tried before. Losses are not always monotone in the price, so the search promises only this: every
candidate it returns has been evaluated on all training examples and found feasible.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainables.complexity.buckets import TRANSFORM_GAIN, buckets
from trainables.complexity.candidates import candidates, first_corrections
from trainables.complexity.codes import Code
from trainables.complexity.corrections import fitted
from trainables.complexity.curvature import curvatures, increases
from trainables.complexity.objective import Objective
from trainables.complexity.pieces import Piece, pieces
from trainables.complexity.prices import PRICES_PER_OCTAVE, prices
from trainables.complexity.rounding import total_bits
from trainables.complexity.turning import Plan, planned, turned

#: The price at which transforms are judged, in nats per bit.
TYPICAL_PRICE = 1e-4


@dataclass(frozen=True, slots=True)
class Budget:
    """How much to search, counted in evaluations."""

    looks: int
    """The factor on the usual number of looks at the curvature."""
    fitting_steps: int
    """Steps that fit scales and means of every candidate; 0 for no fitting."""
    factors: bool = True
    """Whether matrices may be kept as factors."""
    transform_gain: float = TRANSFORM_GAIN
    """Share of a matrix's bits that a transform must promise to save."""
    rotations: bool = False
    """Whether pieces are tried in the bases of others, and streams may use the extended form where it is shorter.
    """
    beside: Budget | None = None
    """A smaller budget that is searched, too, so that no stream is longer than with that budget alone."""


_FAST = Budget(looks=1, fitting_steps=10)
BUDGETS: dict[str, Budget] = {
    "fast": _FAST,
    "thorough": Budget(looks=5, fitting_steps=45, rotations=True, beside=_FAST),
}

#: The bases tried at a price are those that pay at the first price of its octave.
_PLANNED = PRICES_PER_OCTAVE


@dataclass(frozen=True, slots=True)
class Candidate:
    """One lane's network rounded at one price."""

    price: int
    """2^(price / PRICES_PER_OCTAVE) nats per bit."""
    increase: float
    """Nats per example above the network's own loss; infinite where that is not finite."""
    bits: float
    """The estimated bits."""
    codes: Mapping[Piece, Code]


@dataclass(slots=True)
class SearchResult:
    """The feasible candidates met by the search for one lane, and the number of evaluations."""

    feasible: list[Candidate] = field(default_factory=list)
    evaluations: int = 0


class Search:
    """The work that all bounds share for some networks, and the search for each bound."""

    def __init__(
        self, objective: Objective, parameters: Mapping[str, Tensor], base: Tensor, budget: Budget
    ) -> None:
        """Take the curvature of networks [L, ...] with mean losses [L]."""
        self._objective = objective
        self._parameters = parameters
        self._base = base
        self._budget = budget
        self._cut = pieces({name: tuple(tensor.shape[1:]) for name, tensor in parameters.items()})
        self._corrections = first_corrections(parameters, self._cut)
        felt = curvatures(objective, parameters, base, self._cut, budget.looks)
        self._buckets = buckets(
            parameters,
            self._corrections.means,
            felt,
            TYPICAL_PRICE,
            factors=budget.factors,
            transform_gain=budget.transform_gain,
        )
        nothing = {name: torch.zeros_like(tensor) for name, tensor in parameters.items()}
        self._reachable = increases(objective, nothing, base).tolist()
        self._weights = sum(piece.rows * piece.columns for piece in self._cut)
        self._plans: list[dict[int, Plan]] = [{} for _ in range(len(base))]
        self._known: list[dict[int, Candidate]] = [{} for _ in range(len(base))]

    def best(self, epsilon: float) -> list[SearchResult]:
        """Return, for each lane, the feasible candidates met on the way to its highest feasible price."""
        met = [SearchResult() for _ in self._known]
        searches = [prices(epsilon, reachable, self._weights) for reachable in self._reachable]
        # Lanes search at their own pace; each round of this loop takes those that still do in one batch.
        wanted = {lane: next(search) for lane, search in enumerate(searches)}
        while wanted:
            # A price that another epsilon led to is not rounded again. It counts as an evaluation all the same,
            # because a result must not depend on which epsilons were asked for.
            self._evaluate({lane: price for lane, price in wanted.items() if price not in self._known[lane]})
            following = {}
            for lane, price in wanted.items():
                candidate = self._known[lane][price]
                met[lane].evaluations += 1
                if candidate.increase <= epsilon:
                    met[lane].feasible.append(candidate)
                with suppress(StopIteration):
                    following[lane] = searches[lane].send(candidate.increase)
            wanted = following
        return met

    def _evaluate(self, wanted: Mapping[int, int]) -> None:
        """Round these lanes at their prices, in one batch."""
        if not wanted:
            return
        lanes = list(wanted)
        chosen = torch.tensor(lanes)
        # Picking lanes copies them, which is spared where all are wanted, as for a single network.
        whole = len(lanes) == len(self._known)
        picked = self._buckets if whole else [bucket.pick(chosen) for bucket in self._buckets]
        corrections = self._corrections if whole else self._corrections.pick(chosen)
        objective = self._objective if whole else self._objective.pick(chosen)
        like = self._parameters if whole else {name: tensor[chosen] for name, tensor in self._parameters.items()}
        nats_per_bit = torch.tensor(
            [2.0 ** (price / PRICES_PER_OCTAVE) for price in wanted.values()],
            dtype=torch.float32,
            device=self._base.device,
        )
        at = candidates(picked, nats_per_bit, corrections, like)
        if self._budget.rotations:
            plans = [self._plan(lane, price // _PLANNED * _PLANNED) for lane, price in wanted.items()]
            at = turned(at, nats_per_bit, plans, self._cut)
        if self._budget.fitting_steps:
            at = at.corrected(fitted(at, objective, self._budget.fitting_steps))
        lost = increases(objective, at.parameters(), self._base[chosen]).tolist()
        bits = total_bits(at.rounded, len(lanes))
        for place, lane in enumerate(lanes):
            self._known[lane][wanted[lane]] = Candidate(
                wanted[lane], lost[place], bits[place], at.codes(place, self._cut)
            )

    def _plan(self, lane: int, price: int) -> Plan:
        """Plan which bases to try for a lane, as they pay at a price."""
        if price not in self._plans[lane]:
            alone = torch.tensor([lane])
            nats_per_bit = 2.0 ** (price / PRICES_PER_OCTAVE)
            at = candidates(
                [bucket.pick(alone) for bucket in self._buckets],
                torch.full((1,), nats_per_bit, dtype=torch.float32, device=self._base.device),
                self._corrections.pick(alone),
                {name: tensor[alone] for name, tensor in self._parameters.items()},
            )
            self._plans[lane][price] = planned(at, nats_per_bit, self._cut)
        return self._plans[lane][price]
