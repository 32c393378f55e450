"""The search: the coarsest resolutions that keep the loss within the bound, in few evaluations.

Losses are not monotone in the resolution, so the search promises only this: every resolution it calls
feasible has been evaluated on the whole training set and found feasible. An infeasible one never wins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.complexity.curvature import EVALUATIONS, Curvature, curvatures
from trainables.complexity.rounding import Rounded, Rounder, uniform

#: Resolutions are 2^(k/16): one grid for all epsilons, so that their searches look at the same candidates.
RESOLUTIONS_PER_OCTAVE = 16

#: The loss increase, in nats, at which curvature is taken, whatever epsilon is asked for. At the minimum
#: itself a memorising network has no gradient to measure.
CURVATURE_INCREASE = 1.0

#: A network that has learnt little cannot lose that much: beyond what it knows, gradients say nothing. The
#: increase is then this share of what it loses with all its weights at zero.
REACHABLE_SHARE = 0.5

#: Weights without curvature are left out if the network without them loses no more than this, in nats.
UNSEEN_INCREASE = 1e-3

_FIRST_GUESS = 0.5
_CURVATURE_ROUNDS = 2
_APPROACHES = 5
_NEAR_ENOUGH = math.log(4)
_LARGEST_BRACKETING = 10
_SHORTEST_STRIDE = 3
_LONGEST_STRIDE = 4 * RESOLUTIONS_PER_OCTAVE


@dataclass(frozen=True, slots=True)
class Candidate:
    """One evaluated resolution."""

    resolution: int
    """beta = 2^(resolution / 16)."""
    thrift: float
    loss_increase: float
    """Nats per example; infinite where the loss was not finite or the rounding not possible."""
    bits: float


def beta(resolution: int) -> float:
    """The resolution a grid point stands for, in square roots of nats."""
    return float(2.0 ** (resolution / RESOLUTIONS_PER_OCTAVE))


class Search:
    """Candidates of one network, each evaluated once however often it is asked for."""

    def __init__(
        self, loss: Callable[[Mapping[str, Tensor]], Tensor], parameters: Mapping[str, Tensor], base_loss: float
    ) -> None:
        self._loss = loss
        self._parameters = parameters
        self._base_loss = base_loss
        self._candidates: dict[tuple[int, float], Candidate] = {}
        self.preparing_evaluations = 0
        """Evaluations spent on the curvature, which every epsilon shares."""
        self._curvature_increase = self._reachable_increase()
        self._rounder, self._anchor = self._prepare()

    def increase(self, parameters: Mapping[str, Tensor]) -> float:
        """Mean loss of these parameters above the network's own, nats per example; infinite if not finite."""
        with torch.no_grad():
            value = float(self._loss(parameters).double().mean())
        return value - self._base_loss if math.isfinite(value) else math.inf

    def rounded(self, candidate: Candidate) -> Rounded | None:
        """The network of a candidate, rounded again."""
        return self._rounder.round(beta(candidate.resolution), candidate.thrift)

    def feasible(self, epsilon: float, thrift: float) -> tuple[list[Candidate], int]:
        """The feasible candidates met on the way to the coarsest one, and how many were evaluated.

        From where the loss is predicted to meet the bound, strides as long as the last loss suggests, and each
        at least twice the one before lest a plateau of the loss use them all up, bracket it; then bisection
        down to two neighbours on the grid. Where a coarser resolution saves nothing more, there is no need to.
        """
        asked: dict[int, Candidate] = {}

        def fits(resolution: int) -> bool:
            asked[resolution] = self._candidate(resolution, thrift)
            return asked[resolution].loss_increase <= epsilon

        resolution = round(RESOLUTIONS_PER_OCTAVE * (math.log2(self._anchor) + math.log2(epsilon) / 2))
        fine: int | None = None
        coarse: int | None = None
        stride = _SHORTEST_STRIDE
        while fine is None or coarse is None or coarse - fine > 1:
            if fits(resolution):
                fine = resolution if fine is None else max(fine, resolution)
            else:
                coarse = resolution if coarse is None else min(coarse, resolution)
            if fine is not None and coarse is not None:
                resolution = (fine + coarse) // 2
            elif len(asked) == _LARGEST_BRACKETING or _nothing_left_to_save(list(asked.values()), epsilon):
                break
            else:
                resolution += _stride(asked[resolution].loss_increase / epsilon, stride)
                stride *= 2
        return [candidate for candidate in asked.values() if candidate.loss_increase <= epsilon], len(asked)

    def _candidate(self, resolution: int, thrift: float) -> Candidate:
        key = resolution, thrift
        if key not in self._candidates:
            rounded = self._rounder.round(beta(resolution), thrift)
            increase = math.inf if rounded is None else self.increase(rounded.parameters)
            bits = math.inf if rounded is None else rounded.bits
            self._candidates[key] = Candidate(resolution, thrift, increase, bits)
        return self._candidates[key]

    def _prepare(self) -> tuple[Rounder, float]:
        """Curvature at a noisy copy near the fixed loss increase, taken anew once it is known roughly.

        Returns:
            The rounder in units of that curvature, and the resolution at which that increase is expected.
        """
        felt = uniform(self._parameters)
        anchor = _FIRST_GUESS
        if self._curvature_increase <= 0:
            return Rounder(self._parameters, felt), anchor
        for seed in range(_CURVATURE_ROUNDS):
            noisy, anchor = self._approach(felt, anchor, seed)
            self.preparing_evaluations += EVALUATIONS
            found = curvatures(self._loss, noisy, seed)
            if found is None:
                break
            felt = found
            anchor = _predicted_resolution(felt, self._parameters, self._curvature_increase)
        return Rounder(self._parameters, self._checked(felt, anchor)), anchor

    def _reachable_increase(self) -> float:
        """The loss increase at which curvature is taken; not above zero if the weights are worth nothing."""
        self.preparing_evaluations += 1
        nothing = self.increase({name: torch.zeros_like(tensor) for name, tensor in self._parameters.items()})
        return min(CURVATURE_INCREASE, REACHABLE_SHARE * nothing)

    def _approach(self, felt: Mapping[str, Curvature], guess: float, seed: int) -> tuple[dict[str, Tensor], float]:
        """The noisy copy whose loss increase comes nearest to the fixed one, and its resolution.

        Noise as large as the rounding error would be, not rounding itself: where rounding turns a whole tensor
        to zero the loss has no gradient any more.
        """
        noise = _noise(self._parameters, felt, seed)
        best: tuple[float, float] = (math.inf, guess)
        below, above = 0.0, math.inf
        for _ in range(_APPROACHES):
            self.preparing_evaluations += 1
            excess = self.increase(_noisy(self._parameters, noise, guess)) / self._curvature_increase
            distance = abs(math.log(excess)) if 0 < excess < math.inf else math.inf
            # Too far out a network has forgotten everything and its gradient says nothing: better too near.
            distance = 2 * distance if excess > 1 else distance
            if distance <= best[0]:
                best = distance, guess
            if distance <= _NEAR_ENOUGH:
                break
            below, above = (max(below, guess), above) if excess < 1 else (below, min(above, guess))
            guess *= min(max(excess, 1 / 64), 64.0) ** -0.5
            if not below < guess < above:
                guess = math.sqrt(below * above)
        return _noisy(self._parameters, noise, best[1]), best[1]

    def _checked(self, felt: dict[str, Curvature], anchor: float) -> dict[str, Curvature]:
        """The curvature, once it is certain that what has none can be left out of this network."""
        without = {name: tensor * felt[name].seen for name, tensor in self._parameters.items()}
        self.preparing_evaluations += 1
        if self.increase(without) <= UNSEEN_INCREASE:
            return felt
        return {
            name: Curvature(max(felt[name].mean, anchor**2 * start.mean), torch.ones_like(start.seen))
            for name, start in uniform(self._parameters).items()
        }


