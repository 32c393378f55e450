"""Each network of a sweep that is worth keeping, compressed: its bytes, their cost, and its behaviour."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweep.results.kept_networks import kept_network
from trainables.schedule import MeasuringConfig

if TYPE_CHECKING:
    from sweep.specification.prices import Prices
    from trainables.networks import LoadedNetwork
    from trainables.networks.checking import CheckedCompression
    from trainables.networks.measure import Bound, DecodedNetwork

SIZES = ("raw", "zstd", "file")
"""Forms of a network whose bytes are compared: float32, that under zstd, and our file."""


@dataclass(frozen=True, slots=True)
class WorthKeeping:
    """A network that the advice on a sweep says to compress."""

    trial_id: str
    step: int
    kept: bool
    """Whether the sweep has kept it."""


def worth_keeping(results: str) -> list[WorthKeeping]:
    """List the networks that `analysis.decide` says to compress, in the order of their trials."""
    from analysis.decide import decide
    from analysis.load import kept_steps, load
    from analysis.results_folder import opened

    place = opened(results)
    rows = load(place)
    kept = kept_steps(place, set(rows["trial_id"].astype(str)))
    advice = decide(rows, kept=kept)
    there = set(zip(kept["trial_id"].astype(str), kept["step"].astype(int), strict=True))
    chosen = advice[advice["action"].eq("compress")]
    pairs = zip(chosen["trial_id"].astype(str), chosen["network_step"].astype(int), strict=True)
    return [WorthKeeping(trial_id, step, (trial_id, step) in there) for trial_id, step in pairs]


def own_epsilon(results: str, network: LoadedNetwork) -> float:
    """Return the primary bound of a trial's sweep, nats per example; the usual one if the trial has not ended."""
    return _own_epsilons(results).get(network.trial.trial_id if network.trial else "", MeasuringConfig().epsilon)


def compressions(
    results: str,
    networks: list[WorthKeeping],
    *,
    epsilon: float | None = None,
    budget: str | None = None,
    bound: Bound = "loss",
    prices: Prices | None = None,
    doing: Callable[[str], None] = lambda _: None,
) -> Iterator[dict[str, Any]]:
    """Compress each kept network and yield its entry for `analysis.compression.record`.

    Args:
        results: the results folder, local or `s3://...`.
        networks: from `worth_keeping`; those that are not kept are left out.
        epsilon: the distortion bound, nats per example; None for each trial's own.
        budget: see `trainables.measure`; None takes its default.
        bound: what epsilon is a bound on.
        prices: adds costs.
        doing: called with words about what is being done.

    Raises:
        MeasurementError: complexity is not defined for a network.
        UnusableNetwork: see `kept_network`.
    """
    from trainables.networks.checking import check_compression

    kept = [one for one in networks if one.kept]
    own = _own_epsilons(results) if epsilon is None else {}
    for number, one in enumerate(kept, start=1):
        doing(f"compressing network {number:,} of {len(kept):,}")
        network = kept_network(results, one.trial_id, one.step)
        nats = own.get(one.trial_id, MeasuringConfig().epsilon) if epsilon is None else epsilon
        yield entry(network, check_compression(network, nats, budget, bound=bound), prices)


def entry(network: LoadedNetwork, checked: CheckedCompression, prices: Prices | None = None) -> dict[str, Any]:
    """Return what is known about a compressed network, as plain values.

    Args:
        network: a network of a trial.
        checked: its compression.
        prices: adds costs.
    """
    sizes = {"raw": checked.raw_bytes, "zstd": checked.zstd_bytes, "file": len(checked.file)}
    passing = checked.passing
    return {
        "trial_id": None if network.trial is None else network.trial.trial_id,
        "step": network.step,
        **_bound(checked.compressed),
        **{f"{name}_bytes": size for name, size in sizes.items()},
        "behaviour": checked.behaviour.as_dict(),
        "exceeded": list(checked.exceeded),
        "passing": None if passing is None else _bound(passing),
        "cost": None if prices is None else {"currency": prices.currency, **_costs(sizes, prices)},
    }


def _bound(compressed: DecodedNetwork) -> dict[str, Any]:
    """Return the bound of a compression, and the length of its stream."""
    return {
        "bound": compressed.bound,
        "epsilon": compressed.result.epsilon,
        "stream_bytes": len(compressed.result.bitstream),
    }


def _costs(sizes: dict[str, int], prices: Prices) -> dict[str, dict[str, float]]:
    return {
        name: {"storage": prices.storage_cost(size), "transfer": prices.transfer_cost(size)}
        for name, size in sizes.items()
    }


def _own_epsilons(results: str) -> dict[str, float]:
    """Return trial id -> primary bound of its sweep, of the trials that have ended."""
    from analysis.load import trials

    ended = trials(results)
    return dict(zip(ended["trial_id"].astype(str), ended["epsilon"].astype(float), strict=True))
