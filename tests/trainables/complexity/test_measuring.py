"""The measurement: honest, within the bound, alone, repeatable; and the errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from tests.trainables.complexity.small import memorised, per_example_loss, same_bits
from trainables.complexity import METHOD, ComplexityResult, decode, measure
from trainables.errors import MeasurementError
from trainables.models import forward
from trainables.networks import load_network
from trainables.sizes import bzip2_bytes

DATA = Path(__file__).parents[2] / "data"
EPSILONS = (4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0625)


def increase(decoded: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> float:
    return float(per_example_loss(decoded).double().mean() - per_example_loss(network).double().mean())


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_the_decoded_network_keeps_the_bound_and_the_bytes_are_the_streams(epsilon: float) -> None:
    network = memorised()
    (result,) = measure(network, per_example_loss, [epsilon])
    assert result.epsilon == epsilon
    assert result.complexity_bytes == len(result.bitstream)
    assert same_bits(decode(result.bitstream, network), result.decoded)
    assert result.loss_increase == increase(result.decoded, network) <= epsilon
    assert result.complexity_bytes < bzip2_bytes(network) / 2


def test_evaluations_are_counted() -> None:
    calls = 0

    def counted(parameters: Mapping[str, Tensor]) -> Tensor:
        nonlocal calls
        calls += 1
        return per_example_loss(parameters)

    (result,) = measure(memorised(), counted, [1.0])
    # A curvature is one call and counts as two evaluations, for its backward pass; it is taken twice.
    assert result.evaluations == calls + 2
    assert result.evaluations < 30
    assert result.wall_s > 0


def test_each_epsilon_stands_alone() -> None:
    together = measure(memorised(), per_example_loss, EPSILONS)
    backwards = measure(memorised(), per_example_loss, EPSILONS[::-1])[::-1]
    for epsilon, one, other in zip(EPSILONS, together, backwards, strict=True):
        (alone,) = measure(memorised(), per_example_loss, [epsilon])
        assert alone.bitstream == one.bitstream == other.bitstream
        assert alone.evaluations == one.evaluations == other.evaluations


def test_the_order_of_names_does_not_matter() -> None:
    network = memorised()
    turned = {name: network[name] for name in reversed(network)}
    (one,) = measure(network, per_example_loss, [0.5])
    (other,) = measure(turned, per_example_loss, [0.5])
    assert one.bitstream == other.bitstream
    assert list(other.decoded) == list(turned)


def test_the_network_is_left_alone() -> None:
    network = memorised()
    measure(network, per_example_loss, [0.5])
    assert same_bits(network, memorised())
    assert not any(tensor.requires_grad for tensor in network.values())


def test_more_distortion_never_costs_more_here() -> None:
    sizes = [result.complexity_bytes for result in measure(memorised(), per_example_loss, EPSILONS)]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_dtypes(dtype: torch.dtype) -> None:
    network = memorised(dtype)
    (result,) = measure(network, per_example_loss, [0.25])
    assert all(tensor.dtype == dtype for tensor in result.decoded.values())
    assert increase(result.decoded, network) <= 0.25
    assert result.bitstream[0] == 1


def test_a_loss_without_gradient_is_measured_too() -> None:
    def detached(parameters: Mapping[str, Tensor]) -> Tensor:
        return per_example_loss(parameters).detach()

    def through_numpy(parameters: Mapping[str, Tensor]) -> Tensor:
        return per_example_loss({name: torch.from_numpy(tensor.numpy()) for name, tensor in parameters.items()})

    (one,) = measure(memorised(), detached, [0.5])
    (other,) = measure(memorised(), through_numpy, [0.5])
    assert one.bitstream == other.bitstream
    assert one.loss_increase <= 0.5
    assert one.bitstream[0] == 1


def test_what_the_loss_does_not_see_costs_a_byte() -> None:
    network = memorised()
    generator = torch.Generator().manual_seed(3)
    (without,) = measure(network, per_example_loss, [0.5])
    (with_it,) = measure(network | {"unused": torch.randn(50, 50, generator=generator)}, per_example_loss, [0.5])
    assert with_it.complexity_bytes <= without.complexity_bytes * 1.05
    assert not with_it.decoded["unused"].any()


def test_there_is_always_an_answer() -> None:
    """A loss that any change of any weight breaks: the weights themselves are coded, and lose nothing."""
    network = memorised()
    frozen = {name: tensor.clone() for name, tensor in network.items()}

    def brittle(parameters: Mapping[str, Tensor]) -> Tensor:
        same = all(torch.equal(parameters[name], frozen[name]) for name in frozen)
        return torch.full((4,), 0.0 if same else 50.0)

    (result,) = measure(network, brittle, [1.0])
    assert result.loss_increase == 0
    assert same_bits(result.decoded, network)


def test_infinite_losses_on_the_way_are_only_infeasible() -> None:
    network = memorised()
    reference = float(per_example_loss(network).mean())

    def cliff(parameters: Mapping[str, Tensor]) -> Tensor:
        losses = per_example_loss(parameters)
        return losses if float(losses.detach().mean()) < reference + 0.3 else losses * float("inf")

    (result,) = measure(network, cliff, [1.0])
    assert result.loss_increase <= 0.3
    assert result.bitstream[0] == 1


class Convolutions(nn.Module):
    """All ranks: a convolution, a norm, a linear layer tied to another, a scalar."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(1, 6, 3)
        self.norm = nn.GroupNorm(2, 6)
        self.linear = nn.Linear(6, 6)
        self.tied = nn.Linear(6, 6)
        self.tied.weight = self.linear.weight
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        features = self.norm(self.convolution(images)).relu().mean((2, 3))
        return self.scale * self.tied(self.linear(features).relu())


