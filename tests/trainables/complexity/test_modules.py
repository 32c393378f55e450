"""Real modules of every kind of layer: measured on their examples, decoded elsewhere, still as good."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from tests.trainables.complexity.small import same_bits
from trainables.complexity import ComplexityResult, decode, measure

EXAMPLES = 96
CLASSES = 4


class Tied(nn.Module):
    """An autoregressive model in small: the output layer is the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.norm = nn.LayerNorm(8)
        self.hidden = nn.Linear(8, 8)
        self.output = nn.Linear(8, 11, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        features = self.embedding(tokens)
        return self.output(self.norm(features + self.hidden(features).tanh())).mT


def perceptron() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 32),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(32, 32),
        nn.ReLU(),
        nn.Linear(32, CLASSES),
    )


def convolutions(dimensions: int) -> nn.Module:
    layer = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
    return nn.Sequential(
        layer(1, 8, 3),
        nn.ReLU(),
        nn.GroupNorm(2, 8),
        layer(8, 8, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(CLASSES),
    )


def embedding() -> nn.Module:
    return nn.Sequential(
        nn.Embedding(13, 8), nn.LayerNorm(8), nn.Flatten(), nn.Linear(24, 32), nn.GELU(), nn.Linear(32, CLASSES)
    )


def normal(*shape: int) -> Tensor:
    return torch.randn(EXAMPLES, *shape, generator=torch.Generator().manual_seed(0))


def tokens(largest: int, *shape: int) -> Tensor:
    return torch.randint(largest, (EXAMPLES, *shape), generator=torch.Generator().manual_seed(0))


CASES: dict[str, tuple[Callable[[], nn.Module], Tensor, Tensor]] = {
    "perceptron with batch norm": (perceptron, normal(6), tokens(CLASSES)),
    "one-dimensional convolutions": (lambda: convolutions(1), normal(1, 9), tokens(CLASSES)),
    "two-dimensional convolutions": (lambda: convolutions(2), normal(1, 6, 6), tokens(CLASSES)),
    "three-dimensional convolutions": (lambda: convolutions(3), normal(1, 5, 5, 5), tokens(CLASSES)),
    "embedding and layer norm": (embedding, tokens(13, 3), tokens(CLASSES)),
    "tied weights": (Tied, tokens(11, 3), (tokens(11, 3) * 3 + 1) % 11),
}


def trained(make: Callable[[], nn.Module], inputs: Tensor, targets: Tensor, steps: int = 120) -> nn.Module:
    torch.manual_seed(0)
    module = make()
    module(inputs)
    optimiser = torch.optim.Adam(module.parameters(), 1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        functional.cross_entropy(module(inputs), targets).backward()
        optimiser.step()
    return module


def loss_of(module: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """As anyone would compute it."""
    with torch.no_grad():
        return float(functional.cross_entropy(module.eval()(inputs).double(), targets))


def checked(
    module: nn.Module, inputs: Tensor, targets: Tensor, epsilon: float, tolerance: float = 1e-5
) -> ComplexityResult:
    """A measurement whose stream turns a module full of NaN into one that is within epsilon of the original."""
    (result,) = measure(module, inputs=inputs, targets=targets, epsilons=[epsilon])
    like = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in like.parameters():
            parameter.fill_(float("nan"))
    decoded = decode(result.bitstream, like=like)
    assert same_bits({name: decoded[name] for name in result.decoded}, result.decoded)
    assert result.decoded.keys() == dict(module.named_parameters()).keys()
    assert decoded.keys() == module.state_dict().keys()
    like.load_state_dict(decoded)
    increase = loss_of(like, inputs, targets) - loss_of(module, inputs, targets)
    assert increase == pytest.approx(result.loss_increase, abs=tolerance)
    assert result.loss_increase <= epsilon
    return result


def raw_bytes(module: nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())


@pytest.mark.parametrize("name", CASES)
def test_modules_of_every_kind(name: str) -> None:
    module = trained(*CASES[name])
    _, inputs, targets = CASES[name]
    module.train()
    buffers = copy.deepcopy(dict(module.named_buffers()))
    result = checked(module, inputs, targets, 0.25)
    assert result.complexity_bytes < raw_bytes(module) / 4
    assert all(torch.equal(buffer, buffers[key]) for key, buffer in module.named_buffers())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["two-dimensional convolutions", "embedding and layer norm"])
def test_modules_of_half_precision(name: str, dtype: torch.dtype) -> None:
    make, inputs, targets = CASES[name]
    module = trained(make, inputs, targets).to(dtype)
    inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
    result = checked(module, inputs, targets, 0.25, tolerance=1e-3)
    assert all(tensor.dtype == dtype for tensor in result.decoded.values())
    assert result.complexity_bytes < raw_bytes(module) / 2


def test_tied_weights_are_coded_once() -> None:
    make, inputs, targets = CASES["tied weights"]
    result = checked(trained(make, inputs, targets), inputs, targets, 0.25)
    assert "embedding.weight" in result.decoded
    assert "output.weight" not in result.decoded


class Unseeing(nn.Module):
    """Half of it does not matter: tokens that never occur, and a second head that nothing is asked of."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(200, 8)
        self.output = nn.Linear(24, CLASSES)
        self.second_head = nn.Linear(24, 100)

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.embedding(inputs).flatten(1)
        return torch.cat([self.output(features), self.second_head(features)[:, :0]], 1)


class Seeing(nn.Module):
    def __init__(self, other: Unseeing) -> None:
        super().__init__()
        self.embedding = nn.Embedding(13, 8)
        self.output = copy.deepcopy(other.output)
        self.embedding.weight = nn.Parameter(other.embedding.weight[:13].detach().clone())

    def forward(self, inputs: Tensor) -> Tensor:
        return self.output(self.embedding(inputs).flatten(1))


def test_what_the_loss_does_not_see_costs_next_to_nothing() -> None:
    inputs, targets = tokens(13, 3), tokens(CLASSES)
    module = trained(Unseeing, inputs, targets)
    assert isinstance(module, Unseeing)
    result = checked(module, inputs, targets, 0.25)
    small = checked(Seeing(module), inputs, targets, 0.25)
    # Which of 200 rows are alive is said by ones and zeros.
    assert result.complexity_bytes <= 1.1 * small.complexity_bytes + 12
    assert not result.decoded["second_head.weight"].any()
    assert not result.decoded["embedding.weight"][13:].any()
