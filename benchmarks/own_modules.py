"""How fast any torch module trains in lanes, against the plain loop over one network that a researcher would write.

    python benchmarks/own_modules.py [--json] [--lanes 8] [--rounds 5]

In one process on one core, the contestants in turns, in seconds of the processor: ratios hold on a machine that
others use too. Both do the same: draw a batch, forward, cross-entropy, backward, AdamW.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as functional
from sklearn.datasets import load_digits
from torch import Tensor, nn

from sweep.plan.sizing import trial_flops, watching_flops
from trainables import ModelConfig, Task, TaskConfig, TrialConfig, build_task, register_model, register_task
from trainables.lanes import LaneRun
from trainables.schedule import MeasuringConfig

STEPS = 20
"""Number of steps in one timing."""


@register_task("images")
def images(_: TaskConfig) -> Task:
    """Load scikit-learn's digits as images."""
    inputs, targets = load_digits(return_X_y=True)
    return Task.of(inputs.reshape(-1, 1, 8, 8) / 16, targets)


@register_model("convolutions")
def convolutions(task: Task, model: ModelConfig) -> nn.Module:
    """Build two convolutions with pooling."""
    return nn.Sequential(
        nn.Conv2d(1, model.width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(model.width, 2 * model.width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * model.width, task.classes),
    )


@register_model("layers")
def layers(task: Task, model: ModelConfig) -> nn.Module:
    """Build three linear layers."""
    width = model.width
    inner = [nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *inner, nn.Linear(width, task.classes))


class Attends(nn.Module):
    """Attention over the rows of an image."""

    def __init__(self, task: Task, model: ModelConfig) -> None:
        super().__init__()
        self.rows = nn.Linear(8, model.width)
        self.attention = nn.MultiheadAttention(model.width, 2, batch_first=True)
        self.normalise = nn.LayerNorm(model.width)
        self.output = nn.Linear(model.width, task.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of images [n, 1, 8, 8]."""
        x = self.rows(x.squeeze(1))
        x = self.normalise(x + self.attention(x, x, x, need_weights=False)[0])
        logits: Tensor = self.output(x.mean(1))
        return logits


register_model("attention")(Attends)

NETWORKS = {"convolutions": 8, "layers": 64, "attention": 32}
"""Kind -> width."""


@dataclass(frozen=True, slots=True)
class Row:
    """Milliseconds of the processor for a step of one network."""

    network: str
    plain_ms: float
    lanes_ms: float
    ratio: float
    expected: float
    """Milliseconds that `sweep plan` expects of a step in lanes."""


def plain(trial: TrialConfig) -> Callable[[], None]:
    """Train one network in a plain loop."""
    from trainables.config import registry

    task = build_task(trial.task)
    kind = registry.MODELS.matching(trial.model.kind, None)
    module: nn.Module = kind.build(task, trial.model)
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=1.0)

    def train() -> None:
        for _ in range(STEPS):
            batch = torch.randint(0, task.examples, (100,))
            optimiser.zero_grad()
            functional.cross_entropy(module(task.inputs[batch]), task.targets[batch]).backward()
            optimiser.step()

    return train


def in_lanes(trial: TrialConfig, lanes: int) -> Callable[[], None]:
    """Train `lanes` networks side by side, without evaluating."""
    run = LaneRun([TrialConfig(**{**_fields(trial), "seed": seed}) for seed in range(lanes)], lanes=lanes)
    run._refill()
    return lambda: run._train(STEPS)


def _fields(trial: TrialConfig) -> dict[str, object]:
    return {name: getattr(trial, name) for name in TrialConfig.__dataclass_fields__}


def measure(kind: str, lanes: int, rounds: int) -> Row:
    """Measure one network, in turns."""
    trial = TrialConfig(
        task=TaskConfig(family="images"), model=ModelConfig(kind=kind, width=NETWORKS[kind]), batch_size=100
    )
    contestants = {"plain": (plain(trial), 1), "lanes": (in_lanes(trial, lanes), lanes)}
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):  # the first round is not counted
        for name, (train, networks) in contestants.items():
            started = time.process_time()
            train()
            taken[name].append((time.process_time() - started) / STEPS / networks * 1e3)
    plain_ms, lanes_ms = (statistics.median(times[1:]) for times in taken.values())
    measuring = MeasuringConfig()
    step_flops = (trial_flops(trial, measuring) - watching_flops(trial, measuring)) / trial.steps
    return Row(kind, plain_ms, lanes_ms, plain_ms / lanes_ms, step_flops / _rate() * 1e3 / lanes_ms)


def _rate() -> float:
    from sweep.plan.estimate import matrix_product_rate

    return matrix_product_rate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print data instead of a table")
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(kind, arguments.lanes, arguments.rounds) for kind in NETWORKS]
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    print("| network | plain loop, ms a step | in lanes, ms a step and network | ratio | plan expects |")
    print("|---|---:|---:|---:|---:|")
    for row in rows:
        times = f"{row.plain_ms:.2f} | {row.lanes_ms:.2f} | {row.ratio:.1f}x | {row.expected:.1f}x"
        print(f"| {row.network} | {times} |")


if __name__ == "__main__":
    main()
