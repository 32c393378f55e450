"""Rounding in which every entry corrects for the errors of those before it, along rows and columns at once.

With the curvature of a matrix factored on both sides, P A P^T = M_A D_A M_A^T and B in the same way, and N = M^-1
(unit upper triangular), the loss felt is sum_ij dA_i dB_j F_ij^2 where Q_ij = W_ij + sum_{i' <= i, j' <= j}
N_A[i', i] F[i', j'] N_B[j', j] is what is sent for W_ij and F the error left after the correction. So each
entry may be rounded by itself once all those above and to the left are, and the entries of an antidiagonal are
independent of each other. In blocks instead of entries, two batched products do for a whole antidiagonal.
"""

from __future__ import annotations

import torch
from torch import Tensor


def strict_block_part(inverse: Tensor, diagonal: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Make the diagonal blocks of a unit upper triangular inverse identities: no feedback within a block.

    Args:
        inverse: [..., n, n], N, the inverse of the unit upper factor M of A = M diag(d) M^T.
        diagonal: [..., n], d.
        size: of the blocks; divides n.

    Returns:
        The part of blockdiag(M) N right of its diagonal blocks, by columns of blocks [..., n / size, n, size], and
        the diagonal [..., n] of the block-diagonal factor that is left, blockdiag(M) diag(d) blockdiag(M)^T.
    """
    n = inverse.shape[-1]
    count = n // size
    blocks = inverse.reshape(*inverse.shape[:-2], count, size, count, size)
    diagonal_blocks = blocks.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)
    identity = torch.eye(size, dtype=inverse.dtype, device=inverse.device).expand_as(diagonal_blocks)
    factor = torch.linalg.solve_triangular(diagonal_blocks, identity, upper=True, unitriangular=True)
    rows = (factor.unsqueeze(-3) @ blocks.transpose(-3, -2)).transpose(-3, -2).reshape(inverse.shape)
    left = (
        (factor.square() * diagonal.reshape(*diagonal.shape[:-1], count, 1, size)).sum(-1).reshape(diagonal.shape)
    )
    block = torch.arange(n, device=inverse.device) // size
    # Only earlier blocks correct; the entries of one block are rounded at once and know nothing of each other.
    strict = rows * (block[:, None] < block[None, :])
    by_column = strict.reshape(*strict.shape[:-1], count, size).transpose(-3, -2).contiguous()
    return by_column, left


def round_with_feedback(
    targets: Tensor,
    row_feedback: Tensor | None,
    column_feedback: Tensor | None,
    steps: Tensor,
    thresholds: Tensor,
    height: int,
    width: int,
) -> tuple[Tensor, Tensor]:
    """Round a batch of matrices, all blocks of an antidiagonal at once.

    Args:
        targets: [N, R, C], in the order of the factors.
        row_feedback: from `strict_block_part` of A, [N, R / height, R, height]; None for none.
        column_feedback: from `strict_block_part` of B, [N, C / width, C, width]; None for none.
        steps: [N, R, C], above 0.
        thresholds: [N, R, C]: magnitude x (in steps) becomes max(0, floor(x - threshold + 1/2)).
        height: rows of a block; divides R.
        width: columns of a block; divides C.

    Returns:
        The integers and the errors F that are left after correction, both [N, R, C] floats.
    """
    batch, rows, columns = targets.shape
    down, across = rows // height, columns // width
    targets, steps = targets.contiguous(), steps.contiguous()
    lowered = (thresholds - 0.5).contiguous()
    inverse = 1 / steps
    errors, integers = torch.zeros_like(targets), torch.zeros_like(targets)
    # Column blocks in reverse order lie one behind the other along an antidiagonal.
    carried = targets.new_zeros(batch, across, rows, width)
    if column_feedback is not None:
        column_feedback = column_feedback.flip(1)

    def antidiagonal(tensor: Tensor, first: int, count: int, place: int) -> Tensor:
        """Return the blocks (first, place - first), (first + 1, ...), ... as a view [N, count, height, width]."""
        # The next block is one block down and one to the left, height x columns - width elements further on.
        return tensor.as_strided(
            (batch, count, height, width),
            (rows * columns, height * columns - width, columns, 1),
            tensor.storage_offset() + first * height * columns + (place - first) * width,
        )

    for place in range(down + across - 1):
        first, last = max(0, place - across + 1), min(down - 1, place)
        count = last - first + 1
        reverse = slice(across - 1 - place + first, across - 1 - place + first + count)
        wanted = antidiagonal(targets, first, count, place)
        before, above = (place - first) * width, last * height
        from_left = None
        if before and column_feedback is not None:
            left = errors.view(batch, down, height, columns)[:, first : last + 1, :, :before]
            from_left = (
                left.reshape(batch * count, height, before)
                @ column_feedback[:, reverse, :before].reshape(batch * count, before, width)
            ).view(batch, count, height, width)
            wanted = wanted + from_left
        if above and row_feedback is not None:
            wanted = wanted + (
                row_feedback[:, first : last + 1, :above].reshape(batch * count, above, height).mT
                @ carried[:, reverse, :above].reshape(batch * count, above, width)
            ).view(batch, count, height, width)
        scaled = wanted * antidiagonal(inverse, first, count, place)
        magnitudes = (scaled.abs() - antidiagonal(lowered, first, count, place)).floor_().clamp_(min=0)
        rounded = torch.copysign(magnitudes, scaled)
        error = torch.addcmul(-wanted, rounded, antidiagonal(steps, first, count, place))
        antidiagonal(integers, first, count, place).copy_(rounded)
        antidiagonal(errors, first, count, place).copy_(error)
        # What later rows need of this block: F times N_B up to its own column, of which `from_left` is the part of
        # the columns before it.
        carried.as_strided(
            (batch, count, height, width),
            (rows * columns, rows * width + height * width, width, 1),
            (across - 1 - place + first) * rows * width + first * height * width,
        ).copy_(error if from_left is None else error + from_left)
    return integers, errors
