"""Composition of permutations, the group S_n; for n = 5 the task of Power et al. (arXiv 2201.02177).

The data fraction is the share of all pairs of permutations that is trained on: for n = 5, of 14,400.
"""

from __future__ import annotations

from itertools import permutations
from typing import Final

import torch

from trainables.config import TaskConfig
from trainables.tasks.task import Task

LARGEST_DEGREE: Final = 6
"""There are 25 million pairs of permutations of seven things."""


def permutations_task(config: TaskConfig) -> Task:
    """Build all pairs (a, b) as sequences [a, op, b, =], answered by a∘b: b comes first, (a∘b)(i) = a(b(i)).

    The n! permutations are numbered in lexicographic order, as `itertools.permutations` gives them: tokens and
    classes 0..n!-1; n! is the operation and n!+1 is `=`.
    """
    places = torch.tensor(list(permutations(range(config.degree))))
    count = len(places)
    left, right = torch.cartesian_prod(torch.arange(count), torch.arange(count)).unbind(1)
    # Read as digits, permutations in lexicographic order are ascending numbers.
    digits = config.degree ** torch.arange(config.degree).flip(0)
    composed = places[left].gather(1, places[right])
    targets = torch.searchsorted((places * digits).sum(1), (composed * digits).sum(1))
    return Task(
        name=f"permutations of {config.degree}",
        inputs=torch.stack([left, torch.full_like(left, count), right, torch.full_like(left, count + 1)], 1),
        targets=targets,
        classes=count,
        vocabulary=count + 2,
    )
