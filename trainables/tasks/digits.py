"""Scikit-learn's digits: 1,797 handwritten digits of 8 x 8 pixels, which come with that package.

Grokking as in Omnigrok (arXiv 2210.01117) needs large initial weights (`model.initial_scale`), few training
examples and weight decay: validation accuracy then rises while the weights shrink, long after memorisation.
The data fraction is the share of the 1,797 that is trained on; 0.2 are 359, and the other 1,438 are validation.
"""

from __future__ import annotations

from typing import Final

from trainables.config import TaskConfig
from trainables.tasks.task import Task

BRIGHTEST: Final = 16
"""Value of a white pixel."""

GROKKED_AT: Final = 0.95
"""A few hundred examples do not determine the rest: small networks level off at 0.96 to 0.97 of them."""


def digits_task(config: TaskConfig) -> Task:
    """Build the table: pixels as 64 features in [0, 1], row by row, and ten classes."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return Task.of(digits.data / BRIGHTEST, digits.target, name=config.family, classes=10, grokked_at=GROKKED_AT)
