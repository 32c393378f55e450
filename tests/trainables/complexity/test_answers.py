"""The divergence of a network's answers, as a distortion: against its definition, and in a measurement."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tests.trainables.networks.small import memorised
from trainables.complexity import decode
from trainables.complexity.answers import AnswersObjective
from trainables.complexity.objective import Parameters
from trainables.networks.measure import NetworkMeasuring, scores
from trainables.scoring import logits_of


def logits(parameters: Parameters, inputs: Tensor) -> Tensor:
    """[L, b, classes, T]: several predictions for each example."""
    return torch.einsum("bti,lic->lbct", inputs, parameters["weights"])


def slow_divergence(given: Tensor, other: Tensor) -> float:
    """Of two rows of logits."""
    p, q = given.double().softmax(-1).tolist(), other.double().softmax(-1).tolist()
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def test_the_losses_are_divergences_and_0_for_the_given_weights() -> None:
    drawn = torch.Generator().manual_seed(0)
    inputs = torch.randn(7, 3, 4, generator=drawn)
    given, other = ({"weights": torch.randn(1, 4, 5, generator=drawn)} for _ in range(2))
    objective = AnswersObjective(logits, inputs, given)
    assert objective.pick(torch.tensor([0])).losses(given).abs().max() == 0
    losses = objective.losses(other)
    assert losses.shape == (1, 21)
    rows = [
        (logits(given, inputs)[0, example, :, place], logits(other, inputs)[0, example, :, place])
        for example in range(7)
        for place in range(3)
    ]
    torch.testing.assert_close(losses[0], torch.tensor([slow_divergence(*row) for row in rows]))
    assert torch.equal(objective.losses(other, examples=2), losses[:, :6])
    # All examples are drawn where as many are asked for.
    assert torch.allclose(objective.fitted(other, 0, examples=7), losses.mean(1))


def test_a_network_is_compressed_within_a_divergence_of_its_answers() -> None:
    network = memorised()
    measuring = NetworkMeasuring(network, bound="answers")
    objective = AnswersObjective(
        logits_of(network.architecture), network.train.inputs, {n: w[None] for n, w in network.parameters.items()}
    )
    lengths = []
    for epsilon in (0.1, 1e-3):
        compressed = measuring.at(epsilon)
        assert compressed.bound == "answers"
        decoded = decode(compressed.result.bitstream, network.parameters)
        divergence = float(objective.losses({name: w[None] for name, w in decoded.items()}).double().mean())
        assert divergence <= epsilon
        assert math.isclose(divergence, compressed.result.loss_increase, rel_tol=1e-6, abs_tol=1e-12)
        assert scores(network, decoded) == compressed.scores
        lengths.append(len(compressed.result.bitstream))
    assert lengths[0] < lengths[1]
