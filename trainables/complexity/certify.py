"""The certificate of a stream: its length counts once the network that it decodes to has kept the bound.

A search knows its candidates by estimated bits and by losses of the network as rounded in memory. The number that
is published is a statement about a stream, so the stream itself is decoded and evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.complexity.curvature import increases
from trainables.complexity.objective import Objective
from trainables.complexity.stream import decode

Coded = tuple[bytes, dict[str, float]]
"""A stream, and the share of its bytes that each tensor takes."""


@dataclass(frozen=True, slots=True)
class Certified:
    """A stream whose decoded network keeps the bound."""

    bitstream: bytes
    bytes_by_tensor: dict[str, float]
    decoded: dict[str, Tensor]
    """The decoded network: name -> [...]."""
    loss_increase: float
    """Of the decoded network, nats per example."""
    tried: int
    """Number of streams that were decoded and evaluated."""


def certify(
    objective: Objective,
    parameters: Mapping[str, Tensor],
    base: Tensor,
    streams: Sequence[Iterable[Coded]],
    epsilon: float,
) -> list[Certified]:
    """Choose, for each network, the first of its streams that keeps the bound when decoded.

    Args:
        objective: the loss of all lanes.
        parameters: name -> [L, ...].
        base: mean losses of these parameters, nats, [L].
        streams: the streams of each network, at least one, in the order in which they are tried; no more are drawn
            than are tried. The last one is taken in any case, so it has to be lossless.
        epsilon: the bound on the increase of the mean loss, nats per example.

    Returns:
        One for each lane.
    """
    lanes = [
        _Lane({name: tensor[place] for name, tensor in parameters.items()}, of_lane)
        for place, of_lane in enumerate(streams)
    ]
    while True:
        # The objective is that of all lanes, so each round evaluates those that have passed, too.
        decoded = {name: torch.stack([lane.decoded[name] for lane in lanes]) for name in parameters}
        lost = increases(objective, decoded, base).tolist()
        failed = [lane for lane, increase in zip(lanes, lost, strict=True) if not increase <= epsilon]
        # A list, because every lane that has failed has to take its next stream.
        taken = [lane.next() for lane in failed]
        if not any(taken):
            return [lane.certified(increase) for lane, increase in zip(lanes, lost, strict=True)]


class _Lane:
    """One network's streams, and the one that is tried now."""

    def __init__(self, parameters: Mapping[str, Tensor], streams: Iterable[Coded]) -> None:
        self._parameters = parameters
        self._left = iter(streams)
        self._tried = 0
        self.next()

    def next(self) -> bool:
        """Take the next stream; return whether there was one."""
        coded = next(self._left, None)
        if coded is None:
            return False
        self._bitstream, self._bytes_by_tensor = coded
        self.decoded = decode(self._bitstream, self._parameters)
        self._tried += 1
        return True

    def certified(self, loss_increase: float) -> Certified:
        return Certified(self._bitstream, self._bytes_by_tensor, self.decoded, loss_increase, self._tried)
