"""What describing a task gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

#: Name and version of the method. Its numbers are no complexities: weights move.
DESCRIPTION_METHOD = "straight-through-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptionResult:
    """The shortest stream found of any network that is good enough at a task, decoded and checked."""

    epsilon: float
    """The bound: mean training loss of the decoded network less that of the network given, nats per example."""
    task_description_bytes: int
    """Length of `bitstream`. It describes the task by way of some network that does it."""
    bitstream: bytes = field(repr=False)
    """What `decode` turns into `decoded`, bit for bit."""
    bytes_by_tensor: Mapping[str, float] = field(repr=False)
    """How `task_description_bytes` divides over the tensors; sums to it."""
    loss_increase: float
    """Of the decoded network, nats per example; at most `epsilon`. Below zero where it is better than the first."""
    evaluations: int
    """Losses of all training examples computed."""
    steps: int
    """Steps of straight-through training taken."""
    wall_s: float
    """Seconds this epsilon took."""
    decoded: dict[str, Tensor] = field(repr=False)
    """The decoded network, in the order, dtypes and device of the network given."""
