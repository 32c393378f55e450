"""Roots of numbers and matrices that do not depend on the maker of the processor, where a run promises that."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

_correctly_rounded = False


def round_roots_correctly(wanted: bool) -> None:
    """Round the roots of this module correctly in this process from now on, as a run across machines needs."""
    global _correctly_rounded
    _correctly_rounded = wanted


def square_root(values: Tensor) -> Tensor:
    """Return the square roots of values [...], a new tensor of the same type, differentiable.

    torch's own come from MKL's vector library, which starts from the processor's approximation of 1 / sqrt(x): its
    table differs between Intel and AMD, and about one root in six is off by one unit in the last place. Where roots
    are to be correctly rounded, numpy takes the processor's exact instruction instead.
    """
    if _correctly_rounded and values.device.type == "cpu":
        return cast(Tensor, _CorrectRoot.apply(values))  # type: ignore[no-untyped-call]
    return values.sqrt()


def small_cholesky(matrices: Tensor) -> Tensor:
    """Return the Cholesky factors L of matrices [..., n, n], A = L L^T, of the same type; lower triangular.

    MKL's own for small float32 matrices starts from the same approximation; in float64 it does not.
    """
    lower: Tensor = torch.linalg.cholesky_ex(matrices.double() if _correctly_rounded else matrices)[0]
    return lower.to(matrices.dtype)


class _CorrectRoot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        root = torch.from_numpy(np.asarray(np.sqrt(values.detach().numpy())))
        ctx.save_for_backward(root)
        return root

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        root: Tensor = ctx.saved_tensors[0]
        return gradient / (2 * root)
