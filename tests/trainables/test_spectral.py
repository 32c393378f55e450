"""Closed-form gradients against automatic differentiation of a float64 SVD."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainables.spectral import add_penalty_gradient, entropy_gradient, matrix_sides, spectrum


def entropy(matrix: Tensor, floor: float) -> Tensor:
    """The definition, written down plainly."""
    values = torch.linalg.svdvals(matrix)
    values = (values.square() + (floor * values.max()) ** 2).sqrt()
    share = values / values.sum()
    return -(share * share.log()).sum()


def autograd(matrix: Tensor, floor: float) -> Tensor:
    leaf = matrix.double().requires_grad_()
    return torch.autograd.grad(entropy(leaf, floor), leaf)[0]


def error(table: Tensor, right: Tensor) -> float:
    """Relative Frobenius norm of the difference."""
    return float((table.double() - right).norm() / right.norm())


@pytest.mark.parametrize("floor", [0.0, 1e-2, 0.3])
@pytest.mark.parametrize("shape", [(7, 7), (5, 12), (12, 5), (1, 6), (48, 192)])
def test_gradient_is_that_of_the_definition(shape: tuple[int, int], floor: float) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    outcome = entropy_gradient(matrices, floor)
    for matrix, gradient in zip(matrices, outcome, strict=True):
        right = autograd(matrix, floor)
        if shape[0] == 1:  # one singular value: entropy is 0 everywhere
            assert float(gradient.abs().max()) < 1e-6
        else:
            assert error(gradient, right) < 1e-3


def test_gradient_is_smooth_and_right_where_a_matrix_has_lost_rank() -> None:
    stream = torch.Generator().manual_seed(2)
    low = torch.randn(40, 4, generator=stream) @ torch.randn(4, 60, generator=stream)
    low = low + 1e-6 * torch.randn(40, 60, generator=stream)
    assert error(entropy_gradient(low[None], 1e-2)[0], autograd(low, 1e-2)) < 2e-3


def test_matrices_do_not_notice_a_neighbour_that_is_not_finite() -> None:
    matrices = torch.randn(4, 6, 9, generator=torch.Generator().manual_seed(3))
    broken = matrices.clone()
    broken[1, 2, 3], broken[2, 0, 0] = math.nan, math.inf
    for floor in (0.0, 1e-2):
        pair, right = entropy_gradient(broken, floor), entropy_gradient(matrices, floor)
        assert torch.equal(pair[[0, 3]], right[[0, 3]])
        assert pair[1].isnan().all()
        assert pair[2].isnan().all()


def test_zero_matrices_have_a_finite_gradient() -> None:
    for floor in (0.0, 1e-2):
        assert torch.isfinite(entropy_gradient(torch.zeros(2, 3, 4), floor)).all()


def test_spectrum_of_matrices_known_by_heart() -> None:
    assert spectrum(torch.eye(5)) == pytest.approx((math.log(5), 5))
    assert spectrum(torch.ones(4, 6)) == pytest.approx((0, 1), abs=1e-5)
    assert spectrum(torch.zeros(3, 3)) == (0, 1)
    assert all(math.isnan(value) for value in spectrum(torch.tensor([[math.nan, 1.0]])))


def test_the_penalty_is_the_mean_over_all_matrices_embeddings_included() -> None:
    stream = torch.Generator().manual_seed(4)
    parameters = {
        "embedding/embedding": torch.randn(2, 9, 4, generator=stream),
        "a/kernel": torch.randn(2, 4, 9, generator=stream),
        "a/bias": torch.randn(2, 9, generator=stream),
        "b/kernel": torch.randn(2, 4, 9, generator=stream),
    }
    names = matrix_sides({name: weight.shape[1:] for name, weight in parameters.items()})
    assert list(names) == ["embedding/embedding", "a/kernel", "b/kernel"]
    for floor in (0.0, 1e-2):
        gradient = {name: torch.full_like(weight, 3.0) for name, weight in parameters.items()}
        add_penalty_gradient(gradient, parameters, floor, torch.tensor([[1.0], [0.1]]))
        assert torch.all(gradient["a/bias"] == 3)
        for name in names:
            for lane, weight in enumerate((1.0, 0.1)):
                right = weight * autograd(parameters[name][lane], floor) / 3
                assert error(gradient[name][lane] - 3, right) < 1e-3
