"""The rival a user would write first: the paper's networks as torch modules, one network at a time."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from trainables.config import TrialConfig
from trainables.tasks import Task


class Attention(nn.Module):
    """Attention in which all positions ask and answer; or, as in the paper's public code, the plain sum of the
    values."""

    def __init__(self, width: int, heads: int, attention: str) -> None:
        super().__init__()
        self.heads, self.attention = heads, attention
        self.queries, self.keys, self.values, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Attend, see the class."""
        if self.attention == "sum":
            return cast("Tensor", self.out(self.values(x).sum(1, keepdim=True).expand_as(x)))
        queries, keys, values = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.queries, self.keys, self.values)
        )
        mixed = functional.scaled_dot_product_attention(queries, keys, values)
        return cast("Tensor", self.out(mixed.transpose(1, 2).flatten(2)))


class Layer(nn.Module):
    """Attention and feed-forward, each with normalisation after its residual sum."""

    def __init__(self, width: int, hidden: int, heads: int, attention: str) -> None:
        super().__init__()
        self.attention = Attention(width, heads, attention)
        self.feed_forward = nn.Sequential(nn.Linear(width, hidden), nn.GELU("tanh"), nn.Linear(hidden, width))
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer, see the class."""
        x = self.norm1(x + self.attention(x))
        return cast("Tensor", self.norm2(x + self.feed_forward(x)))


class Transformer(nn.Module):
    """A transformer: tokens [n, T] -> logits [n, classes] at the last position."""

    def __init__(self, task: Task, trial: TrialConfig) -> None:
        super().__init__()
        model = trial.model
        self.embedding = nn.Embedding(task.vocabulary, model.width)
        self.positions = nn.Parameter(torch.randn(task.positions, model.width) / model.width**0.5)
        self.layers = nn.Sequential(
            *(Layer(model.width, model.hidden, model.heads, model.attention) for _ in range(model.depth))
        )
        self.output = nn.Linear(model.width, task.classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute logits, see the class."""
        return cast("Tensor", self.output(self.layers(self.embedding(inputs) + self.positions))[:, -1])


class Perceptron(nn.Sequential):
    """An MLP: tokens [n, T] -> logits [n, classes], from the concatenated embeddings of all positions."""

    def __init__(self, task: Task, trial: TrialConfig) -> None:
        model = trial.model
        widths = [task.positions * model.width] + [model.hidden] * model.depth
        hidden = [part for i, o in pairwise(widths) for part in (nn.Linear(i, o), nn.ReLU())]
        output = nn.Linear(model.hidden, task.classes)
        super().__init__(nn.Embedding(task.vocabulary, model.width), nn.Flatten(), *hidden, output)


class PlainTorch:
    """Trains one network; `step` is forward, loss, backward, AdamW."""

    capturable = False
    """Whether the optimiser keeps the number of the step on the device."""

    def __init__(self, task: Task, trial: TrialConfig, device: str) -> None:
        torch.manual_seed(trial.seed)
        network = Transformer if trial.model.kind == "transformer" else Perceptron
        self.network = network(task, trial).to(device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=trial.learning_rate,
            betas=(trial.adam_beta1, trial.adam_beta2),
            eps=trial.adam_epsilon,
            weight_decay=trial.weight_decay,
            capturable=self.capturable,
        )
        self.inputs, self.targets = task.inputs.to(device), task.targets.to(device)

    def train(self, steps: int, batch_size: int) -> None:
        """Take `steps` steps on random batches."""
        for _ in range(steps):
            batch = torch.randint(len(self.inputs), (batch_size,), device=self.inputs.device)
            loss = functional.cross_entropy(self.network(self.inputs[batch]), self.targets[batch])
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()


class GraphedPlainTorch(PlainTorch):
    """The same loop on a GPU, its step captured as a CUDA graph: what an expert user could write."""

    capturable = True
    graph: torch.cuda.CUDAGraph | None = None

    def train(self, steps: int, batch_size: int) -> None:
        """Take `steps` steps on random batches, three more the first time."""
        if self.graph is None:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                super().train(3, batch_size)
            torch.cuda.current_stream().wait_stream(stream)
            self.optimiser.zero_grad()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                super().train(1, batch_size)
        for _ in range(steps):
            self.graph.replay()
