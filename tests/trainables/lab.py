"""A user's own tasks and networks, as a module of theirs would register them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainables import ModelConfig, Task, TaskConfig, register_model, register_task

IMAGE = (1, 4, 4)
CLASSES = 3


@register_task("stripes")
def stripes(config: TaskConfig) -> Task:
    """Noisy images whose class is the row that is bright."""
    stream = torch.Generator().manual_seed(config.modulus)
    targets = torch.arange(60) % CLASSES
    images = 0.5 * torch.randn(60, *IMAGE, generator=stream)
    images[torch.arange(60), 0, targets] += 1
    return Task.of(images, targets, name="stripes", grokked_at=0.9)


@register_model("tiny-conv")
def tiny_conv(task: Task, config: ModelConfig) -> nn.Module:
    """A convolution, a lazy layer, and a normalisation with a buffer beside it."""
    return nn.Sequential(
        nn.Conv2d(1, config.width, 2), nn.ReLU(), Centred(), nn.Flatten(), nn.LazyLinear(task.classes)
    )


@register_model("embedded")
def embedded(task: Task, config: ModelConfig) -> nn.Module:
    """A network for tokens."""
    assert task.vocabulary is not None
    return nn.Sequential(
        nn.Embedding(task.vocabulary, config.width),
        nn.Flatten(),
        nn.Linear(task.positions * config.width, 16),
        nn.ReLU(),
        nn.Linear(16, task.classes),
    )


class Centred(nn.Module):
    """Subtracts a constant that is no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.tensor(0.25))

    def forward(self, x: Tensor) -> Tensor:
        centre = self.centre
        assert isinstance(centre, Tensor)
        return x - centre


@register_model("attentive")
class Attentive(nn.Module):
    """Attention over the rows of an image."""

    def __init__(self, task: Task, config: ModelConfig) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(IMAGE[-1], 2, batch_first=True)
        self.normalise = nn.LayerNorm(IMAGE[-1])
        self.output = nn.Linear(IMAGE[-1], task.classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.squeeze(1)
        x = self.normalise(x + self.attention(x, x, x, need_weights=False)[0])
        logits: Tensor = self.output(x.mean(1))
        return logits
