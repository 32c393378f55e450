"""Tables of measurements of people and wines, each with a sensitive or rare group; they come with scikit-learn.

- `diabetes`: did the disease progress more than in the median patient within a year? 442 patients; the group is
  the 207 whose sex has the second of its two codes. It is a sensitive feature, which the network sees.
- `breast_cancer`: malignant or benign? 569 tumours; the group is the 212 malignant ones, which are worse to miss.
- `wine`: which of three growers? 178 wines; the group is the 48 of the grower with the fewest.

The data fraction is the share of patients, tumours or wines that is trained on. Most of what can be predicted on
the others is known by the time the training set is memorised, so there is little left to grok: see docs/tasks.md.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from trainables.config import TaskConfig
from trainables.tasks.task import Task

GROKKED_AT: Final = {"diabetes": 0.75, "breast_cancer": 0.97, "wine": 0.98}
"""About what the best known classifiers reach on examples that they were not trained on."""

_SEX: Final = 1
"""The column of the sex among the features of `diabetes`."""


def real_table_task(config: TaskConfig) -> Task:
    """Build features of mean 0 and variance 1 over the whole table, classes, and the group."""
    from sklearn import datasets

    features, answers = getattr(datasets, f"load_{config.family}")(return_X_y=True)
    if config.family == "diabetes":
        group = features[:, _SEX] > 0
        answers = answers > np.median(answers)
    elif config.family == "breast_cancer":
        group = answers == 0
    else:
        group = answers == np.bincount(answers).argmin()
    return Task.of(
        (features - features.mean(0)) / features.std(0),
        answers,
        name=config.family,
        grokked_at=GROKKED_AT[config.family],
        group=group,
    )