def _noise(parameters: Mapping[str, Tensor], felt: Mapping[str, Curvature], seed: int) -> dict[str, Tensor]:
    """The rounding error of resolution 1: uniform within half a step of each tensor."""
    generator = torch.Generator().manual_seed(seed)
    noise = {}
    for name in sorted(parameters):
        tensor = parameters[name]
        unit = torch.rand(tensor.shape, generator=generator, dtype=torch.float64) - 0.5
        scale = felt[name].mean ** -0.5 if felt[name].mean > 0 else 0.0
        noise[name] = (unit * scale).to(tensor.device)
    return noise


def _noisy(parameters: Mapping[str, Tensor], noise: Mapping[str, Tensor], beta: float) -> dict[str, Tensor]:
    return {name: (tensor.double() + noise[name] * beta).to(tensor.dtype) for name, tensor in parameters.items()}


def _stride(excess: float, shortest: int) -> int:
    """How far to go on the grid when the loss increase is `excess` times the bound: it grows as beta squared."""
    longest = max(_LONGEST_STRIDE, shortest)
    if not 0 < excess < math.inf:
        return longest if excess <= 0 else -longest
    suggested = round(-RESOLUTIONS_PER_OCTAVE * math.log2(excess) / 2)
    length = min(max(abs(suggested), shortest), longest)
    return length if excess <= 1 else -length


def _nothing_left_to_save(asked: Sequence[Candidate], epsilon: float) -> bool:
    """Whether the last two candidates are feasible and equally large: every weight is zero already."""
    last = asked[-2:]
    feasible = all(candidate.loss_increase <= epsilon for candidate in last)
    return len(last) == 2 and feasible and last[0].bits == last[1].bits


def _predicted_resolution(
    felt: Mapping[str, Curvature], parameters: Mapping[str, Tensor], increase: float
) -> float:
    """Where rounding alone should lose that increase: each weight felt adds beta^2 / 24 nats."""
    count = sum(
        int(torch.broadcast_to(felt[name].seen, tensor.shape).sum()) if felt[name].mean > 0 else 0
        for name, tensor in parameters.items()
    )
    return math.sqrt(24 * increase / max(count, 1))