def test_modules_with_convolutions_and_tied_weights() -> None:
    module = Convolutions()
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(40, 1, 8, 8, generator=generator)
    targets = module(images).argmax(-1)

    def loss(parameters: Mapping[str, Tensor]) -> Tensor:
        logits = torch.func.functional_call(module, dict(parameters), (images,))
        return functional.cross_entropy(logits, targets, reduction="none")

    (result,) = measure(module, loss, [0.05])
    assert result.loss_increase <= 0.05
    assert "tied.weight" not in result.decoded
    assert same_bits(decode(result.bitstream, module), result.decoded)
    module.load_state_dict(result.decoded, strict=False)
    assert torch.equal(module.tied.weight, result.decoded["linear.weight"])


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), float("inf")])
def test_epsilon_must_be_above_zero(epsilon: float) -> None:
    with pytest.raises(MeasurementError, match="epsilon must be finite and above 0"):
        measure(memorised(), per_example_loss, [1.0, epsilon])


def test_weights_must_be_finite() -> None:
    network = memorised()
    network["first/kernel"][0, 0] = float("nan")
    with pytest.raises(MeasurementError, match=r"finite, got 1 NaN .* 'first/kernel'"):
        measure(network, per_example_loss, [1.0])


def test_tensors_must_have_elements() -> None:
    with pytest.raises(MeasurementError, match="must have elements"):
        measure(memorised() | {"empty": torch.zeros(0, 3)}, per_example_loss, [1.0])


def test_tensors_must_be_of_a_float_dtype() -> None:
    with pytest.raises(MeasurementError, match="must be float16"):
        measure({"counts": torch.arange(3)}, per_example_loss, [1.0])


def test_a_network_must_have_tensors() -> None:
    with pytest.raises(MeasurementError, match="at least one tensor"):
        measure({}, per_example_loss, [1.0])


def test_budgets_have_names() -> None:
    with pytest.raises(MeasurementError, match="budget must be one of fast"):
        measure(memorised(), per_example_loss, [1.0], budget="endless")  # type: ignore[arg-type]


def test_the_method_has_a_name() -> None:
    assert METHOD == "svd-round-2"


def reference(name: str, epsilons: tuple[float, ...]) -> tuple[int, list[ComplexityResult]]:
    network = load_network(DATA / f"{name}.npz")

    def loss(parameters: Mapping[str, Tensor]) -> Tensor:
        lanes = {key: tensor[None] for key, tensor in parameters.items()}
        logits = forward(network.model, lanes, network.train[:, :-1])[0]
        return functional.cross_entropy(logits, network.train[:, -1], reduction="none")

    return bzip2_bytes(network.parameters), measure(network.parameters, loss, epsilons)


def test_the_papers_networks() -> None:
    """Against the paper's public code: 23,292 and 42,547 bytes grokked, 107,385 and 127,005 memorised."""
    naive_grokked, grokked = reference("addition_noise", (1.0, 0.125))
    naive_memorised, memorised_ = reference("addition_memorised", (1.0, 0.125))
    assert grokked[0].complexity_bytes < 12_000
    assert grokked[1].complexity_bytes < 27_000
    assert memorised_[0].complexity_bytes < 53_000
    assert memorised_[1].complexity_bytes < 66_000
    assert memorised_[0].complexity_bytes > 4 * grokked[0].complexity_bytes
    assert memorised_[1].complexity_bytes > 2 * grokked[1].complexity_bytes
    assert naive_grokked > 70 * grokked[0].complexity_bytes
    assert naive_memorised > 15 * memorised_[0].complexity_bytes
    assert all(result.evaluations <= 30 for result in [*grokked, *memorised_])
