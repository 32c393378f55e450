"""What a measurement gives back."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

#: Name and version of the method, stored with every result; numbers of different methods do not mix.
METHOD = "svd-round-2"


@dataclass(frozen=True, kw_only=True, slots=True)
class ComplexityResult:
    """The smallest stream found for one distortion bound, decoded and checked."""

    epsilon: float
    """The bound: mean training loss of the decoded network minus that of the network, nats per example."""
    complexity_bytes: int
    """Length of `bitstream`. Names, shapes and dtypes count as known to the decoder."""
    bitstream: bytes = field(repr=False)
    """What `decode` turns into `decoded`, bit for bit."""
    loss_increase: float
    """What the decoded network really loses, nats per example; at most `epsilon`."""
    evaluations: int
    """Passes through the loss this epsilon's search asked for, gradients counted as one each."""
    wall_s: float
    """Seconds this epsilon took, what it shares with the others of the same call charged to the first."""
    decoded: dict[str, Tensor] = field(repr=False)
    """The decoded network, in the order, dtypes and device of the network measured."""
