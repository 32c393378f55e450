"""A hierarchical cure model: which networks grok, and when, as functions of settings, with an effect of each cell.

In cell c with settings x the logit of the probability to grok some day is x beta + u, and the median of the
logarithm of the time is x gamma + v (an accelerated failure time), so exp(gamma) are ratios of times and exp(beta)
of odds. The effects u and v of cells are normal around 0: a cell of three seeds is drawn to what its settings say,
a cell of a hundred is not (Sy and Taylor 2000, Biometrics 56, 227; Peng and Yu 2021, Cure Models). Everything is
estimated at the maximum of the penalised likelihood; the variances of u and v by EM on Laplace's approximation
(empirical Bayes).

Newton's method uses that cells meet only in the common parameters: each cell's 2 x 2 block is solved by itself,
what remains is small. Thousands of cells cost no more than their records.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis.survival.cure.laws import LAWS, Law, distribution, log_likelihoods

Floats = NDArray[np.float64]

_COMMON_SD = 3.0
"""Standard deviation of coefficients of settings, in logits and in logarithms of time: weak, a factor of 20."""
_CONSTANT_SD = 20.0
_SCALE_SD = 1.0
"""Of log sigma around 0: times to grok spread by a factor of 3 or so."""
_CELL_START = 0.4
_CELL_PRIOR, _CELL_PRIOR_CELLS = 0.3, 1.0
"""A typical effect of a cell, and for how many cells this counts in the estimate of its size."""
_EM_STEPS = 12
_NEWTON_STEPS = 60
_ENOUGH = 1e-7
_LARGEST_DAMPING = 1e10


@dataclass(frozen=True, slots=True)
class CureData:
    """Records of cells, and their settings."""

    log_after: Floats
    """Logarithm of the left end of each record, or of the last step without a grok, [r]."""
    log_at: Floats
    """Logarithm of the right end; infinite without a grok, [r]."""
    weight: Floats
    """[r]"""
    cell: NDArray[np.intp]
    """[r]"""
    share_design: Floats
    """Settings as columns that act on the logit, [c, j]; the first column is 1."""
    time_design: Floats
    """Settings as columns that act on the logarithm of time, [c, k]; the first column is 1."""

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.share_design)

    @classmethod
    def of(cls, after: Floats, at: Floats, weight: Floats, cell: NDArray[np.intp], design: Floats) -> CureData:
        """Count equal records together.

        Args:
            after: left ends, steps from the start of the phase, [n].
            at: right ends; infinite without a grok, [n].
            weight: [n].
            cell: number of the cell, [n].
            design: settings of cells, the first column 1, [c, k].
        """
        keep = weight > 0
        with np.errstate(divide="ignore"):
            ends = np.stack([cell[keep], np.log(np.maximum(after[keep], 0.0)), np.log(np.maximum(at[keep], 1e-9))])
        distinct, place = np.unique(ends, axis=1, return_inverse=True)
        counted = np.bincount(place.ravel(), weight[keep], distinct.shape[1]).astype(np.float64)
        return cls(distinct[1], distinct[2], counted, distinct[0].astype(np.intp), design, design)


@dataclass(frozen=True, slots=True)
class CureFit:
    """The maximum, and the curvature there."""

    law: Law
    data: CureData
    common: Floats
    """beta, gamma and log sigma, [q]."""
    cells: Floats
    """u and v of each cell, [c, 2]."""
    sizes: tuple[float, float]
    """Standard deviations of u and v."""
    objective: float
    """Penalised log-likelihood, less half the logarithm of the determinant of the cells' curvature."""
    covariance: Floats
    """Of the common parameters, [q, q]."""
    local_covariance: Floats
    """Of logit pi, m and log sigma in each cell, [c, 3, 3]."""

    @property
    def local(self) -> Floats:
        """logit pi, m and log sigma of each cell, [c, 3]."""
        return _local(self.data, self.common, self.cells, (0.0, 0.0))

    def grokked_by(self, log_step: Floats) -> Floats:
        """Return the probability that a network of each cell has grokked by a step.

        Args:
            log_step: logarithm of a step for each cell, [c].
        """
        logit, middle, log_scale = self.local.T
        by_then = distribution(self.law, (log_step - middle) / np.exp(log_scale))
        return np.asarray(by_then / (1 + np.exp(-logit)))


