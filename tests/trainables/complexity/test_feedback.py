"""Feedback against the definition, entry by entry."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainables.complexity.feedback import round_with_feedback, strict_block_part


def curvature(n: int, seed: int, correlated: float = 1.0) -> Tensor:
    """[n, n] symmetric positive, its entries about as large off the diagonal as on it."""
    generator = torch.Generator().manual_seed(seed)
    looks = torch.randn(n, n // 2 + 2, generator=generator, dtype=torch.float64)
    looks = looks + correlated * torch.randn(1, n // 2 + 2, generator=generator, dtype=torch.float64)
    return looks @ looks.T / n + 0.3 * torch.eye(n, dtype=torch.float64)


def unit_upper(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """M unit upper triangular and d with M diag(d) M^T = matrix."""
    lower = torch.linalg.cholesky(matrix.flip(0, 1))
    roots = lower.diagonal()
    return (lower / roots).flip(0, 1), roots.square().flip(0)


def block_diagonal(matrix: Tensor, size: int) -> Tensor:
    block = torch.arange(len(matrix)) // size
    return torch.where(block[:, None] == block[None, :], matrix, 0.0)


def inverse_by_blocks(matrix: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """N = blockdiag(M) M^-1, and the block-diagonal matrix left, so that N matrix N^T = left."""
    upper, diagonal = unit_upper(matrix)
    blocks = block_diagonal(upper, size)
    return blocks @ torch.linalg.inv(upper), blocks @ torch.diag(diagonal) @ blocks.T


def prepared(matrix: Tensor, size: int) -> tuple[Tensor, Tensor]:
    upper, diagonal = unit_upper(matrix)
    return strict_block_part(torch.linalg.inv(upper)[None], diagonal[None], size)


def entry_by_entry(
    targets: Tensor, row_inverse: Tensor, column_inverse: Tensor, steps: Tensor, thresholds: Tensor
) -> tuple[Tensor, Tensor]:
    """Q_ij = W_ij + sum over i' <= i, j' <= j of N_A[i', i] F[i', j'] N_B[j', j], in loops."""
    rows, columns = targets.shape
    integers, errors = torch.zeros_like(targets), torch.zeros_like(targets)
    for i in range(rows):
        for j in range(columns):
            known = row_inverse[: i + 1, i] @ errors[: i + 1, : j + 1] @ column_inverse[: j + 1, j]
            wanted = float(targets[i, j] + known)
            step = float(steps[i, j])
            magnitude = max(0, math.floor(abs(wanted) / step - float(thresholds[i, j]) + 0.5))
            integers[i, j] = math.copysign(magnitude, wanted)
            errors[i, j] = integers[i, j] * step - wanted
    return integers, errors


def drawn(rows: int, columns: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Targets, steps and thresholds."""
    generator = torch.Generator().manual_seed(seed)
    targets = 3 * torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    steps = 0.5 + torch.rand(rows, columns, generator=generator, dtype=torch.float64)
    return targets, steps, 0.4 * torch.rand(rows, columns, generator=generator, dtype=torch.float64)


SIZES = st.sampled_from([1, 2, 4, 8])


@given(SIZES, SIZES, st.sampled_from([8, 16, 24]), st.sampled_from([8, 16]), st.integers(0, 99))
@settings(max_examples=25)
def test_blocks_at_once_are_the_same_as_entry_by_entry(
    height: int, width: int, rows: int, columns: int, seed: int
) -> None:
    a, b = curvature(rows, seed), curvature(columns, seed + 1)
    targets, steps, thresholds = drawn(rows, columns, seed)
    row_feedback, _ = prepared(a, height)
    column_feedback, _ = prepared(b, width)
    integers, errors = round_with_feedback(
        targets[None], row_feedback, column_feedback, steps[None], thresholds[None], height, width
    )
    expected = entry_by_entry(
        targets, inverse_by_blocks(a, height)[0], inverse_by_blocks(b, width)[0], steps, thresholds
    )
    assert torch.equal(integers[0], expected[0])
    torch.testing.assert_close(errors[0], expected[1])


@pytest.mark.parametrize("size", [1, 4, 8])
def test_what_is_felt_is_the_errors_left_over(size: int) -> None:
    """tr(A E B E^T) of the errors E of the weights is that of F with the block-diagonal factors."""
    a, b = curvature(24, 0), curvature(16, 1)
    targets, steps, thresholds = drawn(24, 16, 2)
    (row_feedback, row_diagonal), (column_feedback, column_diagonal) = prepared(a, size), prepared(b, size)
    integers, errors = round_with_feedback(
        targets[None], row_feedback, column_feedback, steps[None], thresholds[None], size, size
    )
    made, left = (integers[0] * steps - targets), errors[0]
    felt = float(torch.trace(a @ made @ b @ made.T))
    (_, row_left), (_, column_left) = inverse_by_blocks(a, size), inverse_by_blocks(b, size)
    assert felt == pytest.approx(float(torch.trace(row_left @ left @ column_left @ left.T)), rel=1e-9)
    torch.testing.assert_close(row_diagonal[0], row_left.diagonal())
    torch.testing.assert_close(column_diagonal[0], column_left.diagonal())
    by_entry = float((row_diagonal[0][:, None] * column_diagonal[0] * left.square()).sum())
    assert felt == pytest.approx(by_entry, rel=1e-9 if size == 1 else 0.3)


