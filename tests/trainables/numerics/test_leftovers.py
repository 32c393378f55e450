"""Operations that round otherwise where vectors end are seen, whatever the bits at hand are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor
from torch.func import vmap

from trainables.numerics.leftovers import VECTOR_ELEMENTS, leaves_elements_over

OTHERWISE: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "elu": functional.elu,
    "glu": functional.glu,
    "softplus": functional.softplus,
    "a power": lambda x: x.abs() ** 1.5,
    "a sum with a factor": lambda x: torch.add(x, x.flip(0), alpha=0.3),
    "in place": lambda x: x.clone().sigmoid_(),
    "in float64": lambda x: x.double().sigmoid(),
}
ALIKE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "layer norm": lambda x: functional.layer_norm(x, x.shape[-1:]),
    "softmax": lambda x: x.softmax(-1),
    "product": lambda x: (x @ x.mT) * 0.3 - x.sum(),
    "square": lambda x: x**2,
    "answers": lambda x: x.argmax(-1),
}


def of_lanes(operation: Callable[[Tensor], Tensor], elements: int) -> Callable[[], object]:
    """The operation and its gradient in three lanes of 2 x `elements` each."""
    lanes = torch.randn(3, 2, elements, requires_grad=True)

    def compute() -> None:
        results = vmap(operation)(lanes)
        if results.requires_grad:
            torch.autograd.grad(results.sum(), lanes)

    return compute


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_is_left_over_is_seen(name: str) -> None:
    assert leaves_elements_over(of_lanes(OTHERWISE[name], 6))
    assert not leaves_elements_over(of_lanes(OTHERWISE[name], VECTOR_ELEMENTS))


@pytest.mark.parametrize("name", ALIKE)
def test_operations_that_round_alike_may_leave_elements_over(name: str) -> None:
    assert not leaves_elements_over(of_lanes(ALIKE[name], 7))


def test_a_gradient_alone_is_seen() -> None:
    lanes = torch.randn(3, 7, requires_grad=True)
    results = torch.sigmoid(lanes).sum()
    assert leaves_elements_over(lambda: torch.autograd.grad(results, lanes))
