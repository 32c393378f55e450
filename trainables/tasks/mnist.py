"""MNIST from user-supplied files; labelled images in the same format, such as Fashion-MNIST, work, too.

The training and test parts are one table, of which `task.examples`, 5,000 by default, are drawn evenly. The data
fraction is the share of those that is trained on, the rest is validation. Omnigrok's setting (arXiv 2210.01117,
section 3): 1,000 training examples, a data fraction of 0.2, large initial weights (`model.initial_scale`), weight
decay. The path of the files is not part of a trial's id, but their content is: `task.source` hashes images and
labels.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from trainables.config import TaskConfig
from trainables.config.digit_files import read_digit_images
from trainables.errors import ConfigError
from trainables.random import generator
from trainables.tasks.task import Task

DEFAULT_EXAMPLES: Final = 5_000

BRIGHTEST: Final = 255
"""Value of a white pixel."""

GROKKED_AT: Final = 0.9
"""A thousand examples do not determine the rest: MLPs level off at 0.91 to 0.92 of them."""

_SEED = 0
"""The seed of the table, which belongs to the task, not to the trial."""


def mnist_task(config: TaskConfig) -> Task:
    """Build the table: pixels as features in [0, 1], row by row, and ten classes.

    Raises:
        ConfigError: files cannot be read or hold other data than the trial was planned with; or a label is above 9.
    """
    assert config.data is not None
    images = read_digit_images(config.data)
    if images.digest != config.source:
        raise ConfigError(
            f"task.data must hold what the trial was planned with, source {config.source}, but {config.data} holds "
            f"source {images.digest}; plan again, or put the same files there"
        )
    pixels = np.frombuffer(images.pixels, np.uint8).reshape(-1, images.height * images.width)
    labels = np.frombuffer(images.labels, np.uint8)
    wanted = DEFAULT_EXAMPLES if config.examples is None else config.examples
    drawn = torch.randperm(len(labels), generator=generator(_SEED, "examples"))[:wanted].numpy()
    return Task.of(
        pixels[drawn] / np.float32(BRIGHTEST),
        labels[drawn],
        name=config.family,
        classes=10,
        grokked_at=GROKKED_AT,
    )
