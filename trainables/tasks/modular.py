"""Arithmetic modulo p: the six operations of the paper (arXiv 2412.09810), for any modulus."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from trainables.config import TaskConfig
from trainables.errors import ConfigError
from trainables.tasks.task import Task

Operation = Callable[[Tensor, Tensor, int], Tensor]

LARGEST_MODULUS: Final = 4096
"""Its table has 17 million pairs, half a gigabyte."""


def _divide(left: Tensor, right: Tensor, modulus: int) -> Tensor:
    """Compute left x right^-1; every right must be invertible."""
    inverse = torch.zeros(modulus, dtype=torch.int64)
    for divisor in set(right.tolist()):
        inverse[divisor] = pow(divisor, -1, modulus)
    return left * inverse[right]


OPERATIONS: dict[str, Operation] = {
    "addition": lambda x, y, _: x + y,
    "subtraction": lambda x, y, _: x - y,
    "multiplication": lambda x, y, _: x * y,
    "division": _divide,
    "square_sum": lambda x, y, _: x * x + y * y,
    "square_sum_product": lambda x, y, _: x * x + x * y + y * y,
}
"""x + y, x - y, x y, x / y (invertible y only), x^2 + y^2 and x^2 + x y + y^2, all modulo p."""


def modular_task(config: TaskConfig) -> Task:
    """Build all pairs (x, y) as sequences [x, op, y, =]; 0..p-1 are numbers, p is the operation, p+1 is `=`.

    Division leaves out each y without inverse modulo p; for a prime that is y = 0.

    Raises:
        ConfigError: the operation is not in `OPERATIONS`.
    """
    if config.family not in OPERATIONS:
        raise ConfigError(f"a modular operation must be one of {', '.join(OPERATIONS)}, got {config.family!r}")
    p = config.modulus
    numbers = torch.arange(p)
    divisors = [y for y in range(p) if math.gcd(y, p) == 1]
    pairs = torch.cartesian_prod(numbers, torch.tensor(divisors) if config.family == "division" else numbers)
    left, right = pairs.unbind(1)
    return Task(
        name=f"{config.family} modulo {p}",
        inputs=torch.stack([left, torch.full_like(left, p), right, torch.full_like(left, p + 1)], 1),
        targets=OPERATIONS[config.family](left, right, p) % p,
        classes=p,
        vocabulary=p + 2,
    )
