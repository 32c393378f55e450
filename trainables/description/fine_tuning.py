"""Training of a network with rounded weights, at a price for bits that keeps its loss within the bound.

The objective is loss + price x bits. The gradient of the loss is taken at the rounded weights and passed straight
through to the real numbers behind them. The gradient of the bits is the engine's own estimate: what one more unit
costs in its row and column as they are now. Units are dear where hardly anything is left, so rows and columns die
out. The price rises while the loss is below its bound and falls while it is above, so only bits remain to improve.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.complexity.codes import Code
from trainables.complexity.curvature import increases
from trainables.complexity.objective import Objective, differentiable
from trainables.complexity.pieces import Piece
from trainables.description.quantised import QuantisedNetwork
from trainables.numerics.roots import square_root

#: Adam's rates: for integers in units of their step, for scales in octaves, and for means.
_RATES = (0.1, 0.003, 0.003)
_MOMENTUM, _SQUARES = 0.9, 0.99
_LONGEST_STEP = 5.0

#: Rates fall linearly over this share of the steps, the last ones, to this factor.
_DECAY, _LAST_RATE = 0.4, 0.02

#: The loss allowed at first, as a share of what a network without weights loses, if that is more than epsilon.
#: Allowing some errors makes other solutions easier to find. It falls to epsilon by when the rates begin to fall.
_LOOSE = 0.05

#: The number of examples in one step.
EXAMPLES = 512

#: How fast the price follows: by a factor e in this many steps at which the loss is off by epsilon or more, or in
#: this share of the run where that is shorter.
_PRICE_STEPS = 200
_PRICE_SHARE = 0.1
_LOSS_MEMORY = 0.9

#: The number of steps between two estimates of what a unit costs.
_RATE_EVERY = 4

#: The number of steps between two evaluations of the loss on all training examples.
CHECK_EVERY = 50


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A rounded network met during the run."""

    step: int
    increase: float
    """Mean training loss above that of the initial network, nats per example."""
    bits: float
    """The estimated bits."""
    codes: Mapping[Piece, Code]
    parameters: Mapping[str, Tensor]
    """[1, ...]"""


