"""Many networks measured together: each as if it were alone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from tests.trainables.complexity.small import same_bits
from tests.trainables.complexity.small_lanes import lanes, objective
from trainables.complexity import ComplexityResult
from trainables.complexity.measure import measure_lanes, measure_together
from trainables.complexity.objective import ClassificationObjective
from trainables.complexity.search import BUDGETS
from trainables.complexity.stream import EXTENDED


def together(parameters: Mapping[str, Tensor], chosen: list[int], budget: str = "fast") -> list[ComplexityResult]:
    """The results of some lanes measured as one batch, as on a GPU, at 1 and at 1/8 nats."""
    some = {name: tensor[chosen] for name, tensor in parameters.items()}
    results = measure_together(some, objective(len(chosen)), [1.0, 0.125], BUDGETS[budget])
    return [result for lane in zip(*results, strict=True) for result in lane]


def unlike() -> dict[str, Tensor]:
    """Networks that have learned, one on other scales, one that has learned nothing, one of nothing but zeros."""
    parameters = lanes(5)
    for name, factor in (("first/kernel", 3.0), ("first/bias", 3.0), ("second/kernel", 1 / 3)):
        parameters[name][1] *= factor
    for tensor in parameters.values():
        tensor[2] = torch.randn(tensor.shape[1:], generator=torch.Generator().manual_seed(0)) / 4
        tensor[3] = 0
    return parameters


@pytest.mark.parametrize("budget", ["fast", "thorough"])
def test_a_network_in_company_has_the_stream_it_has_beside_any_other(budget: str) -> None:
    parameters = unlike()
    everything = together(parameters, [0, 1, 2, 3, 4], budget)
    pair, turned = together(parameters, [0, 1], budget), together(parameters, [1, 0], budget)
    for place in range(2):
        assert everything[place].bitstream == pair[place].bitstream == turned[place + 2].bitstream
        assert everything[place + 2].bitstream == pair[place + 2].bitstream == turned[place].bitstream


def test_on_a_cpu_a_network_has_the_stream_it_has_alone() -> None:
    parameters = unlike()
    everything = measure_lanes(parameters, objective(5), [0.125])[0]
    for lane, result in enumerate(everything):
        alone = {name: tensor[lane : lane + 1] for name, tensor in parameters.items()}
        assert measure_lanes(alone, objective(1), [0.125])[0][0].bitstream == result.bitstream


def test_a_network_alone_has_about_the_bytes_it_has_in_one_batch_with_others() -> None:
    parameters = unlike()
    everything = together(parameters, [0, 1, 2, 3, 4])
    for lane in range(5):
        alone = together(parameters, [lane])
        for one, other in zip(alone, everything[2 * lane : 2 * lane + 2], strict=True):
            assert other.loss_increase <= one.epsilon
            assert one.complexity_bytes == pytest.approx(other.complexity_bytes, rel=0.02, abs=2)


def test_every_result_is_of_its_own_network() -> None:
    parameters = unlike()
    for place, result in enumerate(together(parameters, [4, 0, 1])):
        lane = [4, 0, 1][place // 2]
        network = {name: tensor[lane] for name, tensor in parameters.items()}
        distance = sum(float((result.decoded[name] - tensor).square().sum()) for name, tensor in network.items())
        size = sum(float(tensor.square().sum()) for tensor in network.values())
        assert result.epsilon == (1.0, 0.125)[place % 2]
        assert distance < size
        assert list(result.decoded) == list(network)
        assert not same_bits(result.decoded, network)


def layers(parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """[L, n, classes] of three layers without biases."""
    hidden = torch.relu(inputs @ parameters["a"])
    return torch.relu(hidden @ parameters["b"]) @ parameters["c"]


def related() -> tuple[dict[str, Tensor], ClassificationObjective]:
    """Two networks whose layers meet in few directions, and what they say of some inputs as their goal."""
    drawn = torch.Generator().manual_seed(0)
    few = torch.linalg.qr(torch.randn(2, 40, 40, generator=drawn))[0][:, :, :5]
    parameters = {
        "a": torch.randn(2, 20, 5, generator=drawn) @ few.mT,
        "b": few @ torch.randn(2, 5, 5, generator=drawn) @ few.mT,
        "c": 3 * few @ torch.randn(2, 5, 20, generator=drawn),
    }
    inputs = torch.randn(300, 20, generator=drawn)
    return parameters, ClassificationObjective(layers, inputs, layers(parameters, inputs).argmax(-1))


def test_rotations_do_not_depend_on_company_nor_on_other_bounds() -> None:
    parameters, goal = related()
    turned = {name: tensor.flip(0) for name, tensor in parameters.items()}
    budget = BUDGETS["thorough"]
    both = measure_together(parameters, goal, [0.5, 0.125], budget)
    other = measure_together(turned, goal.pick(torch.tensor([1, 0])), [0.125, 0.5], budget)
    for place in range(2):
        for lane in range(2):
            result = both[place][lane]
            assert result.bitstream == other[1 - place][1 - lane].bitstream
            assert result.loss_increase <= result.epsilon
    assert {result.bitstream[0] for results in both for result in results} == {EXTENDED}
