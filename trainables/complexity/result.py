"""The result of a measurement, and what it shares with every stream that was found for a distortion bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

#: Name and version of the method, stored with every result; numbers of different methods do not mix.
METHOD = "feedback-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedStream:
    """The shortest stream found for one distortion bound, decoded and checked.

    Each subclass gives the length a name of its own, because lengths of different methods must not be compared.
    """

    epsilon: float
    """The bound: mean training loss of the decoded network minus that of the given network, nats per example."""
    bitstream: bytes = field(repr=False)
    """The bytes that `decode` turns into `decoded`, bit for bit."""
    bytes_by_tensor: Mapping[str, float] = field(repr=False)
    """How the length of `bitstream` divides over the tensors, by the code lengths of their symbols; sums to it."""
    loss_increase: float
    """Loss increase of the decoded network, nats per example; at most `epsilon`, negative where it improves on the
    given network."""
    evaluations: int
    """The number of evaluations of the loss on all training examples for this epsilon: the search budget spent."""
    wall_s: float
    """Seconds spent on this epsilon; work shared with the other epsilons of a call is charged to the first."""
    decoded: dict[str, Tensor] = field(repr=False)
    """The decoded network, in the order, dtypes and device of the given network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComplexityResult(CertifiedStream):
    """The smallest stream found of the given weights, for one distortion bound."""

    complexity_bytes: int
    """Length of `bitstream`. Names, shapes and dtypes count as known to the decoder, so they cost nothing."""