class FineTuning:
    """One run: an iterator over checkpoints, every `CHECK_EVERY` steps."""

    def __init__(
        self,
        objective: Objective,
        network: QuantisedNetwork,
        base: float,
        epsilon: float,
        reachable: float,
        price: float,
        seed: int,
    ) -> None:
        """Prepare a run.

        Args:
            objective: the objective of one lane.
            network: the network to start from.
            base: mean training loss of the initial network, nats per example.
            epsilon: the allowed loss increase, nats per example.
            reachable: the loss increase of a network without weights, nats per example.
            price: the first price, nats per bit.
            seed: draws the examples.
        """
        self._objective = objective
        self._network = network
        self._base = base
        self._epsilon = epsilon
        self._loose = max(epsilon, _LOOSE * reachable) if math.isfinite(reachable) else epsilon
        self._lost = (epsilon + max(reachable, 2 * epsilon)) / 2 if math.isfinite(reachable) else math.inf
        self.price = price
        """The current price, nats per bit."""
        self._seed = seed
        self._leaves = network.leaves()
        self._first = [torch.zeros_like(leaf) for leaf in self._leaves.all()]
        self._second = [torch.zeros_like(leaf) for leaf in self._leaves.all()]
        self._age = 0
        self._rate = 1.0
        self._unit_bits = torch.zeros_like(self._leaves.integers)
        self._seen_loss: float | None = None
        self._kept = self._leaves.copy(), price

    def run(self, steps: int) -> Iterator[Checkpoint]:
        """Take `steps` steps and yield checkpoints; yield none if the loss has no gradient."""
        for step in range(1, steps + 1):
            if not self._step(step, steps):
                return
            if step % CHECK_EVERY == 0 or step == steps:
                yield self._checkpoint(step)

    def _step(self, step: int, steps: int) -> bool:
        rounded = self._leaves.rounded()
        if (step - 1) % _RATE_EVERY == 0:
            self._unit_bits = self._network.bits_per_unit(rounded.integers)
        for leaf in rounded.all():
            leaf.requires_grad_()
        losses = differentiable(
            lambda: self._objective.fitted(
                self._network.parameters(rounded), step, examples=EXAMPLES, seed=self._seed
            )
        )
        if losses is None:
            return False
        gradients = torch.autograd.grad(losses.sum(), rounded.all(), materialize_grads=True)
        self._follow(
            float(losses.detach().double().sum()),
            min(_PRICE_STEPS, _PRICE_SHARE * steps),
            self._allowed(step / steps),
        )
        self._descend(gradients, self._rate * _decayed(step / steps))
        return True

    def _allowed(self, done: float) -> float:
        """Return the loss allowed after this share of the steps, above that of the initial network."""
        # Geometric in between: from loose to epsilon it may be orders of magnitude.
        share = max(0.0, 1 - done / (1 - _DECAY))
        return self._epsilon * math.exp(share * math.log(self._loose / self._epsilon))

    def _follow(self, loss: float, price_steps: float, epsilon: float) -> None:
        """Move the price by the recent loss, in proportion to its distance from the bound."""
        if not math.isfinite(loss):
            # Far above the bound, and finite, so that the mean of recent losses recovers.
            loss = 10 * (abs(self._base) + self._epsilon)
        seen = loss if self._seen_loss is None else self._seen_loss
        self._seen_loss = _LOSS_MEMORY * seen + (1 - _LOSS_MEMORY) * loss
        above = (self._seen_loss - self._base - epsilon) / epsilon
        self.price *= math.exp(-max(-1.0, min(1.0, above)) / price_steps)

    @torch.no_grad()
    def _descend(self, gradients: tuple[Tensor, ...], decayed: float) -> None:
        """Take a step of Adam; shrink integers by the rate term in Adam's scale, so that dying ones become 0."""
        self._age += 1
        for place, (leaf, unchecked) in enumerate(zip(self._leaves.all(), gradients, strict=True)):
            # One example that overflows must not destroy the moments of all steps to come.
            gradient = torch.where(unchecked.isfinite(), unchecked, 0.0)
            first, second = self._first[place], self._second[place]
            first.lerp_(gradient, 1 - _MOMENTUM)
            second.lerp_(gradient.square(), 1 - _SQUARES)
            size = square_root(second / (1 - _SQUARES**self._age))
            # Where the loss hardly depends on an integer, the price of bits sets the scale instead.
            size += 1e-3 * self.price if place == 0 else 1e-12
            rate = _RATES[place] * decayed
            moved = first / ((1 - _MOMENTUM**self._age) * size)
            leaf -= rate * moved.clamp(-_LONGEST_STEP, _LONGEST_STEP)
            if place == 0:
                shrinkage = rate * (self.price * self._unit_bits / size).clamp(max=_LONGEST_STEP)
                leaf.copy_(leaf.sign() * (leaf.abs() - shrinkage).clamp_min(0))

    def _checkpoint(self, step: int) -> Checkpoint:
        rounded = self._leaves.rounded()
        parameters = self._network.parameters(rounded)
        base = torch.tensor([self._base], dtype=torch.float64)
        increase = float(increases(self._objective, parameters, base)[0])
        if increase <= self._epsilon:
            self._kept = self._leaves.copy(), self.price
        # More than halfway from the bound to a network without weights.
        elif increase > self._lost:
            self._go_back()
        return Checkpoint(step, increase, self._network.bits(rounded), self._network.codes(rounded), parameters)

    def _go_back(self) -> None:
        """Restart from the last network that kept the bound, with smaller steps and a lower price."""
        leaves, price = self._kept
        self._leaves, self.price = leaves.copy(), price / 2
        self._rate /= 2
        self._age, self._seen_loss = 0, None
        for moment in (*self._first, *self._second):
            moment.zero_()


def _decayed(done: float) -> float:
    return 1.0 if done < 1 - _DECAY else max(_LAST_RATE, (1 - done) / _DECAY)
