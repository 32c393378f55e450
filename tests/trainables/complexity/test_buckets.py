"""What is prepared once for all prices."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainables.complexity.buckets import LARGEST_RANK, Bucket, apply_transform, buckets
from trainables.complexity.curvature import Curvature
from trainables.complexity.pieces import pieces, take
from trainables.complexity.transform import LARGEST_REST
from trainables.complexity.triangular import damped, reordered

PRICE = 1e-4


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def felt(rows: int, columns: int, lanes: int = 1) -> Curvature:
    """Correlated along both sides."""
    looks = noise(lanes, 50, rows, columns, seed=9) + noise(lanes, 50, rows, 1, seed=10)
    by_rows = (looks @ looks.mT).mean(1)
    trace = by_rows.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    seen = torch.ones(lanes, columns, dtype=torch.bool)
    return Curvature(by_rows, (looks.mT @ looks).mean(1) / trace, seen[:, :rows], seen)


def bucket_of(matrices: Tensor, curvature: Curvature | None = None) -> Bucket:
    (piece,) = pieces({"w": tuple(matrices.shape[1:])})
    lanes, rows, columns = take(matrices, piece).shape
    (bucket,) = buckets({"w": matrices}, {}, {piece: curvature or felt(rows, columns, lanes)}, PRICE)
    return bucket


def waves(length: int, others: int, rest: int = 0) -> Tensor:
    """[length + rest, others]: three frequencies down every column, then something else."""
    angles = 2 * math.pi * torch.arange(length)[:, None] * torch.tensor([1, 4, 7]) / length
    return torch.cat(
        [angles.cos() @ noise(3, others) + angles.sin() @ noise(3, others, seed=1), noise(rest, others)]
    )


@pytest.mark.parametrize("rest", range(LARGEST_REST + 1))
@pytest.mark.parametrize("transposed", [False, True])
def test_pure_frequencies_are_found_along_either_side(rest: int, transposed: bool) -> None:
    matrix = waves(47, 60, rest)
    bucket = bucket_of((matrix.T if transposed else matrix)[None])
    assert bucket.axes.tolist() == [[1]]
    assert bucket.lengths.tolist() == [[47]]
    wide = waves(67, 40, rest)
    bucket = bucket_of((wide.T if transposed else wide)[None])
    assert bucket.axes.tolist() == [[2]]
    assert bucket.lengths.tolist() == [[67]]
    # Few rows are left, three cosines and three sines.
    live = bucket.weights[0, 0].square().sum(0) > 1e-3 * bucket.weights.square().mean()
    assert int(live.sum()) == 6 + rest


def test_noise_is_not_transformed() -> None:
    assert bucket_of(noise(1, 48, 60)).axes.tolist() == [[0]]
    assert bucket_of(waves(15, 20)[None]).axes.tolist() == [[0]], "too short"


def test_each_lane_has_its_own_transform() -> None:
    matrices = torch.stack([waves(48, 60), noise(48, 60), waves(60, 48).T, waves(46, 60, 2)])
    bucket = bucket_of(matrices, felt(48, 60, 4))
    assert bucket.axes.tolist() == [[1], [0], [2], [1]]
    assert bucket.lengths.tolist() == [[48], [0], [60], [46]]
    for lane in range(4):
        alone = bucket_of(matrices[lane : lane + 1], Curvature(*(part[lane : lane + 1] for part in parts(4))))
        torch.testing.assert_close(bucket.weights[lane], alone.weights[0])
        torch.testing.assert_close(bucket.rows.curvature[lane], alone.rows.curvature[0], rtol=1e-3, atol=1e-5)


def parts(lanes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    curvature = felt(48, 60, lanes)
    return curvature.rows, curvature.columns, curvature.seen_rows, curvature.seen_columns


@pytest.mark.parametrize("axis", [1, 2])
def test_transforms_change_neither_weights_nor_what_is_felt(axis: int) -> None:
    matrix = waves(45, 60, 3) if axis == 1 else waves(58, 48, 2).T
    curvature = felt(48, 60)
    bucket = bucket_of(matrix[None], curvature)
    length = int(bucket.lengths[0, 0])
    assert int(bucket.axes[0, 0]) == axis
    weights = bucket.weights[0, 0, :48, :60]
    torch.testing.assert_close(apply_transform(weights, axis, length, back=True), matrix, rtol=1e-3, atol=1e-3)
    error = noise(48, 60, seed=5)
    there = apply_transform(error, axis, length)
    rows, columns = bucket.rows.curvature[0, 0, :48, :48], bucket.columns.curvature[0, 0, :60, :60]
    plain_rows = damped(curvature.rows, curvature.seen_rows)[0]
    plain_columns = damped(curvature.columns, curvature.seen_columns)[0]
    transformed = float(torch.trace(rows @ there @ columns @ there.T))
    assert transformed == pytest.approx(float(torch.trace(plain_rows @ error @ plain_columns @ error.T)), rel=2e-3)


def test_sides_are_padded_with_what_nobody_feels() -> None:
    bucket = bucket_of(noise(1, 20, 30))
    assert bucket.weights.shape == (1, 1, 32, 32)
    assert not bucket.weights[0, 0, 20:].any()
    assert not bucket.weights[0, 0, :, 30:].any()
    # Padding comes first, and its sharpness is next to none.
    assert sorted(bucket.rows.order[0, 0, :12].tolist()) == list(range(20, 32))
    assert float(bucket.rows.diagonal[0, 0, :8].max()) < 1e-6 * float(bucket.rows.diagonal[0, 0, 12:].min())
    order = bucket.rows.order, bucket.columns.order
    assert torch.equal(bucket.ordered, reordered(bucket.weights, *order))


def test_means_are_taken_off_and_what_is_not_seen_is_left_out() -> None:
    network = {"v": 3 + noise(1, 40)}
    (piece,) = pieces({"v": (40,)})
    seen = (torch.arange(40) != 7)[None]
    curvature = Curvature(torch.ones(1, 1, 1), torch.eye(40)[None], torch.ones(1, 1, dtype=torch.bool), seen)
    (bucket,) = buckets(network, {piece: torch.tensor([3.0])}, {piece: curvature}, PRICE)
    assert bucket.components is None
    assert bucket.weights.shape == (1, 1, 1, 48)
    expected = (network["v"][0] - 3) * seen[0]
    torch.testing.assert_close(bucket.weights[0, 0, 0, :40], expected)


def test_components_are_those_of_the_weighted_matrix() -> None:
    matrix = noise(1, 24, 40)
    curvature = felt(24, 40)
    bucket = bucket_of(matrix, curvature)
    components = bucket.components
    assert components is not None
    rows, columns = bucket.rows.curvature[0, 0].double(), bucket.columns.curvature[0, 0].double()
    left, singular = components.left[0, 0].double(), components.singular_values[0, 0].double()
    assert singular.tolist() == sorted(singular.tolist(), reverse=True)
    # tr(A W B W^T) is the sum of the squares.
    weights = bucket.weights[0, 0].double()
    whole = float(torch.trace(rows @ weights @ columns @ weights.T))
    assert float(singular.square().sum()) == pytest.approx(whole, rel=1e-4)
    # The left factors over s are orthonormal under A, so that U U^T A W is the best approximation of that rank.
    for rank in (3, 24):
        unit = left[:, :rank] / singular[:rank]
        torch.testing.assert_close(unit.T @ rows @ unit, torch.eye(rank, dtype=torch.float64), rtol=0, atol=1e-3)
        error = unit @ unit.T @ components.felt[0, 0].double() - weights
        lost = float(torch.trace(rows @ error @ columns @ error.T))
        assert lost == pytest.approx(float(singular[rank:].square().sum()), rel=1e-3, abs=1e-4 * whole)


def test_components_are_no_more_than_may_be_kept() -> None:
    components = bucket_of(noise(1, 60, 60)).components
    assert components is not None
    assert components.left.shape == (1, 1, 64, LARGEST_RANK)


def test_some_lanes_of_a_bucket() -> None:
    matrices = noise(3, 20, 30)
    bucket = bucket_of(matrices)
    picked = bucket.pick(torch.tensor([2, 0]))
    assert torch.equal(picked.weights, bucket.weights[[2, 0]])
    assert torch.equal(picked.rows.feedback, bucket.rows.feedback[[2, 0]])
    assert torch.equal(picked.columns.order, bucket.columns.order[[2, 0]])
    assert torch.equal(picked.lengths, bucket.lengths[[2, 0]])
    assert picked.components is not None
    assert bucket.components is not None
    assert torch.equal(picked.components.felt, bucket.components.felt[[2, 0]])


def test_one_piece_of_one_lane_of_a_bucket() -> None:
    bucket = bucket_of(noise(3, 20, 30))
    member = bucket.member(1, 0)
    assert member.pieces == bucket.pieces
    alone = bucket.pick(torch.tensor([1]))
    assert torch.equal(member.weights, alone.weights)
    assert torch.equal(member.ordered, alone.ordered)
    assert torch.equal(member.columns.feedback, alone.columns.feedback)
    assert member.components is not None
    assert alone.components is not None
    assert torch.equal(member.components.felt, alone.components.felt)
