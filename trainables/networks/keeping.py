"""The largest distortion bound at which a network still keeps what is asked of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from trainables.errors import MeasurementError
from trainables.networks.measure import Bound, DecodedNetwork, NetworkMeasuring, scores
from trainables.networks.network import LoadedNetwork
from trainables.schedule import SMALLEST_EPSILON

_PER_DECADE = 90
"""Numbers of two significant digits between 1 and 10, the one but not the other."""

_COARSE = (50, 20, 10)
"""The two digits of the numbers that are tried first."""

_DENSE_DECADES = 3
"""Decades below the first bound in which all coarse numbers are tried; below them, one in a decade."""


_BOUNDS: tuple[Bound, ...] = ("loss", "answers")
"""What is bounded, in the order in which it is tried."""


def largest_epsilon(holds: Callable[[float], bool], below: float) -> float | None:
    """Return the largest bound found, of two significant digits and below a limit, at which something holds.

    What a lossy network keeps need not fall evenly with the bound, so a plain bisection could end at any of several
    crossings. Like the search for the price of a bit (`trainables.complexity.prices`), this one goes down a coarse
    list (5, 2, 1 in each decade) to the first bound at which it holds, and then bisects between that bound and the
    one before it, at which it did not. So at the bound returned it was tried and holds; at the next larger one it
    was tried, too, and does not, unless that is the limit. It may hold at a larger one that was passed over.

    Args:
        holds: whether it holds at a bound in nats; asked some 10 times, at most 27 times.
        below: the limit in nats, above 0; itself left out.

    Returns:
        The bound, in nats; None if it does not hold at any that was tried, down to the smallest allowed.
    """
    failed = None
    for index in _descending(below):
        if holds(_number(index)):
            held = index
            break
        failed = index
    else:
        return None
    while failed is not None and failed - held > 1:
        middle = (held + failed) // 2
        if holds(_number(middle)):
            held = middle
        else:
            failed = middle
    return _number(held)


def _number(index: int) -> float:
    """Return the number of two significant digits with this index; 1 has the index 0."""
    decade, place = divmod(index, _PER_DECADE)
    return float(f"{10 + place}e{decade - 1}")


def _descending(below: float) -> Iterator[int]:
    """Yield the index of the largest number below a limit, then those of the coarse numbers below it."""
    first = _PER_DECADE * (math.floor(math.log10(below)) + 1)
    while _number(first) >= below:
        first -= 1
    smallest = first
    if _number(first) >= SMALLEST_EPSILON:
        yield first
    for decade in range(first // _PER_DECADE, -_PER_DECADE, -1):
        dense = first // _PER_DECADE - decade <= _DENSE_DECADES
        for digits in _COARSE if dense else _COARSE[-1:]:
            index = _PER_DECADE * decade + digits - 10
            if index < smallest:
                if _number(index) < SMALLEST_EPSILON:
                    return
                smallest = index
                yield index


def largest_holding(
    network: LoadedNetwork,
    holds: Callable[[DecodedNetwork], bool],
    budget: str | None = None,
    tried: DecodedNetwork | None = None,
) -> DecodedNetwork | None:
    """Compress a network as far as something holds: by the loss if that will do, else by its answers.

    A network that weight decay keeps away from the weights of lowest loss may be rounded to other answers at a
    lower loss. Then no bound on the loss is small enough, and the divergence of its answers is bounded instead.

    Args:
        network: from a file or a trial.
        holds: whether it holds of the decoded network.
        budget: see `measure`; None takes its default.
        tried: a compression of which it does not hold, so that only smaller bounds are tried of its kind.

    Returns:
        The decoded network at the largest bound found, see `largest_epsilon`; it holds of this very network. None
        if it holds at no bound that was tried.

    Raises:
        MeasurementError: complexity is not defined.
    """
    for bound in _BOUNDS if tried is None else _BOUNDS[_BOUNDS.index(tried.bound) :]:
        below = math.log(network.classes)
        if tried is not None and bound == tried.bound:
            below = min(below, tried.result.epsilon)
        largest = _largest(NetworkMeasuring(network, budget, bound), holds, below)
        if largest is not None:
            return largest
    return None


def _largest(
    measuring: NetworkMeasuring, holds: Callable[[DecodedNetwork], bool], below: float
) -> DecodedNetwork | None:
    seen: dict[float, DecodedNetwork] = {}

    def holds_at(epsilon: float) -> bool:
        seen[epsilon] = measuring.at(epsilon)
        return holds(seen[epsilon])

    epsilon = largest_epsilon(holds_at, below)
    return None if epsilon is None else seen[epsilon]


@dataclass(frozen=True, slots=True)
class KeptAccuracy:
    """A compressed network that keeps an accuracy, and which accuracies of the original were to be kept."""

    decoded: DecodedNetwork
    training: bool
    """Whether training accuracy was to be kept: whether the original has it."""
    validation: bool


def keep_accuracy(network: LoadedNetwork, accuracy: float, budget: str | None = None) -> KeptAccuracy:
    """Compress a network at the largest bound found that keeps an accuracy, see `largest_holding`.

    Training and validation accuracy are kept alike, each if the network has it before it is compressed: one that
    has only memorised keeps its training accuracy, one with noisy labels its validation accuracy.

    Args:
        network: from a file or a trial.
        accuracy: share of right answers, above 0 and at most 1.
        budget: see `measure`; None takes its default.

    Raises:
        MeasurementError: neither accuracy of the network is so high, no bound keeps it, or complexity is not
            defined.
    """
    if not 0 < accuracy <= 1:
        raise MeasurementError(f"an accuracy to keep must be a share above 0 and at most 1, got {accuracy:g}")
    own = scores(network, network.parameters)
    # Without validation examples that accuracy is NaN, which is not at least anything.
    training, validation = own.train_accuracy >= accuracy, own.val_accuracy >= accuracy
    if not (training or validation):
        raise MeasurementError(
            f"an accuracy to keep must be one that the network has, got {accuracy:g}; its training accuracy is "
            f"{own.train_accuracy:.4f}, its validation accuracy {own.val_accuracy:.4f}"
        )

    def holds(decoded: DecodedNetwork) -> bool:
        return (not training or decoded.scores.train_accuracy >= accuracy) and (
            not validation or decoded.scores.val_accuracy >= accuracy
        )

    kept = largest_holding(network, holds, budget)
    if kept is None:
        raise MeasurementError(f"no bound down to {SMALLEST_EPSILON:g} nats keeps accuracy {accuracy:g}")
    return KeptAccuracy(kept, training, validation)
