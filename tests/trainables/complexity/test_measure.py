"""The measurement: honest, within the bound, alone, repeatable; and the errors."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.complexity.small import memorised, per_example_loss, same_bits
from trainables.architectures.models import forward
from trainables.complexity import METHOD, ComplexityResult, decode, measure
from trainables.complexity.measure import BudgetName, measure_lanes, measure_together
from trainables.complexity.objective import ClassificationObjective, FunctionObjective
from trainables.complexity.prices import MOST_PRICES
from trainables.complexity.search import BUDGETS, Budget
from trainables.complexity.stream import EXTENDED, ROUNDED
from trainables.errors import MeasurementError
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

    (one,) = measure(memorised(), counted, [4.0])
    calls_of_one = calls
    (other,) = measure(memorised(), counted, [0.03])
    # All else is shared: the curvature, the network itself, and the decoded one.
    each = 2 + BUDGETS["fast"].fitting_steps
    assert (other.evaluations - one.evaluations) * each == calls - 2 * calls_of_one
    assert one.evaluations != other.evaluations
    assert max(one.evaluations, other.evaluations) <= MOST_PRICES
    assert one.wall_s > 0


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


def test_more_distortion_hardly_ever_costs_more() -> None:
    sizes = [result.complexity_bytes for result in measure(memorised(), per_example_loss, EPSILONS)]
    assert all(larger <= 1.1 * smaller for larger, smaller in itertools.pairwise(sizes))
    assert sizes[0] < 0.7 * sizes[-1]


def test_who_waits_gets_less() -> None:
    for epsilon in (1.0, 0.25):
        (fast,) = measure(memorised(), per_example_loss, [epsilon])
        (thorough,) = measure(memorised(), per_example_loss, [epsilon], budget="thorough")
        assert thorough.complexity_bytes < fast.complexity_bytes
        assert thorough.loss_increase <= epsilon


def test_who_waits_never_gets_more() -> None:
    """Where the larger budget has less luck, the result is that of the smaller one, to the last bit."""
    parameters = {name: tensor[None] for name, tensor in memorised().items()}
    goal = FunctionObjective(per_example_loss)
    unlucky = Budget(looks=1, fitting_steps=0)
    for epsilon in (1.0, 0.25):
        alone, beside, both = (
            measure_together(parameters, goal, [epsilon], budget)[0][0]
            for budget in (unlucky, BUDGETS["fast"], dataclasses.replace(unlucky, beside=BUDGETS["fast"]))
        )
        assert both.bitstream == beside.bitstream
        assert both.complexity_bytes < alone.complexity_bytes
        assert both.loss_increase == beside.loss_increase
        assert both.evaluations == alone.evaluations + beside.evaluations
    assert BUDGETS["thorough"].beside == BUDGETS["fast"]


def test_only_who_waits_gets_the_extended_form() -> None:
    """In the plain form where that is shorter, which it is where nothing is rotated or coded by columns."""
    for epsilon in (1.0, 0.25):
        (fast,) = measure(memorised(), per_example_loss, [epsilon])
        (thorough,) = measure(memorised(), per_example_loss, [epsilon], budget="thorough")
        assert fast.bitstream[0] == ROUNDED
        assert thorough.bitstream[0] in (ROUNDED, EXTENDED)
    few = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(0)))[0][:, :3]
    parts = [torch.randn(3, n, generator=torch.Generator().manual_seed(n)) for n in (40, 50)]
    network = {f"w{n}": few @ part for n, part in zip((40, 50), parts, strict=True)}
    network["w60"] = few @ torch.linalg.qr(torch.randn(60, 60, generator=torch.Generator().manual_seed(1)))[0][:3]
    (fast,) = measure(network, distance(*network.values()), [1e-4])
    (thorough,) = measure(network, distance(*network.values()), [1e-4], budget="thorough")
    assert fast.bitstream[0] == ROUNDED
    assert thorough.bitstream[0] == EXTENDED
    assert thorough.loss_increase <= 1e-4
    assert same_bits(decode(thorough.bitstream, network), thorough.decoded)


def test_bytes_divide_over_the_tensors() -> None:
    network = memorised() | {"unused": torch.randn(20, 20, generator=torch.Generator().manual_seed(3))}
    (result,) = measure(network, per_example_loss, [0.25])
    shares = result.bytes_by_tensor
    assert sum(shares.values()) == pytest.approx(result.complexity_bytes)
    assert set(shares) == set(network)
    assert max(shares, key=lambda name: shares[name]) == "first/kernel"
    assert 0 < shares["unused"] < 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_dtypes(dtype: torch.dtype) -> None:
    network = memorised(dtype)
    (result,) = measure(network, per_example_loss, [0.25])
    assert all(tensor.dtype == dtype for tensor in result.decoded.values())
    assert increase(result.decoded, network) <= 0.25
    assert result.bitstream[0] == ROUNDED


@pytest.mark.parametrize("budget", ["fast", "thorough"])
def test_a_loss_without_gradient_is_measured_too(budget: BudgetName) -> None:
    def detached(parameters: Mapping[str, Tensor]) -> Tensor:
        return per_example_loss(parameters).detach()

    def through_numpy(parameters: Mapping[str, Tensor]) -> Tensor:
        return per_example_loss({name: torch.from_numpy(tensor.numpy()) for name, tensor in parameters.items()})

    (one,) = measure(memorised(), detached, [0.5], budget=budget)
    (other,) = measure(memorised(), through_numpy, [0.5], budget=budget)
    assert one.bitstream == other.bitstream
    assert one.loss_increase <= 0.5
    assert one.bitstream[0] == ROUNDED


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


def distance(*wanted: Tensor) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """A loss: squared distance to some tensors in units of their size."""

    def loss(parameters: Mapping[str, Tensor]) -> Tensor:
        parts = [
            ((tensor - goal).double() / goal.double().abs().max().clamp_min(1e-300)).flatten().square()
            for tensor, goal in zip(parameters.values(), wanted, strict=True)
        ]
        return torch.cat(parts)

    return loss


ODD = {
    "one number": torch.tensor(1.7),
    "one element": torch.tensor([[[-0.3]]]),
    "a constant vector": torch.full((50,), 3.3),
    "a constant matrix": torch.full((50, 20), -3.3),
    "nothing but zeros": torch.zeros(30, 20),
    "one of many": torch.zeros(30, 20).index_fill(0, torch.tensor([7]), 1.0),
    "large numbers": torch.linspace(-1e30, 1e30, 600).reshape(20, 30),
    "small numbers": torch.linspace(-1e-30, 1e-30, 600).reshape(20, 30),
    "the largest numbers": torch.linspace(-1.5e38, 1.5e38, 600).reshape(20, 30) * 2,
    "numbers below the smallest": torch.linspace(-1e-42, 1e-42, 600).reshape(20, 30),
    "numbers beyond float32": torch.linspace(-1e200, 1e200, 600, dtype=torch.float64).reshape(20, 30),
    "all sizes": (10 ** torch.linspace(-30, 30, 600)).reshape(20, 30),
}


@pytest.mark.parametrize("budget", ["fast", "thorough"])
@pytest.mark.parametrize("tensor", ODD.values(), ids=ODD)
def test_odd_tensors_are_measured(tensor: Tensor, budget: BudgetName) -> None:
    network = {"w": tensor}
    (result,) = measure(network, distance(tensor), [1e-4], budget=budget)
    assert result.loss_increase <= 1e-4
    assert same_bits(decode(result.bitstream, network), result.decoded)


@pytest.mark.parametrize("factor", [1e200, 1e-200])
def test_layers_beyond_float32_are_measured(factor: float) -> None:
    network = memorised(torch.float64)
    for name in ("first/kernel", "first/bias"):
        network[name] = network[name] * factor
    network["second/kernel"] = network["second/kernel"] / factor
    (result,) = measure(network, per_example_loss, [0.5], budget="thorough")
    assert result.loss_increase <= 0.5
    assert same_bits(decode(result.bitstream, network), result.decoded)


def test_a_constant_loss_needs_nothing() -> None:
    for network in (memorised(), {"w": torch.zeros(5, 5)}):
        for loss in (
            lambda _: torch.ones(4),
            lambda tensors: sum(0 * t.sum() for t in tensors.values()) + torch.ones(4),
        ):
            (result,) = measure(network, loss, [0.1])
            assert result.complexity_bytes < 20


def test_tensors_of_several_pieces_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    network = {
        "matrix": torch.randn(70, 50, generator=generator),
        "vector": 1 + torch.randn(70, generator=generator),
    }
    (whole,) = measure(network, distance(*network.values()), [3e-4])
    monkeypatch.setattr("trainables.complexity.pieces.LONGEST_SIDE", 32)
    (result,) = measure(network, distance(*network.values()), [3e-4], budget="thorough")
    assert result.loss_increase <= 3e-4
    assert result.bitstream[0] in (ROUNDED, EXTENDED)
    assert result.complexity_bytes < 1.1 * whole.complexity_bytes
    assert same_bits(decode(result.bitstream, network), result.decoded)


def test_infinite_losses_on_the_way_are_only_infeasible() -> None:
    network = memorised()
    reference = float(per_example_loss(network).mean())

    def cliff(parameters: Mapping[str, Tensor]) -> Tensor:
        losses = per_example_loss(parameters)
        return losses if float(losses.detach().mean()) < reference + 0.3 else losses * float("inf")

    (result,) = measure(network, cliff, [1.0])
    assert result.loss_increase <= 0.3
    assert result.bitstream[0] == ROUNDED


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


@pytest.mark.parametrize("budget", ["fast", "thorough"])
def test_modules_with_convolutions_and_tied_weights(budget: BudgetName) -> None:
    module = Convolutions()
    images = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    targets = module(images).argmax(-1)
    (result,) = measure(module, inputs=images, targets=targets, epsilons=[0.05], budget=budget)
    assert result.loss_increase <= 0.05
    assert "tied.weight" not in result.decoded
    decoded = decode(result.bitstream, module)
    assert same_bits({name: decoded[name] for name in result.decoded}, result.decoded)
    module.load_state_dict(decoded)
    assert torch.equal(module.tied.weight, result.decoded["linear.weight"])


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolutions_of_any_rank(rank: int) -> None:
    torch.manual_seed(0)
    convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
    module = nn.Sequential(convolution(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    inputs = torch.randn(30, 2, *[4] * rank)
    targets = module(inputs).argmax(-1)
    (result,) = measure(module, inputs=inputs, targets=targets, epsilons=[0.05])
    assert result.loss_increase <= 0.05
    assert result.decoded["0.weight"].shape == module[0].weight.shape
    assert result.bitstream[0] == ROUNDED


def test_how_memory_is_laid_out_makes_no_difference() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    inputs = torch.randn(30, 3, 6, 6)
    targets = module(inputs).argmax(-1)
    (one,) = measure(module, inputs=inputs, targets=targets, epsilons=[0.05])
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    (other,) = measure(module, inputs=inputs, targets=targets, epsilons=[0.05])
    assert one.bitstream == other.bitstream
    network = {"w": torch.randn(20, 30).T}
    (result,) = measure(network, distance(network["w"]), [1e-4])
    assert result.loss_increase <= 1e-4


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), float("inf")])
def test_epsilon_must_be_above_zero(epsilon: float) -> None:
    with pytest.raises(MeasurementError, match="epsilon must be finite and at least 1e-09"):
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
    assert METHOD == "feedback-1"


def reference(name: str) -> tuple[int, list[ComplexityResult]]:
    """A network of the paper's public code: bytes under bzip2, and the measurement at all epsilons."""
    network = load_network(DATA / f"{name}.npz")

    def logits(parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        return forward(network.model, parameters, inputs)

    objective = ClassificationObjective(logits, network.train.inputs, network.train.targets[None])
    lanes = {key: tensor[None] for key, tensor in network.parameters.items()}
    results = [result for (result,) in measure_lanes(lanes, objective, EPSILONS)]
    assert all(result.loss_increase <= result.epsilon for result in results)
    return bzip2_bytes(network.parameters), results


@pytest.mark.slow
def test_the_papers_networks() -> None:
    """Against 23,292 and 42,547 bytes grokked, 107,385 and 127,005 memorised of the paper's public code."""
    naive_grokked, grokked_results = reference("addition_noise")
    naive_memorised, memorised_results = reference("addition_memorised")
    grokked_bytes = {result.epsilon: result.complexity_bytes for result in grokked_results}
    memorised_bytes = {result.epsilon: result.complexity_bytes for result in memorised_results}
    assert grokked_bytes[1] < 5_200
    assert grokked_bytes[0.125] < 7_200
    assert memorised_bytes[1] < 41_000
    assert memorised_bytes[0.125] < 52_000
    for epsilon in (1, 0.125):
        assert memorised_bytes[epsilon] > 5 * grokked_bytes[epsilon]
    assert naive_grokked > 175 * grokked_bytes[1]
    assert naive_memorised > 20 * memorised_bytes[1]
    for one in (grokked_bytes, memorised_bytes):
        assert [one[epsilon] for epsilon in EPSILONS] == sorted(one.values())
    assert all(result.evaluations <= MOST_PRICES for result in [*grokked_results, *memorised_results])
