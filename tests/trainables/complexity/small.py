"""A network small enough to measure in milliseconds: an MLP that has learned a table by heart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import torch
import torch.nn.functional as functional
from torch import Tensor

CLASSES = 7
EXAMPLES = 96
WIDTH = 24

Loss = Callable[[Mapping[str, Tensor]], Tensor]


def table() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(EXAMPLES, 12, generator=generator)
    return inputs, torch.randint(CLASSES, (EXAMPLES,), generator=generator)


def per_example_loss(parameters: Mapping[str, Tensor]) -> Tensor:
    inputs, targets = table()
    hidden = inputs.to(parameters["first/kernel"].dtype) @ parameters["first/kernel"] + parameters["first/bias"]
    logits = torch.relu(hidden) @ parameters["second/kernel"] + parameters["second/bias"]
    return functional.cross_entropy(parameters["gain"] * logits, targets, reduction="none")


@cache
def _trained() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    parameters = {
        "first/kernel": torch.randn(12, WIDTH, generator=generator) / 4,
        "first/bias": torch.zeros(WIDTH),
        "second/kernel": torch.randn(WIDTH, CLASSES, generator=generator) / 4,
        "second/bias": torch.zeros(CLASSES),
        "gain": torch.ones(()),
    }
    for tensor in parameters.values():
        tensor.requires_grad_()
    for _ in range(400):
        gradients = torch.autograd.grad(per_example_loss(parameters).mean(), list(parameters.values()))
        with torch.no_grad():
            for tensor, gradient in zip(parameters.values(), gradients, strict=True):
                tensor -= 0.5 * gradient
    return {name: tensor.detach() for name, tensor in parameters.items()}


def memorised(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    return {name: tensor.to(dtype, copy=True) for name, tensor in _trained().items()}


def same_bits(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Equal in names, order, shapes, dtypes and every bit."""
    return list(one) == list(other) and all(
        a.dtype == b.dtype
        and a.shape == b.shape
        and bool(torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8)))
        for a, b in zip(one.values(), other.values(), strict=True)
    )
