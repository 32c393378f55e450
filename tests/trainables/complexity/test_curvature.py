"""Curvature against exact computation where that is possible."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from trainables.complexity.curvature import Curvature, curvatures, increases
from trainables.complexity.losses import base_losses
from trainables.complexity.objective import ClassificationObjective, FunctionObjective, Objective
from trainables.complexity.pieces import Piece, pieces, take

EXAMPLES, INPUTS, CLASSES = 40, 6, 4


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


X = noise(EXAMPLES, INPUTS) * torch.tensor([3.0, 1.0, 1.0, 0.3, 1.0, 1.0])
W = noise(INPUTS, CLASSES, seed=1) / 2
TARGETS = (X @ W).argmax(1)


def linear(parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    return inputs @ parameters["w"]


def classification() -> ClassificationObjective:
    return ClassificationObjective(linear, X, TARGETS[None])


def function() -> FunctionObjective:
    return FunctionObjective(
        lambda parameters: functional.cross_entropy(X @ parameters["w"], TARGETS, reduction="none")
    )


def felt(objective: Objective, parameters: Mapping[str, Tensor], times: int = 1) -> dict[str, Curvature]:
    """By name; these tensors have one piece each."""
    cut = pieces({name: tuple(tensor.shape[1:]) for name, tensor in parameters.items()})
    measured = curvatures(objective, parameters, base_losses(objective, parameters), cut, times)
    return {piece.name: one for piece, one in measured.items()}


def exact(residuals: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over columns and over rows of E[g g^T] with g = x r^T; residuals are [n, draws, classes]."""
    by_class = residuals.mT @ residuals / residuals.shape[1]
    by_input = X.T @ (X * by_class.diagonal(dim1=1, dim2=2).sum(1, keepdim=True)) / EXAMPLES
    return by_input, (by_class * X.square().sum(1)[:, None, None]).mean(0)


@pytest.fixture
def at_the_network_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardly any noise, and nothing raised for what removal costs."""
    monkeypatch.setattr("trainables.complexity.curvature._LARGEST_RAISE", 1.0)
    monkeypatch.setattr("trainables.complexity.curvature._STRONGEST", 1e-3)


@pytest.mark.usefixtures("at_the_network_itself")
def test_curvature_of_a_classifier_is_its_fisher_information() -> None:
    """Labels drawn from its own predictions: the covariance of residuals is diag(p) - p p^T."""
    curvature = felt(classification(), {"w": W[None]}, times=40)["w"]
    predictions = (X @ W).softmax(1)
    labels = torch.eye(CLASSES).expand(EXAMPLES, -1, -1)
    weighted = (predictions[:, None] - labels) * predictions[:, :, None].sqrt() * CLASSES**0.5
    by_input, by_class = exact(weighted)
    check(curvature, by_input, by_class)


@pytest.mark.usefixtures("at_the_network_itself")
def test_curvature_of_a_function_is_the_mean_squared_gradient_of_its_examples() -> None:
    curvature = felt(function(), {"w": W[None]}, times=120)["w"]
    residuals = (X @ W).softmax(1) - functional.one_hot(TARGETS, CLASSES)
    check(curvature, *exact(residuals[:, None]))


def check(table: Curvature, by_input: Tensor, by_class: Tensor) -> None:
    """Classes are the shorter side, so they are the rows; columns are over the trace."""
    trace = by_input.trace()
    assert float(by_class.trace()) == pytest.approx(float(trace), rel=1e-4)
    assert float((table.rows[0] - by_class).norm() / by_class.norm()) < 0.1
    assert float((table.columns[0] - by_input / trace).norm() / (by_input / trace).norm()) < 0.1


def test_every_lane_is_felt_by_itself() -> None:
    """Also beside one that has learnt nothing, or feels nothing."""
    lanes = torch.stack([W, 2 * W, -W, torch.zeros_like(W)])
    together = felt(classification(), {"w": lanes})["w"]
    for lane in range(3):
        alone = felt(classification(), {"w": lanes[lane : lane + 1]})["w"]
        torch.testing.assert_close(together.rows[lane], alone.rows[0], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(together.columns[lane], alone.columns[0], rtol=1e-3, atol=1e-5)


def test_the_same_curvature_twice() -> None:
    one, other = (felt(classification(), {"w": W[None]})["w"] for _ in range(2))
    assert torch.equal(one.rows, other.rows)
    assert torch.equal(one.columns, other.columns)


def test_noise_is_so_strong_that_the_loss_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that has memorised feels nothing where it is: all its predictions are certain."""
    certain = 500 * W
    lost = functional.cross_entropy(X @ certain, TARGETS)
    assert float(lost) < 1e-3
    curvature = felt(classification(), {"w": certain[None]})["w"]
    monkeypatch.setattr("trainables.complexity.curvature._STRONGEST", 1e-3)
    at_itself = felt(classification(), {"w": certain[None]})["w"]
    assert float(curvature.rows[0].trace()) > 10 * float(at_itself.rows[0].trace())


