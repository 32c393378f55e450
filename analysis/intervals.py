"""Confidence intervals of shares."""

from __future__ import annotations

from statistics import NormalDist

CONFIDENCE = 0.95


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson score interval of a share; (0, 1) when nothing was observed.

    Args:
        successes: how many of the `n`.
        n: how many were observed.
        confidence: two-sided coverage aimed at.

    Returns:
        Lower and upper end, both within [0, 1].
    """
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    # At the edges the ends are exact; rounding would leave 1e-17 instead of 0.
    return (
        0.0 if successes == 0 else max(0.0, centre - half),
        1.0 if successes == n else min(1.0, centre + half),
    )
