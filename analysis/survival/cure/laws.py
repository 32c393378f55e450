"""The likelihood of one record under a cure model: a grok in an interval, or none by a step; with its derivatives.

With probability pi a network groks some day, at a step whose logarithm is m + sigma Z, Z standard normal or
logistic (Boag 1949, Journal of the Royal Statistical Society B 11, 15; Farewell 1982, Biometrics 38, 1041):

    grok in (l, r]        pi (F(z_r) - F(z_l)),   z = (log t - m) / sigma
    no grok by step c     1 - pi F(z_c)

Derivatives are by a = logit pi, m and s = log sigma.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Law = Literal["normal", "logistic"]
LAWS: tuple[Law, ...] = ("normal", "logistic")

_LEAST = 1e-280
"""Likelihoods below this have lost their digits."""
_FAR = 35.0
"""Beyond this many sigma the distribution functions are 0 and 1 to the last bit."""

Floats = NDArray[np.float64]


def distribution(law: Law, z: Floats) -> Floats:
    """Return the distribution function at z, any shape."""
    from scipy.special import expit, ndtr

    return np.asarray(ndtr(z) if law == "normal" else expit(z))


def _densities(law: Law, z: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the distribution function, the density and its derivative."""
    share = distribution(law, z)
    if law == "normal":
        density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        return share, density, -z * density
    density = share * (1 - share)
    return share, density, density * (1 - 2 * share)


def quantile(law: Law, share: Floats | float) -> Floats:
    """Return the quantile function, any shape."""
    from scipy.special import logit, ndtri

    return np.asarray(ndtri(share) if law == "normal" else logit(share))


def log_likelihoods(law: Law, log_after: Floats, log_at: Floats, local: Floats) -> tuple[Floats, Floats, Floats]:
    """Return log-likelihoods, gradients and Hessians of records.

    Args:
        law: of Z.
        log_after: logarithms of the left ends, minus infinity for 0; of the last step where there was no grok, [r].
        log_at: logarithms of the right ends, infinite where there was no grok, [r].
        local: a, m and s of each record, [r, 3].

    Returns:
        Shapes [r], [r, 3] and [r, 3, 3].
    """
    a, m, scale = local[:, 0], local[:, 1], np.exp(local[:, 2])
    pi = 1 / (1 + np.exp(-a))
    slope = pi * (1 - pi)
    low = np.clip((log_after - m) / scale, -_FAR, _FAR)
    high = np.clip((log_at - m) / scale, -_FAR, _FAR)
    seen = np.isfinite(log_at)
    low_terms = _terms(law, low, scale)
    between = [upper - lower for upper, lower in zip(_terms(law, high, scale), low_terms, strict=True)]
    # Without a grok: Q = 1 - pi F, and its derivatives by m and s are those of -pi F.
    mass = np.maximum(np.where(seen, _mass(law, low, high), 1 - pi * low_terms[0]), _LEAST)
    own = [np.where(seen, one, -pi * other) for one, other in zip(between, low_terms, strict=True)]
    _, by_m, by_s, by_mm, by_ms, by_ss = own
    gradient = np.empty((len(a), 3))
    hessian = np.empty((len(a), 3, 3))
    gradient[:, 0] = np.where(seen, 1 - pi, -slope * low_terms[0] / mass)
    gradient[:, 1], gradient[:, 2] = by_m / mass, by_s / mass
    by_aa = np.where(seen, 0.0, -slope * (1 - 2 * pi) * low_terms[0] / mass)
    hessian[:, 0, 0] = np.where(seen, -slope, by_aa - gradient[:, 0] ** 2)
    for column, (first, number) in enumerate(((low_terms[1], 1), (low_terms[2], 2)), 1):
        cross = np.where(seen, 0.0, -slope * first / mass - gradient[:, 0] * gradient[:, number])
        hessian[:, 0, column] = hessian[:, column, 0] = cross
    hessian[:, 1, 1] = by_mm / mass - gradient[:, 1] ** 2
    hessian[:, 2, 2] = by_ss / mass - gradient[:, 2] ** 2
    hessian[:, 1, 2] = hessian[:, 2, 1] = by_ms / mass - gradient[:, 1] * gradient[:, 2]
    log_pi = -np.logaddexp(0, -a)
    return np.where(seen, log_pi, 0.0) + np.log(mass), gradient, hessian


def _mass(law: Law, low: Floats, high: Floats) -> Floats:
    """Return F(high) - F(low), from the tail that keeps its digits."""
    flip = low > 0
    lower, upper = np.where(flip, -high, low), np.where(flip, -low, high)
    return distribution(law, upper) - distribution(law, lower)


def _terms(law: Law, z: Floats, scale: Floats) -> list[Floats]:
    """Return F, and its first and second derivatives by m and s: F, m, s, mm, ms, ss."""
    share, density, change = _densities(law, z)
    return [
        share,
        -density / scale,
        -z * density,
        change / scale**2,
        (density + z * change) / scale,
        z * density + z**2 * change,
    ]
