"""Networks in the codec's numbers: what is trained is what is coded, and gradients reach all of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainables.complexity.codes import Direct, Transform, Zeros
from trainables.complexity.pieces import Piece, pieces
from trainables.complexity.stream import decode, encode, rebuilt
from trainables.description.quantised import Leaves, QuantisedNetwork

LIKE = {"a": torch.zeros(20, 18), "b": torch.zeros(9), "c": torch.zeros(4, 3), "d": torch.zeros(5)}


def piece(name: str) -> Piece:
    (chosen,) = (
        one for one in pieces({key: tuple(tensor.shape) for key, tensor in LIKE.items()}) if one.name == name
    )
    return chosen


def network() -> QuantisedNetwork:
    drawn = np.random.default_rng(0)

    def integers(name: str) -> np.ndarray:
        return drawn.integers(-2, 3, (piece(name).rows, piece(name).columns)).astype(np.int32)

    codes: dict[Piece, Zeros | Direct] = {
        piece("a"): Direct(-300, integers("a"), transform=Transform(2, 19)),
        piece("b"): Direct(-500, integers("b"), mean=0.75),
        piece("c"): Zeros(),
        piece("d"): Zeros(1.5),
    }
    return QuantisedNetwork(codes, LIKE)


def test_what_is_trained_is_what_decodes() -> None:
    quantised = network()
    leaves = quantised.leaves()
    leaves.integers += 0.3
    leaves.scales += 0.0031
    leaves.means += 0.001
    rounded = leaves.rounded()
    stream, _ = encode(quantised.codes(rounded), LIKE)
    decoded = decode(stream, LIKE)
    for name, weights in quantised.parameters(rounded).items():
        assert weights.shape == (1, *LIKE[name].shape)
        torch.testing.assert_close(weights[0], decoded[name], rtol=1e-5, atol=1e-6)


def test_row_scales_become_part_of_the_integers() -> None:
    exponents = np.array([0, 2, -4, 0], dtype=np.int32)
    code = Direct(-256, np.arange(12, dtype=np.int32).reshape(3, 4).T.copy().reshape(4, 3)[:3], exponents[:3])
    like = {"c": torch.zeros(3, 3)}
    (only,) = pieces({"c": (3, 3)})
    quantised = QuantisedNetwork({only: code}, like)
    weights = quantised.parameters(quantised.leaves())["c"][0]
    torch.testing.assert_close(weights, rebuilt({only: code}, like)["c"], rtol=2e-3, atol=1e-6)


def test_gradients_reach_every_leaf() -> None:
    quantised = network()
    leaves = quantised.leaves().rounded()
    for leaf in leaves.all():
        leaf.requires_grad_()
    total = sum(weights.square().sum() for weights in quantised.parameters(leaves).values())
    assert isinstance(total, torch.Tensor)
    gradients = torch.autograd.grad(total, leaves.all())
    assert gradients[0].count_nonzero() > 0.5 * gradients[0].numel()
    # Weights in proportion to a scale: the derivative of their square by its binary logarithm.
    a = quantised.parameters(leaves)["a"].detach().square().sum()
    assert float(gradients[1][0]) == pytest.approx(2 * float(a) * np.log(2), rel=1e-4)
    assert float(gradients[2][1]) == pytest.approx(2 * 1.5 * 5, rel=1e-5)


def test_a_unit_costs_more_where_hardly_anything_is() -> None:
    like = {"w": torch.zeros(16, 16)}
    (only,) = pieces({"w": (16, 16)})
    integers = np.zeros((16, 16), dtype=np.int32)
    integers[0] = 3
    quantised = QuantisedNetwork({only: Direct(0, integers)}, like)
    unit = quantised.bits_per_unit(quantised.leaves().integers).view(16, 16)
    assert bool((unit[0] < 1).all())
    assert bool((unit[1:] > 4).all())


def test_estimated_bits_are_about_those_of_the_stream() -> None:
    quantised = network()
    rounded = quantised.leaves().rounded()
    stream, _ = encode(quantised.codes(rounded), LIKE)
    assert quantised.bits(rounded) / 8 == pytest.approx(len(stream), rel=0.15)


def test_a_copy_is_another() -> None:
    leaves = Leaves(torch.ones(3), torch.ones(2), torch.ones(1))
    other = leaves.copy()
    other.integers += 1
    assert leaves.integers.tolist() == [1, 1, 1]
