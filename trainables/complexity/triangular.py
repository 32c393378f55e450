"""Curvature matrices prepared for feedback: damped, ordered and factored."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.numerics.roots import small_cholesky

#: A damped diagonal is the curvature plus this share of its mean over what the loss sees.
DAMPING = 0.3

#: The number of pivots taken in one step of the ordering.
_PIVOTS_AT_ONCE = 8

#: Entries that the loss does not depend on get this share of that mean, so that matrices stay positive definite.
_UNSEEN = 1e-5


@dataclass(frozen=True, slots=True)
class Triangular:
    """A symmetric positive matrix in some order as M diag(d) M^T, M unit upper triangular."""

    order: Tensor
    """[..., n]: the entry that comes first, second, ...; coarse ones first."""
    diagonal: Tensor
    """[..., n] d, in that order."""
    inverse: Tensor
    """[..., n, n] the inverse of M, in that order."""


def damped(curvature: Tensor, seen: Tensor) -> Tensor:
    """Raise the diagonal of curvature [..., n, n]; `seen` [..., n] says what the loss depends on."""
    diagonal = curvature.diagonal(dim1=-2, dim2=-1)
    mean = diagonal.sum(-1, keepdim=True) / seen.sum(-1, keepdim=True).clamp_min(1)
    return curvature + torch.diag_embed(torch.where(seen, DAMPING * mean, _UNSEEN * mean) + 1e-30)


def factored(matrix: Tensor, order: Tensor) -> Triangular:
    """Factor a matrix [..., n, n] in an order [..., n]."""
    # Cholesky factors are lower triangular: flipping both axes before and after gives the upper one.
    ordered = _reordered(matrix, order).flip(-1, -2).double()
    lower = torch.linalg.cholesky(ordered)
    roots = lower.diagonal(dim1=-2, dim2=-1)
    unit = lower / roots[..., None, :]
    identity = torch.eye(matrix.shape[-1], dtype=torch.float64, device=matrix.device).expand_as(unit)
    inverse = torch.linalg.solve_triangular(unit, identity, upper=False, unitriangular=True)
    return Triangular(
        order, roots.square().flip(-1).to(matrix.dtype), inverse.flip(-1, -2).to(matrix.dtype).contiguous()
    )


def coarse_first(matrix: Tensor) -> Tensor:
    """Return the order [..., n] of greedy pivoted Cholesky, reversed: what the others say least about comes last.

    Several pivots are taken at once, which gives nearly the same order in a fraction of the steps.
    """
    n = matrix.shape[-1]
    batch = matrix.reshape(-1, n, n)
    left = batch.diagonal(dim1=1, dim2=2).clone()
    columns = torch.zeros_like(batch)
    taken = torch.zeros_like(left, dtype=torch.bool)
    order = []
    at_once = min(_PIVOTS_AT_ONCE, n)
    for done in range(0, n, at_once):
        count = min(at_once, n - done)
        pivots = left.topk(count, dim=1).indices
        order.append(pivots)
        chosen = pivots[:, :, None].expand(-1, -1, n)
        rest = torch.gather(batch, 1, chosen)
        if done:
            known = columns[:, :done]
            rest = rest - torch.gather(known, 2, pivots[:, None, :].expand(-1, done, -1)).mT @ known
        corner = torch.gather(rest, 2, pivots[:, None, :].expand(-1, count, -1))
        # Pivots taken at once may depend on each other, and then their corner has no Cholesky factor.
        ridge = 1e-6 * corner.diagonal(dim1=1, dim2=2).clamp_min(1e-30)
        root = small_cholesky(corner + torch.diag_embed(ridge))
        block = torch.linalg.solve_triangular(root, rest, upper=False)
        columns[:, done : done + count] = block
        taken = taken.scatter(1, pivots, value=True)
        # Below all others, so that no pivot is taken twice.
        left = torch.where(taken, -1.0, (left - block.square().sum(1)).clamp_min(0))
    return torch.cat(order, 1).flip(1).view(matrix.shape[:-1])


def reordered(matrix: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Reorder [..., R, C]: its rows in the order [..., R], its columns in the order [..., C]."""
    matrix = torch.gather(matrix, -2, rows[..., :, None].expand_as(matrix))
    return torch.gather(matrix, -1, columns[..., None, :].expand_as(matrix))


def _reordered(matrix: Tensor, order: Tensor) -> Tensor:
    return reordered(matrix, order, order)
