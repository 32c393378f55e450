"""How likely a trial that the rule has stopped would have grokked within its budget: a model over the whole sweep.

The audited trials that the rule would have stopped tell. One error rate for all would be wrong, since it differs
from cell to cell, and a rate for each cell rests on two or three trials. So the logit of the probability is a sum
of normal effects: a constant, each setting, the logarithm of step / memorisation step, and the cell. The sizes of
the effects of settings and cells are not known; the answer is averaged over a grid of sizes by their evidence. With
one normal for all this is a Gaussian process for counts, by Laplace's approximation (Rasmussen and Williams 2006,
chapter 3, algorithms 3.1 and 3.2): where there are many audited trials a cell's own decide, where there are few its
neighbours.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CONSTANT_MEAN, _CONSTANT_SD = -1.0, 2.5
"""How far all logits may be from those of a blind rule: a rule that sees something is wrong less often, and what
was seen before the stops then promises too much. Wide, so that some ten audited trials decide."""
_RATIO_SD = 0.7
"""Effect of a factor e of step / memorisation step."""
_SETTING_SDS = (0.2, 1.0, 2.5)
_CELL_SDS = (0.1, 0.5, 1.2)
_RATIO_BIN = 0.25
"""Trials of a cell whose log step / memorisation step differs less are counted together."""
_NEWTON_STEPS = 50
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(24)


@dataclass(frozen=True, slots=True)
class Situation:
    """Trials as the model sees them."""

    settings: NDArray[np.float64]
    """Shape [n, p], each setting's levels as numbers between -1 and 1."""
    log_ratio: NDArray[np.float64]
    """Logarithm of step / memorisation step, centred; 0 for trials that had not memorised. Shape [n]."""
    cell: NDArray[np.intp]
    """Shape [n]."""
    blind: NDArray[np.float64]
    """Logit of the probability if the rule stopped trials blindly, from `analysis.survival.blind`. Shape [n]."""

    def of(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Situation:
        """Return some of the trials.

        Args:
            chosen: a mask, or indexes.
        """
        return Situation(*(getattr(self, name)[chosen] for name in Situation.__slots__))


@dataclass(frozen=True, slots=True)
class FalseStops:
    """Probability that each of some stopped trials would have grokked, and its standard deviation; shape [n]."""

    probability: NDArray[np.float64]
    sd: NDArray[np.float64]


def false_stops(known: Situation, grokked: NDArray[np.bool_], asked: Situation) -> FalseStops:
    """Estimate how likely stopped trials would have grokked.

    Args:
        known: trials that the rule would have stopped and that were followed to their end, [n].
        grokked: whether they grokked, [n].
        asked: the stopped trials, [m].
    """
    if not len(asked.cell):
        return FalseStops(np.zeros(0), np.zeros(0))
    groups, counts, successes = _grouped(known, grokked)
    centre, asked_centre = groups.blind + _CONSTANT_MEAN, asked.blind + _CONSTANT_MEAN
    log_evidence, means, variances = [], [], []
    for setting_sd, cell_sd in itertools.product(_SETTING_SDS, _CELL_SDS):
        sizes = setting_sd, cell_sd
        mode = _Mode.found(_covariance(groups, groups, *sizes), centre, counts, successes)
        across = _covariance(asked, groups, *sizes)
        prior = _variance(asked, *sizes)
        deviation, variance = mode.predicted(across, prior)
        log_evidence.append(mode.log_evidence)
        means.append(asked_centre + deviation)
        variances.append(variance)
    weight = np.exp(np.array(log_evidence) - max(log_evidence))
    weight /= weight.sum()
    node_weights = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()
    logits = np.array(means)[:, :, None] + np.sqrt(np.array(variances))[:, :, None] * _NODES
    shares = 1 / (1 + np.exp(-logits))
    probability = np.einsum("h,hmk,k->m", weight, shares, node_weights)
    square = np.einsum("h,hmk,k->m", weight, shares**2, node_weights)
    return FalseStops(probability, np.sqrt(np.maximum(square - probability**2, 0.0)))


def _grouped(
    known: Situation, grokked: NDArray[np.bool_]
) -> tuple[Situation, NDArray[np.float64], NDArray[np.float64]]:
    """Count trials of one cell and about the same ratio together: their situations, numbers and groks."""
    bins = np.round(known.log_ratio / _RATIO_BIN).astype(np.intp)
    _, first, place = np.unique(np.stack([known.cell, bins]), axis=1, return_index=True, return_inverse=True)
    counts = np.bincount(place.ravel(), minlength=len(first)).astype(np.float64)
    successes = np.bincount(place.ravel(), grokked, len(first)).astype(np.float64)
    return known.of(first), counts, successes


def _covariance(one: Situation, other: Situation, setting_sd: float, cell_sd: float) -> NDArray[np.float64]:
    """Return the prior covariance of the logits of two groups of trials, [n, m]."""
    return np.asarray(
        _CONSTANT_SD**2
        + setting_sd**2 * (one.settings @ other.settings.T)
        + _RATIO_SD**2 * np.outer(one.log_ratio, other.log_ratio)
        + cell_sd**2 * (one.cell[:, None] == other.cell)
    )


def _variance(one: Situation, setting_sd: float, cell_sd: float) -> NDArray[np.float64]:
    """Return the prior variance of the logit of each trial, [n]."""
    own = _CONSTANT_SD**2 + cell_sd**2 + _RATIO_SD**2 * one.log_ratio**2
    return np.asarray(own + setting_sd**2 * (one.settings**2).sum(axis=1))


@dataclass(frozen=True, slots=True)
class _Mode:
    """The mode of the logits of groups that were counted, and the curvature there."""

    slope: NDArray[np.float64]
    """Derivative of the log-likelihood by each logit."""
    root: NDArray[np.float64]
    """Square root of minus its second derivative."""
    factor: NDArray[np.float64]
    """Cholesky factor of 1 + root K root."""
    log_evidence: float

    @classmethod
    def found(
        cls,
        covariance: NDArray[np.float64],
        centre: NDArray[np.float64],
        counts: NDArray[np.float64],
        successes: NDArray[np.float64],
    ) -> _Mode:
        """Find the mode by Newton's method, its steps halved until they gain: the likelihood is log-concave."""
        from scipy.linalg import cholesky, solve_triangular

        def value_of(dual: NDArray[np.float64]) -> float:
            deviation = covariance @ dual
            logit = centre + deviation
            return float(-dual @ deviation / 2 + successes @ logit - counts @ np.logaddexp(0, logit))

        dual = np.zeros(len(counts))
        value = value_of(dual)
        for _ in range(_NEWTON_STEPS):
            deviation = covariance @ dual
            share = 1 / (1 + np.exp(-centre - deviation))
            curve = counts * share * (1 - share)
            root = np.sqrt(curve)
            factor = cholesky(np.eye(len(counts)) + root[:, None] * covariance * root, lower=True)
            target = curve * deviation + successes - counts * share
            inner = solve_triangular(factor, root * (covariance @ target), lower=True)
            step = target - root * solve_triangular(factor, inner, lower=True, trans="T") - dual
            size = 1.0
            while value_of(dual + size * step) < value and size > 1e-6:
                size /= 2
            dual = dual + size * step
            before, value = value, value_of(dual)
            if abs(value - before) < 1e-9 * (1 + abs(value)):
                break
        logit = centre + covariance @ dual
        share = 1 / (1 + np.exp(-logit))
        root = np.sqrt(counts * share * (1 - share))
        factor = cholesky(np.eye(len(counts)) + root[:, None] * covariance * root, lower=True)
        return cls(successes - counts * share, root, factor, float(value - np.log(np.diag(factor)).sum()))

    def predicted(
        self, across: NDArray[np.float64], prior: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return means and variances of other logits.

        Args:
            across: their covariance with the groups, [m, n].
            prior: their prior variance, [m].
        """
        from scipy.linalg import solve_triangular

        explained = solve_triangular(self.factor, self.root[:, None] * across.T, lower=True)
        return across @ self.slope, np.maximum(prior - (explained**2).sum(axis=0), 0.0)
