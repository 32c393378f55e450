"""The result of a measurement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

#: Name and version of the method, stored with every result; numbers of different methods do not mix.
METHOD = "feedback-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComplexityResult:
    """The smallest stream found for one distortion bound, decoded and checked."""

    epsilon: float
    """The bound: mean training loss of the decoded network minus that of the network, nats per example."""
    complexity_bytes: int
    """Length of `bitstream`. Names, shapes and dtypes count as known to the decoder, so they cost nothing."""
    bitstream: bytes = field(repr=False)
    """The bytes that `decode` turns into `decoded`, bit for bit."""
    bytes_by_tensor: Mapping[str, float] = field(repr=False)
    """How `complexity_bytes` divides over the tensors, by the code lengths of their symbols; sums to it."""
    loss_increase: float
    """The measured loss increase of the decoded network, nats per example; at most `epsilon`."""
    evaluations: int
    """Candidates whose loss was computed for this epsilon: the search budget spent."""
    wall_s: float
    """Seconds spent on this epsilon; work shared with the other epsilons of the call is charged to the first."""
    decoded: dict[str, Tensor] = field(repr=False)
    """The decoded network, in the order, dtypes and device of the measured network."""
