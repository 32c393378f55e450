"""Parity of a few among many bits (arXiv 2207.08799; it groks: arXiv 2303.11873).

The table is a draw of `task.examples` distinct bit strings, 4,000 by default, or all bit strings if there are
fewer. The data fraction is the share of that table that is trained on; the rest is validation.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from trainables.config import TaskConfig
from trainables.random import generator
from trainables.tasks.task import Task

DEFAULT_EXAMPLES: Final = 4_000

LARGEST_BITS: Final = 1_000
"""Of an example, with as many examples as a table may have."""

_SEED = 0
"""The seed of the relevant bits and of the table: both belong to the task, not to the trial."""

_FEW_BITS = 20
"""Up to this many bits, all strings are few enough to shuffle; above, random strings hardly ever repeat."""


def relevant_bits(config: TaskConfig) -> Tensor:
    """Return [relevant_bits] int64, ascending: the bits that determine the parity.

    They are the first of a fixed permutation of all bits, which depends on the number of bits only.
    """
    order = torch.randperm(config.bits, generator=generator(_SEED, "relevant bits"))
    return order[: config.relevant_bits].sort().values


def sparse_parity_task(config: TaskConfig) -> Task:
    """Build bits as features -1 (a 0) and +1 (a 1); class 1 is an odd number of ones among the `relevant_bits`."""
    wanted = DEFAULT_EXAMPLES if config.examples is None else config.examples
    bits = _draw(config.bits, min(wanted, 2**config.bits))
    return Task(
        name=f"parity of {config.relevant_bits} of {config.bits} bits",
        inputs=2 * bits.float() - 1,
        targets=bits[:, relevant_bits(config)].sum(1) % 2,
        classes=2,
    )


def _draw(bits: int, examples: int) -> Tensor:
    """Draw [examples, bits] int64 of 0 and 1, all rows distinct; a smaller table is the start of a larger one."""
    stream = generator(_SEED, "bit strings")
    if bits <= _FEW_BITS:
        strings = torch.randperm(2**bits, generator=stream)[:examples]
        return strings[:, None] >> torch.arange(bits) & 1
    # A dict keeps the order of drawing, which a set would not, and a smaller table is the start of a larger one.
    distinct: dict[tuple[int, ...], None] = {}
    while len(distinct) < examples:
        distinct[tuple(torch.randint(2, (bits,), generator=stream).tolist())] = None
    return torch.tensor(list(distinct))