def test_rows_and_columns_that_the_loss_does_not_see() -> None:
    """Of an embedding the tokens that never occur, and of a layer the inputs that are always zero."""
    tokens = torch.arange(30) % 5
    embedding, layer = noise(1, 9, 4), noise(1, 8, 3, seed=1)
    targets = (embedding[0, tokens] @ layer[0, :4]).argmax(1)

    def logits(parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        hidden = functional.pad(parameters["embedding"][:, inputs], (0, 4))
        return hidden @ parameters["layer"]

    objective = ClassificationObjective(logits, tokens, targets[None])
    curvature = felt(objective, {"embedding": embedding, "layer": layer, "nothing": noise(1, 5, 5)})
    assert set(curvature) == {"embedding", "layer"}
    # Their shorter sides are those of four and of three.
    assert curvature["embedding"].seen_columns.tolist() == [[True] * 5 + [False] * 4]
    assert curvature["embedding"].seen_rows.tolist() == [[True] * 4]
    assert curvature["layer"].seen_columns.tolist() == [[True] * 4 + [False] * 4]


def test_what_matters_without_a_gradient_is_seen() -> None:
    """A layer whose rounded outputs count: no gradient flows back, but without it the loss is another."""

    def loss(parameters: Mapping[str, Tensor]) -> Tensor:
        hidden = X @ parameters["w"] + (X @ parameters["rounded"]).round()
        return functional.cross_entropy(hidden, TARGETS, reduction="none")

    network = {"w": W[None], "rounded": 2 * W[None]}
    curvature = felt(FunctionObjective(loss), network)
    assert set(curvature) == {"w", "rounded"}
    for one in curvature.values():
        assert one.seen_rows.all()
        assert one.seen_columns.all()
        assert float(one.rows[0].diagonal().min()) > 0


def by_size(tensor: Tensor, one: Curvature) -> None:
    """rows x columns / trace is the inverse of the mean square."""
    assert float(one.rows[0].diagonal().mean() * one.columns[0].diagonal().mean()) == pytest.approx(
        1 / float(tensor.square().mean()), rel=1e-4
    )
    torch.testing.assert_close(one.rows[0], torch.diag(one.rows[0].diagonal()))


@pytest.mark.parametrize("form", ["detached", "through numpy"])
def test_without_a_gradient_everything_is_felt_by_its_size(form: str) -> None:
    def loss(parameters: Mapping[str, Tensor]) -> Tensor:
        w = parameters["w"].detach() if form == "detached" else torch.from_numpy(parameters["w"].numpy())
        return functional.cross_entropy(X @ w, TARGETS, reduction="none")

    curvature = felt(FunctionObjective(loss), {"w": W[None], "zeros": torch.zeros(1, 3, 3), "other": noise(1, 9)})
    assert set(curvature) == {"w", "other"}
    by_size(W, curvature["w"])


def test_what_has_learnt_nothing_is_felt_by_its_size() -> None:
    """No noise makes it worse by half of what it loses without weights, which is nothing."""
    by_size(W, felt(ClassificationObjective(linear, X, TARGETS[None]), {"w": -W[None]})["w"])


def test_increases_are_infinite_where_a_loss_is_no_number() -> None:
    lanes = torch.stack([W, W * float("nan"), 2 * W])
    base = torch.tensor([0.5, 0.5, 0.5], dtype=torch.float64)
    increase = increases(classification(), {"w": lanes}, base)
    assert increase.tolist()[1] == float("inf")
    own = functional.cross_entropy(X @ W, TARGETS).item()
    assert increase.tolist()[0] == pytest.approx(own - 0.5, abs=1e-6)


def test_pieces_are_felt_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.complexity.pieces.LONGEST_SIDE", 4)
    whole = {"w": noise(1, 6, 7)}
    cut = pieces({"w": (6, 7)})
    inputs, targets = noise(30, 6), torch.arange(30) % 7
    objective = ClassificationObjective(linear, inputs, targets[None])
    measured = curvatures(objective, whole, base_losses(objective, whole), cut, 1)
    assert list(measured) == cut
    for piece, one in measured.items():
        assert one.rows.shape == (1, piece.rows, piece.rows)
        assert one.columns.shape == (1, piece.columns, piece.columns)
        assert float(one.columns[0].trace()) == pytest.approx(1, rel=1e-4)
    assert isinstance(cut[0], Piece)
    assert take(whole["w"], cut[-1]).shape == (1, 2, 3)


def test_what_cannot_be_missed_is_felt_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the root of what removal costs over what the curvature says of it, where that is more than 1."""
    objective, network = classification(), {"w": torch.stack([W, 100 * W])}
    base = base_losses(objective, network)
    cost = increases(objective, {"w": torch.zeros_like(network["w"])}, base)
    curvature = felt(objective, network)["w"]
    monkeypatch.setattr("trainables.complexity.curvature._LARGEST_RAISE", 1.0)
    plain = felt(objective, network)["w"]
    (piece,) = pieces({"w": (INPUTS, CLASSES)})
    weights = take(network["w"], piece)
    expected = 0.5 * ((plain.rows @ weights) * (weights @ plain.columns)).sum((1, 2))
    raised = (cost / expected).clamp_min(1).sqrt()
    torch.testing.assert_close((curvature.rows / plain.rows)[:, 0, 0].double(), raised, rtol=1e-3, atol=0)