def fit_cure(data: CureData, law: Law) -> CureFit:
    """Fit the model.

    Args:
        data: records of cells.
        law: of the logarithm of time.
    """
    common, cells = _start(data), np.zeros((data.cells, 2))
    sizes = (_CELL_START, _CELL_START)
    for _ in range(_EM_STEPS):
        common, cells, *_ = maximise(data, law, sizes, common, cells)
        own, _, _ = _spread(data, law, sizes, common, cells)
        squares = cells**2 + own
        # A cell's effect is of a typical size even where there are too few cells to tell.
        total = squares.sum(axis=0) + _CELL_PRIOR_CELLS * _CELL_PRIOR**2
        fresh = np.sqrt(total / (data.cells + _CELL_PRIOR_CELLS))
        done = np.abs(np.log(fresh / np.array(sizes))).max() < 0.01
        sizes = float(fresh[0]), float(fresh[1])
        if done:
            break
    common, cells, objective = maximise(data, law, sizes, common, cells)
    _, covariance, local = _spread(data, law, sizes, common, cells)
    return CureFit(law, data, common, cells, sizes, objective, covariance, local)


def likelier_fit(data: CureData) -> CureFit:
    """Fit the model with each law, and return the likelier one.

    Args:
        data: records of cells.
    """
    return max((fit_cure(data, law) for law in LAWS), key=lambda fit: fit.objective)


def without(data: CureData, column: int) -> tuple[CureData, Floats]:
    """Return the data without one column of the designs, and that column.

    Args:
        data: records of cells.
        column: number of a common parameter: of beta, then of gamma.
    """
    j = data.share_design.shape[1]
    if column < j:
        return (
            replace(data, share_design=np.delete(data.share_design, column, axis=1)),
            data.share_design[:, column],
        )
    return (
        replace(data, time_design=np.delete(data.time_design, column - j, axis=1)),
        data.time_design[:, column - j],
    )


def _start(data: CureData) -> Floats:
    """Return common parameters to begin with: one share, one median, one spread for all cells."""
    seen = np.isfinite(data.log_at)
    share = (data.weight[seen].sum() + 0.5) / (data.weight.sum() + 1.0)
    middle = data.log_at[seen] if seen.any() else np.maximum(data.log_after, 0.0)
    weight = data.weight[seen] if seen.any() else data.weight
    common = np.zeros(data.share_design.shape[1] + data.time_design.shape[1] + 1)
    if data.share_design.shape[1]:
        common[0] = np.log(share / (1 - share))
    if data.time_design.shape[1]:
        common[data.share_design.shape[1]] = np.average(middle, weights=weight)
    return common


def _local(data: CureData, common: Floats, cells: Floats, offset: tuple[Floats | float, Floats | float]) -> Floats:
    """Return logit pi, m and log sigma of each cell, [c, 3]."""
    j = data.share_design.shape[1]
    return np.stack(
        [
            data.share_design @ common[:j] + cells[:, 0] + offset[0],
            data.time_design @ common[j:-1] + cells[:, 1] + offset[1],
            np.full(data.cells, common[-1]),
        ],
        axis=1,
    )


def _penalty(data: CureData) -> Floats:
    """Return the precision of each common parameter, [q]."""
    sds = []
    for design in (data.share_design, data.time_design):
        constant = (design == 1).all(axis=0)
        sds += [np.where(constant, _CONSTANT_SD, _COMMON_SD)]
    return 1 / np.concatenate([*sds, [_SCALE_SD]]) ** 2


def _sums(data: CureData, law: Law, local: Floats) -> tuple[float, Floats, Floats]:
    """Return the log-likelihood, and gradients [c, 3] and information matrices [c, 3, 3] of cells."""
    value, gradient, hessian = log_likelihoods(law, data.log_after, data.log_at, local[data.cell])
    summed = np.empty((data.cells, 12))
    columns = np.concatenate([gradient, hessian.reshape(-1, 9)], axis=1) * data.weight[:, None]
    for number in range(12):
        summed[:, number] = np.bincount(data.cell, columns[:, number], data.cells)
    return float(data.weight @ value), summed[:, :3], -summed[:, 3:].reshape(-1, 3, 3)


def _designs(data: CureData) -> Floats:
    """Return what the common parameters do to logit pi, m and log sigma of each cell, [c, 3, q]."""
    j, k = data.share_design.shape[1], data.time_design.shape[1]
    designs = np.zeros((data.cells, 3, j + k + 1))
    designs[:, 0, :j], designs[:, 1, j : j + k], designs[:, 2, -1] = data.share_design, data.time_design, 1.0
    return designs


