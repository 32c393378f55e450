"""The numbers of errors in a finite table that are consistent with the errors seen in a random part of it.

Exact up to rounding; where rounding leaves a doubt, the result errs towards more errors. Everything is in
logarithms: tails of e^-700,000 are ordinary here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Whole = NDArray[np.int64]
_Real = NDArray[np.float64]
_Yes = NDArray[np.bool_]

#: The rounding error of a tail's logarithm, as a share of the largest logarithm that went into it.
_ROUNDING = 1e-14


def largest_unseen_errors(
    seen_errors: _Whole, seen: _Whole, examples: _Whole, log_threshold: _Real
) -> NDArray[np.int64]:
    """Return the largest number of errors in the unseen part that the errors in the seen part do not rule out.

    A random part of n out of N examples was looked at. With m errors in the rest, the number X of errors in the
    seen part is hypergeometric. The result is the largest m with ln P(X <= seen_errors) > log_threshold. The tail
    falls with m, so m is found by bisection on integers.

    Args:
        seen_errors: [R] k, from 0 to n.
        seen: [R] n, from 1 to N - 1.
        examples: [R] N.
        log_threshold: [R] below 0, nats.

    Returns:
        [R], from 0 to N - n.
    """
    low = np.zeros_like(seen)
    high = examples - seen + 1  # the first number that is ruled out, if there were that many unseen examples
    while True:
        rows = np.flatnonzero(high - low > 1)
        if not len(rows):
            return low
        middle = (low[rows] + high[rows]) // 2
        wrong = seen_errors[rows] + middle
        draws = _Draws(wrong, examples[rows] - wrong, seen[rows])
        consistent = _tail_exceeds(draws, seen_errors[rows], log_threshold[rows])
        low[rows[consistent]] = middle[consistent]
        high[rows[~consistent]] = middle[~consistent]


@dataclass(frozen=True, slots=True)
class _Draws:
    """Hypergeometric distributions, all [R]: n drawn without replacement from wrong + right, X of them wrong."""

    wrong: _Whole
    right: _Whole
    n: _Whole

    def of(self, rows: NDArray[np.intp]) -> _Draws:
        return _Draws(self.wrong[rows], self.right[rows], self.n[rows])

    def mode(self) -> _Whole:
        expected: _Real = (self.n + 1.0) * (self.wrong + 1.0) / (self.wrong + self.right + 2.0)
        return np.floor(expected).astype(np.int64)

    def log_probability(self, x: _Whole) -> _Real:
        """Return ln P(X = x); -inf where x is impossible."""
        possible = (x >= 0) & (x <= self.wrong) & (x <= self.n) & (self.n - x <= self.right)
        inside = np.where(possible, x, np.maximum(0, self.n - self.right))
        logarithm = (
            _log_binomial(self.wrong, inside)
            + _log_binomial(self.right, self.n - inside)
            - _log_binomial(self.wrong + self.right, self.n)
        )
        return np.where(possible, logarithm, -np.inf)

    def ratio(self, x: _Whole, downwards: _Yes) -> _Real:
        """Return P(x - 1) / P(x) downwards, P(x + 1) / P(x) upwards; 0 at the end of the range."""
        other = (self.n - x).astype(np.float64)
        above = np.where(downwards, x * (self.right - other), (self.wrong - x) * other)
        below = np.where(downwards, (self.wrong - x + 1) * (other + 1), (x + 1) * (self.right - other + 1))
        return above / below


def _tail_exceeds(draws: _Draws, k: _Whole, log_threshold: _Real) -> _Yes:
    """Check whether ln P(X <= k) > log_threshold.

    Below the mode the tail is summed downwards from k; at or above it, the complement is summed upwards from k + 1.
    In both cases terms fall by a ratio that falls too, so the remaining sum is below a geometric series. Rows leave
    the sum as soon as they are decided, most of them after a single term.
    """
    slack = _ROUNDING * (_log_factorial(draws.wrong + draws.right) - log_threshold)
    threshold = log_threshold - slack
    mode = draws.mode()
    answer = draws.log_probability(np.minimum(k, mode)) > threshold

    rows = np.flatnonzero(~answer)
    draws, threshold, downwards = draws.of(rows), threshold[rows], (k < mode)[rows]
    x = np.where(downwards, k[rows], k[rows] + 1)
    start = draws.log_probability(x)
    # The complement is compared with 1 - threshold, from the other side.
    limit = np.where(downwards, threshold, np.log1p(-np.exp(threshold)) + slack[rows])
    term, total = np.ones(len(rows)), np.ones(len(rows))
    while len(rows):
        ratio = draws.ratio(x, downwards)
        term = term * ratio
        falling = ratio < 1
        rest = np.where(falling, term / np.where(falling, 1 - ratio, 1.0), np.inf)
        at_least, at_most = start + np.log(total), start + np.log(total + rest)
        is_more = np.where(rest <= total * 1e-17, at_most, at_least) > limit
        is_less = at_most <= limit
        answer[rows] = np.where(downwards, is_more, is_less)
        left = np.flatnonzero(~(is_more | is_less))
        x = (x + np.where(downwards, -1, 1))[left]
        total, term = (total + term)[left], term[left]
        rows, draws, downwards, start, limit = rows[left], draws.of(left), downwards[left], start[left], limit[left]
    return answer


def _log_factorial(number: _Whole) -> _Real:
    from scipy.special import gammaln

    return np.asarray(gammaln(number + 1.0), dtype=np.float64)


def _log_binomial(of: _Whole, chosen: _Whole) -> _Real:
    return _log_factorial(of) - _log_factorial(chosen) - _log_factorial(of - chosen)
