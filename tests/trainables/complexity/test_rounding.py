"""Rounding at a price."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from trainables.complexity.buckets import Bucket, buckets
from trainables.complexity.curvature import Curvature
from trainables.complexity.pieces import pieces, take
from trainables.complexity.rounding import (
    DIRECT,
    FACTORS,
    STEP,
    ZEROS,
    Rounded,
    left_exponents,
    round_bucket,
    total_bits,
)
from trainables.complexity.triangular import DAMPING

PRICE = 1e-4


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def bucket_of(matrices: Tensor, seen_rows: Tensor | None = None) -> Bucket:
    """Of a matrix for each lane, [L, R, C], every entry of which is felt alike."""
    (piece,) = pieces({"w": tuple(matrices.shape[1:])})
    lanes, rows, columns = take(matrices, piece).shape
    curvature = Curvature(
        columns * torch.eye(rows).expand(lanes, rows, rows),
        torch.eye(columns).expand(lanes, columns, columns) / columns,
        torch.ones(lanes, rows, dtype=torch.bool) if seen_rows is None else seen_rows.expand(lanes, rows),
        torch.ones(lanes, columns, dtype=torch.bool),
    )
    (bucket,) = buckets({"w": matrices}, {}, {piece: curvature}, PRICE)
    return bucket


def rounded_at(bucket: Bucket, prices: Sequence[float]) -> Rounded:
    return round_bucket(bucket, torch.tensor(prices))


def test_noise_is_rounded_directly_to_the_step_that_the_price_says() -> None:
    matrix = noise(1, 40, 48)
    rounded = rounded_at(bucket_of(matrix), [PRICE])
    assert rounded.kinds.tolist() == [[DIRECT]]
    assert not rounded.direct.exponents.any()
    # All are felt with 1, and that is damped on both sides.
    step = STEP * math.sqrt(PRICE) / (1 + DAMPING)
    assert float(rounded.direct.steps[0, 0]) == pytest.approx(step, rel=1e-4)
    weights, integers = rounded.weights[0, 0, :40, :48], rounded.direct.integers[0, 0, :40, :48]
    torch.testing.assert_close(weights, integers * step)
    # Nothing is felt together, so there is no feedback: to the nearest integer, less the dead zone.
    shrunk = matrix[0].abs() / step - integers.abs()
    assert (integers * matrix[0] >= 0).all()
    assert -0.5 < float(shrunk.min()) < -0.47
    assert 0.5 < float(shrunk.max()) < 0.53


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (30, 10, 5)])
def test_a_matrix_of_low_rank_becomes_factors(shape: tuple[int, ...]) -> None:
    matrix = (noise(shape[0], 2) @ noise(2, math.prod(shape[1:]), seed=1)).reshape(1, *shape)
    bucket = bucket_of(matrix)
    rounded = rounded_at(bucket, [PRICE])
    assert rounded.kinds.tolist() == [[FACTORS]]
    assert rounded.factors is not None
    assert int((rounded.factors.left != 0).any(2).sum()) == 2
    error = rounded.weights - bucket.weights
    assert float(error.square().mean()) < 0.01 * float(bucket.weights.square().mean())


def test_columns_that_matter_more_are_rounded_more_finely() -> None:
    matrix = noise(1, 32, 64)
    (piece,) = pieces({"w": (32, 64)})
    seen = torch.ones(1, 64, dtype=torch.bool)
    rows = torch.diag(torch.tensor([1e4] * 16 + [1.0] * 16))[None]
    curvature = Curvature(rows, torch.eye(64)[None] / 64, seen[:, :32], seen)
    (bucket,) = buckets({"w": matrix}, {}, {piece: curvature}, PRICE)
    direct = rounded_at(bucket, [1e-2]).direct
    fine, coarse = direct.exponents[0, 0, :16], direct.exponents[0, 0, 16:32]
    assert int(fine.max()) < int(coarse.min())


def test_what_is_not_worth_a_bit_is_zero() -> None:
    rounded = rounded_at(bucket_of(noise(1, 40, 48)), [1e3])
    assert rounded.kinds.tolist() == [[ZEROS]]
    assert not rounded.weights.any()
    assert total_bits([rounded], 1) == [0]


def test_what_is_not_seen_is_zero() -> None:
    seen = torch.arange(20) % 3 != 0
    rounded = rounded_at(bucket_of(noise(1, 20, 30) + 5, seen), [PRICE])
    assert ((rounded.weights[0, 0] != 0).any(1)[:20] == seen).all()
    assert not rounded.weights[0, 0, 20:].any()
    assert not rounded.weights[0, 0, :, 30:].any()


def test_a_higher_price_is_fewer_bits_and_more_error() -> None:
    bucket = bucket_of(noise(1, 40, 48) @ torch.diag(torch.linspace(0.1, 2, 48)))
    bits, errors = [], []
    for price in (1e-6, 1e-5, 1e-4, 1e-3):
        rounded = rounded_at(bucket, [price])
        bits += total_bits([rounded], 1)
        errors.append(float((rounded.weights - bucket.weights).square().sum()))
    assert bits == sorted(bits, reverse=True)
    assert errors == sorted(errors)


def test_each_lane_has_its_own_price_and_kind() -> None:
    low_rank = noise(40, 2, seed=1) @ noise(2, 48, seed=2)
    matrices = torch.stack([noise(40, 48), low_rank, noise(40, 48, seed=3)])
    prices = [1e-4, 1e-4, 1e3]
    together = rounded_at(bucket_of(matrices), prices)
    assert together.kinds.tolist() == [[DIRECT], [FACTORS], [ZEROS]]
    for lane, price in enumerate(prices):
        alone = rounded_at(bucket_of(matrices[lane : lane + 1]), [price])
        torch.testing.assert_close(together.weights[lane], alone.weights[0], rtol=1e-4, atol=1e-5)


def test_pieces_of_like_shape_are_rounded_side_by_side() -> None:
    network = {"a": noise(1, 30, 40), "b": noise(1, 40, 25), "c": noise(1, 12), "d": noise(1, 60, 60)}
    cut = pieces({name: tuple(tensor.shape[1:]) for name, tensor in network.items()})
    felt = {}
    for piece in cut:
        _, rows, columns = take(network[piece.name], piece).shape
        seen = torch.ones(1, columns, dtype=torch.bool)
        felt[piece] = Curvature(torch.eye(rows)[None], torch.eye(columns)[None], seen[:, :rows], seen)
    by_piece = buckets(network, {}, felt, PRICE)
    assert [[piece.name for piece in bucket.pieces] for bucket in by_piece] == [["a", "b"], ["c"], ["d"]]
    assert [tuple(bucket.weights.shape) for bucket in by_piece] == [(1, 2, 32, 48), (1, 1, 1, 16), (1, 1, 64, 64)]
    assert len(total_bits([rounded_at(bucket, [PRICE]) for bucket in by_piece], 1)) == 1


def test_exponents_are_the_decoders() -> None:
    left = torch.tensor([[0, 0], [1, 0], [1, 1], [2, 0], [3, 3], [-7, 1], [2**23, 2**23]]).float().T
    assert left_exponents(left).tolist() == [0, 0, 0, 1, 2, 2, 23]