def test_float32_is_enough() -> None:
    a, b = curvature(32, 0), curvature(48, 1)
    targets, steps, thresholds = (tensor.float()[None] for tensor in drawn(32, 48, 2))
    (row_feedback, row_diagonal), (column_feedback, column_diagonal) = prepared(a, 1), prepared(b, 1)
    integers, errors = round_with_feedback(
        targets, row_feedback.float(), column_feedback.float(), steps, thresholds, 1, 1
    )
    made = (integers * steps - targets)[0].double()
    by_entry = float((row_diagonal[0][:, None] * column_diagonal[0] * errors[0].double().square()).sum())
    assert float(torch.trace(a @ made @ b @ made.T)) == pytest.approx(by_entry, rel=1e-4)


def test_without_feedback_every_entry_is_rounded_by_itself() -> None:
    targets, steps, thresholds = (tensor[None] for tensor in drawn(16, 24, 0))
    integers, errors = round_with_feedback(targets, None, None, steps, thresholds, 8, 8)
    magnitudes = ((targets.abs() / steps) - thresholds + 0.5).floor().clamp_min(0)
    assert torch.equal(integers, torch.copysign(magnitudes, targets))
    torch.testing.assert_close(errors, integers * steps - targets)


@pytest.mark.parametrize("side", ["rows", "columns"])
def test_feedback_along_one_side_only(side: str) -> None:
    a = curvature(16, 0)
    targets, steps, thresholds = drawn(16, 16, 1)
    feedback, _ = prepared(a, 4)
    inverse, nothing = inverse_by_blocks(a, 4)[0], torch.eye(16, dtype=torch.float64)
    along_rows = side == "rows"
    integers, _ = round_with_feedback(
        targets[None],
        feedback if along_rows else None,
        None if along_rows else feedback,
        steps[None],
        thresholds[None],
        4,
        4,
    )
    pair = (inverse, nothing) if along_rows else (nothing, inverse)
    assert torch.equal(integers[0], entry_by_entry(targets, *pair, steps, thresholds)[0])


def test_each_matrix_of_a_batch_by_itself() -> None:
    a, b = (torch.cat([prepared(curvature(16, seed), 8)[0] for seed in seeds]) for seeds in ((0, 1, 2), (3, 4, 5)))
    targets, steps, thresholds = (
        torch.stack(parts) for parts in zip(*(drawn(16, 16, n) for n in range(3)), strict=True)
    )
    together, _ = round_with_feedback(targets, a, b, steps, thresholds, 8, 8)
    for place in range(3):
        one = slice(place, place + 1)
        alone, _ = round_with_feedback(targets[one], a[one], b[one], steps[one], thresholds[one], 8, 8)
        assert torch.equal(together[one], alone)


@pytest.mark.parametrize("size", [1, 8])
def test_feedback_lowers_what_is_felt(size: int) -> None:
    a, b = curvature(32, 0, correlated=3.0), curvature(48, 1, correlated=3.0)
    targets, steps, thresholds = drawn(32, 48, 2)
    steps, thresholds = torch.ones_like(steps), torch.zeros_like(thresholds)

    def felt(row_feedback: Tensor | None, column_feedback: Tensor | None) -> float:
        integers, _ = round_with_feedback(
            targets[None], row_feedback, column_feedback, steps[None], thresholds[None], size, size
        )
        made = integers[0] * steps - targets
        return float(torch.trace(a @ made @ b @ made.T))

    rows, columns = prepared(a, size)[0], prepared(b, size)[0]
    plain, one_side, both_sides = felt(None, None), felt(rows, None), felt(rows, columns)
    assert both_sides < 0.8 * one_side < 0.7 * plain


def test_blocks_are_identities_and_what_they_felt_is_in_the_diagonal() -> None:
    a = curvature(12, 0)
    feedback, diagonal = prepared(a, 12)
    assert not feedback.any()
    torch.testing.assert_close(diagonal[0], a.diagonal())
    feedback, _ = prepared(a, 4)
    inverse, _ = inverse_by_blocks(a, 4)
    whole = torch.cat(list(feedback[0]), 1)
    torch.testing.assert_close(whole + torch.eye(12, dtype=torch.float64), inverse)
