"""The result of describing a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

#: Name and version of the method. Its numbers are not complexities, since weights are trained.
DESCRIPTION_METHOD = "straight-through-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptionResult:
    """The shortest stream found of any network that does a task well enough, decoded and checked."""

    epsilon: float
    """The bound: mean training loss of the decoded network minus that of the given network, nats per example."""
    task_description_bytes: int
    """Length of `bitstream`. It describes the task by means of some network that does it."""
    bitstream: bytes = field(repr=False)
    """The bytes that `decode` turns into `decoded`, bit for bit."""
    bytes_by_tensor: Mapping[str, float] = field(repr=False)
    """How `task_description_bytes` divides over the tensors; sums to it."""
    loss_increase: float
    """Loss increase of the decoded network, nats per example; at most `epsilon`, negative where it improves on the
    given network."""
    evaluations: int
    """The number of evaluations of the loss on all training examples."""
    steps: int
    """The number of straight-through training steps taken."""
    wall_s: float
    """Seconds spent on this epsilon."""
    decoded: dict[str, Tensor] = field(repr=False)
    """The decoded network, in the order, dtypes and device of the given network."""
