"""Curvature matrices made fit for feedback."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainables.complexity.triangular import DAMPING, coarse_first, damped, factored, reordered


def curvatures(*shape: int, seed: int = 0) -> Tensor:
    """[..., n, n] symmetric positive, diagonals over several orders of magnitude."""
    generator = torch.Generator().manual_seed(seed)
    n = shape[-1]
    looks = torch.randn(*shape, 2 * n, generator=generator) * torch.exp(
        2 * torch.randn(*shape, 1, generator=generator)
    )
    return looks @ looks.mT / n


def is_permutation(order: Tensor) -> bool:
    return bool(torch.equal(order.sort(-1).values, torch.arange(order.shape[-1]).expand_as(order)))


def greedy(matrix: Tensor) -> list[int]:
    """Pivoted Cholesky one pivot at a time: each the entry the others know least about."""
    left, taken = matrix.double().clone(), list[int]()
    for _ in range(len(matrix)):
        rest = left.diagonal().clone()
        rest[taken] = -1
        pivot = int(rest.argmax())
        taken.append(pivot)
        left = left - torch.outer(left[pivot], left[pivot]) / left[pivot, pivot]
    return taken


def left_over(matrix: Tensor, order: list[int], known: int) -> float:
    """The trace of what the first entries of an order do not tell about the matrix."""
    whole, first = matrix.double(), order[:known]
    return float(torch.trace(whole - whole[:, first] @ torch.linalg.solve(whole[first][:, first], whole[first])))


@given(st.integers(1, 20), st.integers(0, 99))
@settings(max_examples=30)
def test_a_factored_matrix_is_the_reordered_one(n: int, seed: int) -> None:
    matrix = curvatures(2, n, seed=seed)
    order = torch.stack([torch.randperm(n, generator=torch.Generator().manual_seed(seed + k)) for k in range(2)])
    factor = factored(matrix, order)
    assert torch.equal(factor.inverse.triu(), factor.inverse)
    assert bool((factor.inverse.diagonal(dim1=1, dim2=2) == 1).all())
    unit = torch.linalg.inv(factor.inverse.double())
    whole = unit @ torch.diag_embed(factor.diagonal.double()) @ unit.mT
    expected = torch.stack([matrix[k][order[k]][:, order[k]] for k in range(2)]).double()
    roots = expected.diagonal(dim1=1, dim2=2).sqrt()
    torch.testing.assert_close(
        whole / roots[:, :, None] / roots[:, None, :],
        expected / roots[:, :, None] / roots[:, None, :],
        rtol=0,
        atol=1e-4,
    )


def test_one_pivot_at_a_time_is_greedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.complexity.triangular._PIVOTS_AT_ONCE", 1)
    matrices = curvatures(3, 20)
    for matrix, order in zip(matrices, coarse_first(matrices), strict=True):
        assert order.tolist() == greedy(matrix)[::-1]


def test_several_pivots_at_once_are_nearly_greedy() -> None:
    matrices = curvatures(2, 2, 48)
    orders = coarse_first(matrices)
    assert orders.shape == (2, 2, 48)
    assert is_permutation(orders)
    for matrix, order in zip(matrices.flatten(0, 1), orders.flatten(0, 1), strict=True):
        for known in (8, 16, 32):
            best = left_over(matrix, greedy(matrix), known)
            assert left_over(matrix, order.flip(0).tolist(), known) < 1.5 * best + 1e-6 * float(matrix.trace())


@pytest.mark.parametrize("n", [1, 5, 8, 9, 17])
def test_orders_of_any_length(n: int) -> None:
    for matrix in (curvatures(n), torch.zeros(n, n), torch.ones(n, n), 1e-30 * torch.eye(n)):
        assert is_permutation(coarse_first(matrix))


def test_what_the_loss_does_not_see_comes_first() -> None:
    seen = torch.arange(24) % 3 > 0
    matrix = curvatures(24) * seen[:, None] * seen[None, :]
    order = coarse_first(damped(matrix, seen))
    assert not seen[order[:8]].any()


def test_damping_raises_the_diagonal_by_a_share_of_its_mean() -> None:
    seen = torch.tensor([True, True, False, True])
    matrix = torch.tensor([[4.0, 1.0, 0.0, 0.0], [1.0, 2.0, 0.0, 0.0], [0.0] * 4, [0.0] * 4])
    softened = damped(matrix, seen)
    added = DAMPING * 2.0
    expected = matrix + torch.diag(torch.tensor([added, added, 0.0, added]))
    torch.testing.assert_close(softened, expected, rtol=1e-6, atol=1e-4)
    assert 0 < float(softened[2, 2]) < 1e-3 * added
    torch.linalg.cholesky(softened)


def test_damping_of_nothing_is_positive() -> None:
    softened = damped(torch.zeros(2, 3, 3), torch.zeros(2, 3, dtype=torch.bool))
    assert bool((softened.diagonal(dim1=1, dim2=2) > 0).all())


def test_reordered_matrices() -> None:
    matrix = torch.arange(12.0).reshape(1, 3, 4)
    rows, columns = torch.tensor([[2, 0, 1]]), torch.tensor([[3, 1, 0, 2]])
    order = reordered(matrix, rows, columns)
    assert order[0].tolist() == matrix[0][rows[0]][:, columns[0]].tolist()
    assert torch.equal(reordered(order, rows.argsort(-1), columns.argsort(-1)), matrix)
