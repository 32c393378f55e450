"""A compressed network beside its original: its bytes, its behaviour, and the bound at which that would hold."""

from __future__ import annotations

from dataclasses import dataclass, field

from trainables.networks.behaviour import Behaviour, Limits, behaviour
from trainables.networks.files import to_compressed
from trainables.networks.keeping import largest_holding
from trainables.networks.measure import Bound, DecodedNetwork, NetworkMeasuring, without_prefix
from trainables.networks.network import LoadedNetwork
from trainables.sizes import raw_bytes, zstd_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedCompression:
    """What a network costs and does once it is compressed."""

    compressed: DecodedNetwork
    file: bytes = field(repr=False)
    """The compressed network as a file, see `to_compressed`."""
    raw_bytes: int
    """Length of the weights as float32."""
    zstd_bytes: int
    """Length of these bytes under zstd."""
    behaviour: Behaviour
    exceeded: tuple[str, ...]
    """What changes by more than its limit, in words; empty if nothing does."""
    passing: DecodedNetwork | None
    """If a limit is exceeded: the network at the largest smaller bound found that exceeds none, if there is one."""


def check_compression(
    network: LoadedNetwork,
    epsilon: float,
    budget: str | None = None,
    limits: Limits | None = None,
    bound: Bound = "loss",
) -> CheckedCompression:
    """Compress a network and compare its behaviour with the original's.

    Args:
        network: from a file or a trial.
        epsilon: the distortion bound, nats per example.
        budget: see `measure`; None takes its default.
        limits: how much the behaviour may change; by default those of `Limits`.
        bound: what epsilon is a bound on.

    Raises:
        MeasurementError: complexity is not defined, or there are no validation examples.
    """
    chosen = limits or Limits()

    def changes(one: DecodedNetwork) -> Behaviour:
        return behaviour(network, without_prefix(network, one.result.decoded))

    decoded = NetworkMeasuring(network, budget, bound).at(epsilon)
    observed = changes(decoded)
    exceeded = tuple(chosen.exceeded(observed))
    passing = None
    if exceeded:
        passing = largest_holding(network, lambda one: not chosen.exceeded(changes(one)), budget, tried=decoded)
    return CheckedCompression(
        compressed=decoded,
        file=to_compressed(network, decoded.result),
        raw_bytes=len(raw_bytes(network.parameters)),
        zstd_bytes=zstd_bytes(network.parameters),
        behaviour=observed,
        exceeded=exceeded,
        passing=passing,
    )
