"""Spectral entropy, effective rank, and the gradient of the spectral penalty.

With singular values s of a matrix and p = s / sum(s), the spectral entropy is H = -sum p ln p (nats) and the
effective rank exp(H) (Roy and Vetterli 2007). The penalty is lambda x mean of H over all matrices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trainables.numerics.roots import square_root

DOUBLE_UP_TO = 64
"""Gram matrices of at most this size are decomposed in float64, which takes a fifth longer (two fifths for 128).

The rounding error of a float32 decomposition is magnified by 1 / floor^2. Where training has left few singular
values, the gradient is off by up to 2e-3 of its length with float32, and by 1e-5 with float64.
"""


def spectrum(matrix: Tensor) -> tuple[float, float]:
    """Return spectral entropy (nats) and effective rank of one matrix [R, C], without any floor.

    A matrix of zeros has entropy 0; one that is not finite has entropy and rank NaN.
    """
    if not bool(torch.isfinite(matrix).all()):
        return math.nan, math.nan
    values = torch.linalg.svdvals(matrix.double())
    share = values / values.sum()
    entropy = float(-torch.special.xlogy(share, share).sum()) if float(values.sum()) > 0 else 0.0
    entropy = max(entropy, 0.0)
    return entropy, math.exp(entropy)


def matrix_sides(shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, int]]:
    """Return name -> (rows, columns) of the parameters that are matrices, from shapes without a lane axis.

    Embeddings are matrices. So is a kernel with more axes: its first axis against all others, as in a convolution's
    (outputs, inputs x height x width). A single row or column is not: its spectrum says nothing.
    """
    sides = {name: (shape[0], math.prod(shape[1:])) for name, shape in shapes.items() if len(shape) > 1}
    return {name: (rows, columns) for name, (rows, columns) in sides.items() if min(rows, columns) > 1}


def entropy_gradient(matrices: Tensor, floor: float) -> Tensor:
    """Compute dH/dW in closed form, for a batch of matrices [..., R, C]; same shape, nats per unit of weight.

    With floor tau > 0 the singular values enter as t = sqrt(s^2 + (tau s_max)^2), and this is the exact gradient
    of the entropy of t: smooth where the matrix loses rank. It needs the eigenvectors of the smaller Gram matrix
    only, since U diag(d) V^T = U diag(d / s) U^T W, in float64 up to a size of `DOUBLE_UP_TO`. With floor 0 it is
    the paper's form, U diag(-(ln p + H) / sum(s)) V^T.

    A matrix that is not finite gets a gradient that is not finite; the others in the batch are not affected.
    """
    if floor == 0:
        return _gradient_from_svd(matrices)
    return torch.matmul(*_factors(_operator(_gram(matrices), floor), matrices))


def _gram(matrices: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the smaller Gram matrix of [..., R, C]: [..., K, K] with K = min(R, C), see `_type_of_gram`."""
    matrices = matrices.to(_type_of_gram(min(matrices.shape[-2:]), matrices.dtype))
    tall = matrices.shape[-2] > matrices.shape[-1]
    left, right = (matrices.mT, matrices) if tall else (matrices, matrices.mT)
    return torch.matmul(left, right, out=out)


def _type_of_gram(size: int, weights: torch.dtype) -> torch.dtype:
    return torch.float64 if size <= DOUBLE_UP_TO else weights


def _factors(operator: Tensor, matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two factors whose product applies the operator [..., K, K] to matrices [..., R, C]."""
    operator = operator.to(matrices.dtype)
    tall = matrices.shape[-2] > matrices.shape[-1]
    return (matrices, operator) if tall else (operator, matrices)


def _operator(gram: Tensor, floor: float, weight: Tensor | None = None) -> Tensor:
    """Return the operator [..., K, K] that turns matrices into their gradient, times weights [..., 1] if given.

    It is U diag(d / s) U^T from Gram matrices U diag(s^2) U^T.
    """
    finite = torch.isfinite(gram.diagonal(dim1=-2, dim2=-1)).all(-1)[..., None]
    # Checking the values would synchronise host and device, so it is done on a CPU only.
    if gram.device.type != "cpu" or not bool(finite.all()):
        gram = torch.where(finite[..., None], gram, torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device))
    eigenvalues, left = torch.linalg.eigh(gram)
    # Rounding can leave an eigenvalue of a Gram matrix slightly below zero.
    squares = eigenvalues.clamp_min(0)
    tiny = torch.finfo(torch.float32).tiny  # in the weights' type, which the operator will have
    # `eigh` sorts in rising order, so the last square is that of the largest singular value.
    values = square_root((squares + floor**2 * squares[..., -1:]).clamp_min(tiny))
    # dH/dt / t, the weight of each squared singular value; the largest also acts through the floor of all.
    factors = _entropy_slope(values) / values
    factors[..., -1] += floor**2 * factors.sum(-1)
    factors = torch.where(finite, factors, torch.nan)
    if weight is not None:
        factors *= weight
    operator: Tensor = (left * factors[..., None, :]) @ left.mT
    return operator


def _gradient_from_svd(matrices: Tensor) -> Tensor:
    finite = torch.isfinite(matrices).all(-1).all(-1)[..., None, None]
    left, values, right = torch.linalg.svd(torch.where(finite, matrices, 0.0), full_matrices=False)
    values = values.clamp_min(torch.finfo(values.dtype).tiny)
    return torch.where(finite, (left * _entropy_slope(values)[..., None, :]) @ right, torch.nan)


def _entropy_slope(values: Tensor) -> Tensor:
    """Return dH/ds_i = -(ln p_i + H) / sum(s) for positive values [..., K]."""
    total = values.sum(-1, keepdim=True)
    logarithm = (values / total).clamp_min(torch.finfo(values.dtype).tiny).log()
    entropy = -(values / total * logarithm).sum(-1, keepdim=True)
    return -(logarithm + entropy) / total


def add_penalty_gradient(
    gradient: Mapping[str, Tensor], parameters: Mapping[str, Tensor], floor: float, weight: Tensor
) -> None:
    """Add the gradient of weight x mean of H over all matrices, in place.

    Args:
        gradient: name -> [L, ...], with the shapes of the parameters.
        parameters: name -> [L, ...]; see `matrix_sides`.
        floor: tau, see `entropy_gradient`.
        weight: lambda of each lane, [L, 1].
    """
    sides = matrix_sides({name: tensor.shape[1:] for name, tensor in parameters.items()})
    matrices, gradients = (
        {name: tensors[name].view(-1, *two) for name, two in sides.items()} for tensors in (parameters, gradient)
    )
    weight = weight / len(sides)
    if floor == 0:
        for name, matrix in matrices.items():
            gradients[name].addcmul_(entropy_gradient(matrix, 0), weight[..., None])
        return
    # Gram matrices of equal size differ in the length of the other side only, which the product sums over.
    by_size: dict[int, list[str]] = {}
    for name, two in sides.items():
        by_size.setdefault(min(two), []).append(name)
    for size, group in by_size.items():  # one decomposition for all matrices of equal smaller dimension
        type_of_gram = _type_of_gram(size, matrices[group[0]].dtype)
        grams = weight.new_empty(len(group), len(weight), size, size, dtype=type_of_gram)
        for name, gram in zip(group, grams, strict=True):
            _gram(matrices[name], out=gram)
        for name, operator in zip(group, _operator(grams, floor, weight), strict=True):
            gradients[name].baddbmm_(*_factors(operator, matrices[name]))
