from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from trainables import decode, measure
from trainables.errors import MeasurementError

torch.manual_seed(0)
X = torch.randn(64, 6)
Y = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()


class Tied(nn.Module):
    """Ties weights, has a scalar parameter, a frozen one, and buffers of both kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.second.weight = self.first.weight
        self.temperature = nn.Parameter(torch.tensor(1.5))
        self.frozen = nn.Parameter(torch.ones(6), requires_grad=False)
        self.register_buffer("shift", torch.full((6,), 0.25))
        self.register_buffer("hidden", torch.ones(6), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.second(torch.relu(self.first(x) + self.shift) * self.hidden))
        logits: Tensor = self.last(inner * self.frozen) * self.temperature
        return logits


def old_weight_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        network: nn.Module = nn.utils.weight_norm(nn.Linear(6, 3))
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(6, 3),
    "tied": Tied,
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(6, 3)),
    "old weight norm": old_weight_norm,
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(6, 3)),
    "batch norm": lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)),
    "data parallel": lambda: nn.DataParallel(nn.Linear(6, 3)),
    "compiled": lambda: torch.compile(nn.Linear(6, 3)),
    "compiled data parallel": lambda: nn.DataParallel(torch.compile(nn.Linear(6, 3))),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_decoded_network_is_loaded_as_documented(name: str) -> None:
    torch.manual_seed(1)
    network = NETWORKS[name]()
    before = {key: copy.deepcopy(value) for key, value in network.state_dict().items()}
    result = measure(network, inputs=X, targets=Y, epsilons=[0.05])[0]
    after = network.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    decoded = decode(result.bitstream, like=network)
    network.load_state_dict(decoded)
    for key, tensor in result.decoded.items():
        assert torch.equal(decoded[key], tensor)
        assert torch.equal(dict(network.named_parameters())[key], tensor)
    for key, buffer in network.named_buffers():
        if key in before:
            assert torch.equal(buffer, before[key])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_loss_of_the_network_is_that_of_its_answers(name: str) -> None:
    torch.manual_seed(1)
    network = NETWORKS[name]()
    of_network = measure(network, lambda net: cross_entropy(net(X), Y, reduction="none"), [0.05])[0]
    of_answers = measure(network, inputs=X, targets=Y, epsilons=[0.05])[0]
    assert of_network.loss_increase <= 0.05
    assert of_network.complexity_bytes == pytest.approx(of_answers.complexity_bytes, rel=0.2)


def test_losses_of_named_tensors_are_told_apart_from_those_of_the_network() -> None:
    network = nn.Linear(6, 3)
    losses = {
        "by name": lambda named: cross_entropy(X @ named["weight"].T + named["bias"], Y, reduction="none"),
        "functional": lambda named: cross_entropy(functional_call(network, named, (X,)), Y, reduction="none"),
        "called": lambda net: cross_entropy(net(X), Y, reduction="none"),
        "attributes": lambda net: cross_entropy(X @ net.weight.T + net.bias, Y, reduction="none"),
    }
    streams = {name: measure(network, loss, [0.05])[0].bitstream for name, loss in losses.items()}
    assert streams["by name"] == streams["attributes"]
    assert streams["functional"] == streams["called"]


def test_parts_of_the_network_have_the_weights_that_are_tried() -> None:
    network = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))

    def loss(net: nn.Sequential) -> Tensor:
        return cross_entropy(net[2](torch.relu(net[0](X))), Y, reduction="none")

    result = measure(network, loss, [0.1])[0]
    with torch.no_grad():
        decoded = copy.deepcopy(network)
        decoded.load_state_dict(decode(result.bitstream, like=network))
        increase = float(loss(decoded).double().mean() - loss(network).double().mean())
    assert increase == pytest.approx(result.loss_increase, abs=1e-6)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda net: net["nothing"], "got KeyError: 'nothing'"),
        (lambda net: net(X.double()), "got RuntimeError: "),
        (lambda net: net.no_such_part(X), "got AttributeError: "),
        (lambda _: 3, "loss must return a tensor, one value per training example"),
    ],
)
def test_a_loss_that_raises_is_told_in_one_line(loss: Callable[[object], Tensor], message: str) -> None:
    with pytest.raises(MeasurementError, match=message) as caught:
        measure(nn.Linear(6, 3), loss, [0.5])
    assert "\n" not in str(caught.value)


def test_scripted_and_traced_modules_are_refused_by_name() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        networks = [torch.jit.script(nn.Linear(6, 3)), torch.jit.trace(nn.Linear(6, 3), X)]
    for network in networks:
        for how in ({"inputs": X, "targets": Y}, {"loss": lambda net: cross_entropy(net(X), Y, reduction="none")}):
            with pytest.raises(MeasurementError, match="pass the module it was scripted or traced from"):
                measure(network, epsilons=[0.5], **how)


def test_inputs_and_targets_are_taken_in_usual_forms() -> None:
    network = nn.Linear(6, 3)
    expected = measure(network, inputs=X, targets=Y, epsilons=[0.1])[0].bitstream
    for inputs, targets in ((X.numpy(), Y.numpy()), (X.tolist(), Y.tolist()), (X, Y.double()), (X, Y[:, None])):
        if isinstance(inputs, list):
            inputs = np.array(inputs, dtype=np.float32)
        assert measure(network, inputs=inputs, targets=targets, epsilons=[0.1])[0].bitstream == expected
    with pytest.raises(MeasurementError, match="got words such as 'a'"):
        measure(network, inputs=X, targets=np.array(["a", "b", "c"])[Y], epsilons=[0.1])
    with pytest.raises(MeasurementError, match=r"must be real numbers, got torch\.complex64"):
        measure(network, inputs=X + 1j, targets=Y, epsilons=[0.1])
