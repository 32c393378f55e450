"""The search for one distortion bound: the highest price of a bit at which the loss still keeps it.

Prices lie on one grid for all bounds, and a candidate depends on its price and on nothing else, neither on the
bound it was asked for nor on the way there. Losses are not always monotone in the price, so the search promises
only this: every candidate it returns has been evaluated on all training examples and found feasible.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trainables.complexity.buckets import buckets
from trainables.complexity.candidates import candidates, first_corrections
from trainables.complexity.codes import Code
from trainables.complexity.corrections import fitted
from trainables.complexity.curvature import curvatures, increases
from trainables.complexity.objective import Objective
from trainables.complexity.pieces import Piece, pieces
from trainables.complexity.rounding import total_bits

#: Prices are 2^(k / 16) nats per bit.
PRICES_PER_OCTAVE = 16

#: The price at which the search begins, in nats per bit and per nat of epsilon.
FIRST_PRICE = 1e-4

_NEAR_ENOUGH = 0.08
_LONGEST_STRIDE = 3 * PRICES_PER_OCTAVE


@dataclass(frozen=True, slots=True)
class Budget:
    """How much to search, counted in evaluations."""

    looks: int
    """Times the usual number of looks at the curvature."""
    fitting_steps: int
    """Steps that fit scales and means of every candidate; 0 for none."""
    candidates: int
    """Candidates of one epsilon, once one is feasible."""
    most_candidates: int = 16
    """Candidates of one epsilon in any case."""


BUDGETS: dict[str, Budget] = {
    "fast": Budget(looks=1, fitting_steps=10, candidates=8),
    "thorough": Budget(looks=4, fitting_steps=60, candidates=12),
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One lane's network rounded at one price."""

    increase: float
    """Nats per example above the network's own loss; infinite where that is not finite."""
    bits: float
    """Estimated."""
    codes: Mapping[Piece, Code]


@dataclass(slots=True)
class Found:
    """What was found for one lane."""

    feasible: list[Candidate] = field(default_factory=list)
    evaluations: int = 0


@dataclass(slots=True)
class _Bracket:
    """Where the highest feasible price of a lane may lie, on the grid."""

    price: int
    low: int | None = None
    high: int | None = None
    low_increase: float = math.nan
    high_increase: float = math.nan
    stride: int = 8
    width: float = math.inf
    done: bool = False

    def learn(self, candidate: Candidate, epsilon: float) -> None:
        """Take in what was found at the present price, and choose the next."""
        increase = max(candidate.increase, 1e-6)
        if candidate.increase <= epsilon:
            self.done = increase > epsilon * (1 - _NEAR_ENOUGH) or candidate.bits == 0
            self.low, self.low_increase = self.price, increase
        else:
            self.high, self.high_increase = self.price, increase
        if self.low is not None and self.high is not None:
            self._narrow(self.low, self.high, epsilon)
        else:
            self._widen(increase / epsilon)

    def _narrow(self, low: int, high: int, epsilon: float) -> None:
        """By the logarithm of the loss, or in the middle where that has not halved the bracket last time."""
        width = high - low
        if width <= 1:
            self.done = True
            return
        share = 0.5
        if self.high_increase < math.inf and 2 * width <= self.width:
            aim = math.log(0.97 * epsilon / self.low_increase)
            share = min(max(aim / math.log(self.high_increase / self.low_increase), 0.15), 0.85)
        self.width = width
        self.price = min(max(low + round(share * width), low + 1), high - 1)

    def _widen(self, excess: float) -> None:
        """The loss increase grows about as the price; strides never get shorter, lest a plateau use them all up."""
        wanted = -PRICES_PER_OCTAVE * math.log2(excess) * 0.9 if excess < math.inf else -math.inf
        length = round(min(max(abs(wanted), self.stride), _LONGEST_STRIDE))
        self.stride = min(2 * self.stride, _LONGEST_STRIDE)
        self.price += length if excess <= 1 else -length


class Search:
    """What all bounds share of some networks, and the search for each bound."""

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
        self._buckets = buckets(parameters, self._corrections.means, felt, FIRST_PRICE)
        self._known: list[dict[int, Candidate]] = [{} for _ in range(len(base))]

    def best(self, epsilon: float) -> list[Found]:
        """The feasible candidates met, for each lane, on the way to its highest feasible price."""
        first = round(PRICES_PER_OCTAVE * math.log2(FIRST_PRICE * epsilon))
        brackets = [_Bracket(first) for _ in self._known]
        found = [Found() for _ in self._known]
        for asked in range(self._budget.most_candidates):
            active = [
                lane
                for lane, bracket in enumerate(brackets)
                if not bracket.done and (asked < self._budget.candidates or not found[lane].feasible)
            ]
            if not active:
                break
            self._evaluate([lane for lane in active if brackets[lane].price not in self._known[lane]], brackets)
            for lane in active:
                candidate = self._known[lane][brackets[lane].price]
                found[lane].evaluations += 1
                if candidate.increase <= epsilon:
                    found[lane].feasible.append(candidate)
                brackets[lane].learn(candidate, epsilon)
        return found

    def _evaluate(self, lanes: list[int], brackets: Sequence[_Bracket]) -> None:
        """Round these lanes at their prices, together."""
        if not lanes:
            return
        chosen = torch.tensor(lanes)
        whole = len(lanes) == len(self._known)
        picked = self._buckets if whole else [bucket.pick(chosen) for bucket in self._buckets]
        corrections = self._corrections if whole else self._corrections.pick(chosen)
        objective = self._objective if whole else self._objective.pick(chosen)
        like = self._parameters if whole else {name: tensor[chosen] for name, tensor in self._parameters.items()}
        prices = torch.tensor(
            [2.0 ** (brackets[lane].price / PRICES_PER_OCTAVE) for lane in lanes],
            dtype=torch.float32,
            device=self._base.device,
        )
        at = candidates(picked, prices, corrections, like)
        if self._budget.fitting_steps:
            at = at.corrected(fitted(at, objective, self._budget.fitting_steps))
        lost = increases(objective, at.parameters(), self._base[chosen]).tolist()
        bits = total_bits(at.rounded, len(lanes))
        for place, lane in enumerate(lanes):
            self._known[lane][brackets[lane].price] = Candidate(
                lost[place], bits[place], at.codes(place, self._cut)
            )