def maximise(
    data: CureData,
    law: Law,
    sizes: tuple[float, float],
    common: Floats,
    cells: Floats,
    offset: tuple[Floats | float, Floats | float] = (0.0, 0.0),
) -> tuple[Floats, Floats, float]:
    """Maximise the penalised likelihood by Newton's method, damped where it is not concave.

    Args:
        data: records of cells.
        law: of the logarithm of time.
        sizes: standard deviations of the cells' effects.
        common: where to begin, [q].
        cells: where to begin, [c, 2].
        offset: what is added to logit pi and to m, [c] or a number each.

    Returns:
        Common parameters, cells' effects, and the objective of `CureFit`.
    """
    penalty, designs, precision = _penalty(data), _designs(data), 1 / np.array(sizes) ** 2

    def value_of(log_likelihood: float, common: Floats, cells: Floats) -> float:
        return log_likelihood - float(penalty @ common**2) / 2 - float((cells**2 @ precision).sum()) / 2

    likelihood, gradient, information = _sums(data, law, _local(data, common, cells, offset))
    value, damping = value_of(likelihood, common, cells), 1e-3
    for _ in range(_NEWTON_STEPS):
        toward = np.einsum("cij,ci->j", designs, gradient) - penalty * common
        toward_cells = gradient[:, :2] - cells * precision
        while damping < _LARGEST_DAMPING:
            step = _newton(designs, information, penalty, precision, toward, toward_cells, damping)
            if step is not None:
                tried, tried_cells = common + step[0], cells + step[1]
                if np.abs(step[0]).max(initial=0) < 20 and np.abs(step[1]).max(initial=0) < 20:
                    sums = _sums(data, law, _local(data, tried, tried_cells, offset))
                    new = value_of(sums[0], tried, tried_cells)
                    if new >= value - 1e-12 * abs(value):
                        break
            damping = max(10 * damping, 1e-6)
        else:
            break
        gain, value = new - value, new
        common, cells, (likelihood, gradient, information) = tried, tried_cells, sums
        damping /= 10
        if gain < _ENOUGH:
            break
    blocks = information[:, :2, :2] + np.diag(precision)
    determinants = np.maximum(np.linalg.det(blocks), 1e-300)
    # The prior's own determinant is left out, since it is the same wherever sizes are.
    return common, cells, value - float(np.log(determinants).sum()) / 2


def _gram(outer: Floats, inner: Floats) -> Floats:
    """Return the sum over cells of outer' inner outer, [q, q], for outer [c, i, q] and inner [c, i, i]."""
    q = outer.shape[2]
    return np.asarray(outer.reshape(-1, q).T @ (inner @ outer).reshape(-1, q))


def _newton(
    designs: Floats,
    information: Floats,
    penalty: Floats,
    precision: Floats,
    toward: Floats,
    toward_cells: Floats,
    damping: float,
) -> tuple[Floats, Floats] | None:
    """Return a step of common parameters and of cells' effects; None where the curvature is not positive."""
    blocks = information[:, :2, :2] + np.diag(precision)
    blocks = blocks + damping * np.eye(2) * (1 + np.abs(np.einsum("cii->ci", blocks)).max(axis=1))[:, None, None]
    if (blocks[:, 0, 0] <= 0).any() or (np.linalg.det(blocks) <= 0).any():
        return None
    inverse = np.linalg.inv(blocks)
    crossing = information[:, :2] @ designs
    matrix = _gram(designs, information) + np.diag(penalty)
    matrix -= _gram(crossing, inverse)
    matrix += damping * np.diag(1 + np.abs(np.diag(matrix)))
    right = toward - np.einsum("ciq,cij,cj->q", crossing, inverse, toward_cells)
    try:
        factor = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return None
    step = np.linalg.solve(factor.T, np.linalg.solve(factor, right))
    return step, np.einsum("cij,cj->ci", inverse, toward_cells - crossing @ step)


def _spread(
    data: CureData, law: Law, sizes: tuple[float, float], common: Floats, cells: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return variances of the cells' effects [c, 2], covariance of the common parameters, and of the local ones."""
    precision, designs = 1 / np.array(sizes) ** 2, _designs(data)
    _, _, information = _sums(data, law, _local(data, common, cells, (0.0, 0.0)))
    blocks = information[:, :2, :2] + np.diag(precision)
    # Where the likelihood is not concave in a cell the prior alone is: it cannot be less.
    bent = (blocks[:, 0, 0] <= 0) | (np.linalg.det(blocks) <= 0)
    blocks[bent] = np.diag(precision)
    inverse = np.asarray(np.linalg.inv(blocks), dtype=np.float64)
    crossing = information[:, :2] @ designs
    matrix = _gram(designs, information) + np.diag(_penalty(data))
    matrix -= _gram(crossing, inverse)
    values, vectors = np.linalg.eigh(matrix)
    covariance = (vectors / np.maximum(values, 1e-9)) @ vectors.T
    # Effects of cells move against the common parameters: b = -inverse crossing theta.
    follow = -inverse @ crossing
    own = np.einsum("cii->ci", inverse) + ((follow @ covariance) * follow).sum(axis=2)
    full = designs.copy()
    full[:, :2] += follow
    local = full @ covariance @ full.transpose(0, 2, 1)
    local[:, :2, :2] += inverse
    return own, covariance, local
