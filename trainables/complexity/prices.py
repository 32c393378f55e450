"""Which prices to try for one distortion bound, on a grid that all bounds share.

Where the loss hovers about the bound, or jumps, over some prices, a bisection may end at any of several crossings,
and a larger bound may end at a lower price than a smaller one. So the crossing is well defined: going down the
coarse grid from a price that is surely infeasible, it is the first feasible price, refined within that coarse step
by bisection. A price that is accepted for a smaller bound is accepted for a larger one, too.
"""

from __future__ import annotations

import math
from collections.abc import Generator

#: Prices are 2^(k / 16) nats per bit; the coarse ones a quarter octave apart.
PRICES_PER_OCTAVE = 16
COARSE = 4

#: The first price is about epsilon^.35 weights^-.6 / 15, a guess from experience.
_FIRST_FACTOR = 1 / 15
_EPSILON_POWER = 0.35
_WEIGHTS_POWER = -0.6

#: At this price all weights of any network are dropped.
DROPS_EVERYTHING = 40 * PRICES_PER_OCTAVE

#: A loss whose log odds exceed those of the bound by this much is surely infeasible.
_SURELY = 0.7

#: About how much the log odds of a loss rise per octave of the price.
_SLOPE = 3.0
_LONGEST_STRIDE = 3 * PRICES_PER_OCTAVE

_BRACKETING = 12
_SCANNING = 20
_ONE_STRIDE_EACH = 8

#: No bound asks for more prices than this.
MOST_PRICES = 1 + _BRACKETING + _SCANNING + (COARSE - 1).bit_length()


def prices(epsilon: float, reachable: float, weights: int) -> Generator[int, float, None]:
    """Yield prices to try, and receive the loss increase at each, in nats per example.

    Args:
        epsilon: the bound, nats per example.
        reachable: the loss increase of a network without any weights; losses are compared by their odds
            between 0 and this.
        weights: the number of weights in the network.
    """
    known: dict[int, float] = {}
    top = max(reachable, 2 * epsilon) if math.isfinite(reachable) else 100 * epsilon

    def log_odds(increase: float) -> float:
        inside = min(max(increase, 1e-3 * epsilon), 0.98 * top)
        return math.log(inside / (top - inside))

    surely = log_odds(epsilon) + _SURELY
    if epsilon < reachable < math.inf:
        # A network with little to lose cannot lose more than that: then halfway there is infeasible enough.
        surely = min(surely, log_odds((epsilon + reachable) / 2))

    def infeasible(price: int) -> bool:
        return log_odds(known[price]) >= surely

    if reachable <= epsilon:
        known[DROPS_EVERYTHING] = yield DROPS_EVERYTHING
        if known[DROPS_EVERYTHING] <= epsilon:
            return
    # Find a coarse price that is surely infeasible while the next one below it is not.
    guess = _FIRST_FACTOR * epsilon**_EPSILON_POWER * weights**_WEIGHTS_POWER
    price = _coarse(PRICES_PER_OCTAVE * math.log2(guess))
    for _ in range(_BRACKETING):
        if price not in known:
            known[price] = yield price
        below = [other for other in known if other < price and not infeasible(other)]
        above = [other for other in known if other > price and infeasible(other)]
        if infeasible(price):
            if price - COARSE in below:
                break
            stride = _stride(log_odds(1.5 * epsilon) - log_odds(known[price]))
            price = max(_coarse(price + min(stride, -COARSE)), max(below) + COARSE if below else -(10**6))
        elif price + COARSE in above:
            price += COARSE
            break
        else:
            stride = _stride(log_odds(2 * epsilon) - log_odds(max(known[price], epsilon / 30)))
            price = min(_coarse(price + max(stride, COARSE)), min(above) - COARSE if above else 10**6)
    # Go down to the first feasible coarse price, in ever longer strides where none is near.
    step = COARSE
    for count in range(_SCANNING):
        step = COARSE << max(0, count // _ONE_STRIDE_EACH)
        price -= step
        if price not in known:
            known[price] = yield price
        if known[price] <= epsilon:
            break
    else:
        return
    feasible, not_feasible = price, price + step
    while not_feasible - feasible > 1:
        middle = (feasible + not_feasible) // 2
        if middle not in known:
            known[middle] = yield middle
        if known[middle] <= epsilon:
            feasible = middle
        else:
            not_feasible = middle


def _coarse(price: float) -> int:
    return COARSE * round(price / COARSE)


def _stride(change: float) -> float:
    """Return how far the price must move for the log odds to change by `change`."""
    return min(max(change / _SLOPE * PRICES_PER_OCTAVE, -_LONGEST_STRIDE), _LONGEST_STRIDE)
