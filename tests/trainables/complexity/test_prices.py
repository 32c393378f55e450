"""Which prices are tried: the crossing is found, few are asked for, and larger bounds never end lower."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.complexity.prices import COARSE, DROPS_EVERYTHING, MOST_PRICES, PRICES_PER_OCTAVE, prices


def asked(loss: Callable[[int], float], epsilon: float, reachable: float = 4.0) -> list[int]:
    """The prices that are asked for."""
    search = prices(epsilon, reachable, 240_000)
    collected = [next(search)]
    try:
        while True:
            collected.append(search.send(loss(collected[-1])))
    except StopIteration:
        return collected


def highest_feasible(loss: Callable[[int], float], epsilon: float) -> int:
    return max(price for price in asked(loss, epsilon) if loss(price) <= epsilon)


def saturating(octave: float, exponent: float) -> Callable[[int], float]:
    """The loss of a network that knows 4 nats, half of them gone at 2^octave."""

    def loss(price: int) -> float:
        odds = 2 ** (exponent * (price / PRICES_PER_OCTAVE - octave))
        return 4 * odds / (1 + odds)

    return loss


@pytest.mark.parametrize("exponent", [1.0, 3.0, 8.0])
@pytest.mark.parametrize("octave", [-25, -17, -12, -8])
@pytest.mark.parametrize("epsilon", [1.0, 0.125, 0.01])
def test_a_smooth_loss_is_crossed_exactly(octave: int, exponent: float, epsilon: float) -> None:
    loss = saturating(octave, exponent)
    price = highest_feasible(loss, epsilon)
    assert loss(price) <= epsilon < loss(price + 1)
    assert len(asked(loss, epsilon)) <= MOST_PRICES


def test_where_prices_are_usual_few_are_asked_for() -> None:
    counts = [
        len(asked(saturating(octave, 4.0), epsilon))
        for octave in (-16, -15, -14, -13)
        for epsilon in (1, 0.5, 0.125)
    ]
    assert max(counts) <= 12
    assert sum(counts) / len(counts) <= 8


@pytest.mark.parametrize("edge", [-350, -300, -217, -100, 0])
@pytest.mark.parametrize("above", [0.51, 4.0, math.inf])
def test_a_cliff_is_found(edge: int, above: float) -> None:
    """Just feasible up to some price and not beyond."""
    outcome = highest_feasible(lambda price: 0.01 if price <= edge else above, 0.5)
    assert outcome == edge or (above < 1 and edge - COARSE <= outcome <= edge)


def test_what_is_never_feasible_ends() -> None:
    assert len(asked(lambda _: math.inf, 0.5)) <= MOST_PRICES
    assert len(asked(lambda _: 0.51, 0.5)) <= MOST_PRICES


def test_a_network_that_needs_no_weights_loses_them_at_once() -> None:
    assert asked(lambda _: 0.1, epsilon=1.0, reachable=0.2) == [DROPS_EVERYTHING]


@pytest.mark.parametrize("reachable", [0.51, 0.6, 0.9])
def test_a_network_with_little_to_lose_keeps_the_bound(reachable: float) -> None:
    """Its loss never rises far above the bound."""

    def loss(price: int) -> float:
        return reachable * saturating(-16, 3.0)(price) / 4

    feasible = [price for price in asked(loss, 0.5, reachable) if loss(price) <= 0.5]
    assert loss(max(feasible) + 1) > 0.5


def test_losses_below_the_networks_own_are_feasible() -> None:
    assert highest_feasible(lambda price: -0.1 if price <= -150 else 2.0, 0.5) == -150


def test_no_price_is_asked_for_twice() -> None:
    for octave in range(-30, 0, 3):
        answered = asked(saturating(octave, 2.0), 0.3)
        assert len(answered) == len(set(answered))


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.05, 0.2]))
def test_a_larger_bound_hardly_ever_ends_at_a_lower_price(seed: int, noise: float) -> None:
    """Nor by much where the loss is not monotone over some neighbouring prices; the luck of those met counts."""
    draw = random.Random(seed)
    smooth = saturating(draw.uniform(-20, -10), draw.uniform(2.5, 5))
    factors = {price: math.exp(noise * draw.gauss(0, 1)) for price in range(-1000, 300)}

    def loss(price: int) -> float:
        return smooth(price) * factors[price]

    bounds = [2.0 ** (1 - k) for k in range(7)]
    listed = [highest_feasible(loss, epsilon) for epsilon in bounds]
    highest = [max(listed[place:]) for place in range(len(listed))]
    assert all(reached - price <= (COARSE if noise else 0) for reached, price in zip(highest, listed, strict=True))
