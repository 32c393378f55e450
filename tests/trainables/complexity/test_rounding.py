"""Rounding at one resolution."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.trainables.complexity.small import memorised, per_example_loss
from trainables.complexity.codes import Direct, Factors, Zeros
from trainables.complexity.curvature import Curvature, curvatures
from trainables.complexity.rounding import Rounder, uniform

SEEN = torch.ones((), dtype=torch.bool)


def test_direct_rounding_stays_within_half_a_step() -> None:
    network = memorised()
    rounded = Rounder(network, uniform(network), factors=False).round(0.1)
    assert rounded is not None
    for name, tensor in network.items():
        if tensor.any():
            # Steps lie on a grid of sixteenths of an octave, hence the 3 per cent.
            half = 0.05 * float(tensor.square().mean().sqrt()) * 1.03
            assert float((rounded.parameters[name] - tensor).abs().max()) <= half


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (30, 10, 5)])
def test_a_matrix_of_low_rank_becomes_factors(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(shape[0], 2, generator=generator) @ torch.randn(
        2, int(np.prod(shape[1:])), generator=generator
    )
    rounded = Rounder({"w": matrix.reshape(shape)}, {"w": Curvature(1.0, SEEN)}).round(0.05)
    assert rounded is not None
    code = rounded.codes["w"]
    assert isinstance(code, Factors)
    assert code.exponents.size == 2
    assert float((rounded.parameters["w"] - matrix.reshape(shape)).square().mean().sqrt()) < 0.05


def test_noise_is_rounded_directly() -> None:
    matrix = torch.randn(30, 50, generator=torch.Generator().manual_seed(0))
    rounded = Rounder({"w": matrix}, {"w": Curvature(1.0, SEEN)}).round(0.05)
    assert rounded is not None
    assert isinstance(rounded.codes["w"], Direct)


def test_what_is_not_felt_is_left_out() -> None:
    rows = torch.tensor([[True], [False], [True]])
    rounded = Rounder(
        {"dead": torch.ones(3), "w": torch.ones(3, 2)},
        {"dead": Curvature(0.0, SEEN), "w": Curvature(1.0, rows)},
    ).round(0.5)
    assert rounded is not None
    assert isinstance(rounded.codes["dead"], Zeros)
    assert rounded.parameters["w"].tolist() == [[1, 1], [0, 0], [1, 1]]


def test_steps_too_fine_to_be_worth_it_are_refused() -> None:
    network = memorised()
    assert Rounder(network, uniform(network)).round(1e-12) is None
    assert Rounder(network, uniform(network)).round(1e-200) is None


def test_curvature_is_the_mean_squared_gradient_over_examples() -> None:
    network = memorised()
    shaken = {name: tensor + 0.2 for name, tensor in network.items()}
    draws = [curvatures(per_example_loss, shaken, seed) for seed in range(200)]
    exact = dict.fromkeys(network, 0.0)
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in shaken.items()}
    losses = per_example_loss(leaves)
    for loss in losses:
        for name, gradient in zip(
            leaves, torch.autograd.grad(loss, list(leaves.values()), retain_graph=True), strict=True
        ):
            exact[name] += float(gradient.double().square().mean()) / len(losses)
    for name, expected in exact.items():
        found = np.mean([draw[name].mean for draw in draws if draw is not None])
        assert found == pytest.approx(expected, rel=0.35)
