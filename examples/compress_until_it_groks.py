"""Compress until it groks: a network that has memorised generalises while its description is made short.

    python examples/compress_until_it_groks.py [--steps N] [--epsilon NATS] [--picture FILE]

The network knows its 3,830 training pairs of an addition modulo 113 by heart and gets a third of the others right.
It is not
shown any other pair: `describe_task` only makes its stream shorter while its training loss stays within epsilon.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

from analysis.pictures.palette import COMPLEXITY, TRAIN, VALIDATION, new_figure, style
from trainables import LoadedNetwork, load_network
from trainables.description import Progress
from trainables.networks.describe import DescribedTask, describe_network_task
from trainables.networks.measure import measure_network, scores

NETWORK = Path(__file__).parents[1] / "tests" / "data" / "addition_memorised.npz"


@dataclass(frozen=True, slots=True)
class Point:
    """The network after some steps."""

    step: int
    description_bytes: float
    """Estimated bytes; for the first point, the complexity of the given network."""
    train_accuracy: float
    val_accuracy: float


def trajectory(network: LoadedNetwork, epsilon: float, steps: int, seed: int) -> tuple[list[Point], DescribedTask]:
    """Shorten the network's description, and record it every 50 steps.

    Args:
        network: a network that has memorised.
        epsilon: the allowed increase of its training loss, nats per example.
        steps: the number of steps of straight-through training.
        seed: draws the examples of each step.
    """
    (measured,) = measure_network(network, [epsilon])
    before = measured.scores
    points = [Point(0, measured.result.complexity_bytes, before.train_accuracy, before.val_accuracy)]
    print("   step     bytes  training accuracy  validation accuracy")

    def watch(progress: Progress) -> None:
        now = scores(network, progress.parameters)
        points.append(Point(progress.step, progress.estimated_bytes, now.train_accuracy, now.val_accuracy))
        if progress.step % 250 == 0:
            print(
                f"{progress.step:>7,} {progress.estimated_bytes:>9,.0f}  {now.train_accuracy:>17.3f}  "
                f"{now.val_accuracy:>19.3f}",
                flush=True,
            )

    (described,) = describe_network_task(network, [epsilon], steps=steps, seed=seed, watch=watch)
    return points, described


def draw(points: list[Point], picture: Path) -> None:
    """Plot bytes above validation accuracy, both against steps."""
    figure = new_figure(7, 4.5)
    upper, lower = figure.subplots(2, 1, sharex=True)
    steps = [point.step for point in points]
    upper.plot(steps, [point.description_bytes for point in points], color=COMPLEXITY)
    upper.set_yscale("log")
    upper.set_ylabel("bytes of the description")
    lower.plot(steps, [point.val_accuracy for point in points], color=VALIDATION, label="pairs never seen")
    lower.plot(steps, [point.train_accuracy for point in points], color=TRAIN, ls=":", label="training pairs")
    lower.set_ylim(0, 1.02)
    lower.set_ylabel("accuracy of the rounded network")
    lower.set_xlabel("steps of straight-through training")
    lower.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(picture, dpi=150)


def main() -> None:
    """Compress, print, draw."""
    parser = argparse.ArgumentParser(description="A network that has memorised generalises while it is compressed.")
    parser.add_argument("--network", type=Path, default=NETWORK, help="by default the paper's memorised one")
    parser.add_argument("--steps", type=int, default=3000, help="of straight-through training")
    parser.add_argument("--epsilon", type=float, default=0.125, help="nats the training loss may rise by")
    parser.add_argument("--seed", type=int, default=0, help="of the examples drawn")
    parser.add_argument("--picture", type=Path, default=Path("compress-until-it-groks.png"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    network = load_network(arguments.network)
    points, described = trajectory(network, arguments.epsilon, arguments.steps, arguments.seed)
    first, last = scores(network, network.parameters), described.scores
    print(
        f"complexity before: {points[0].description_bytes:,} bytes; description after: "
        f"{described.result.task_description_bytes:,} bytes\n"
        f"validation accuracy before: {first.val_accuracy:.4f}; after: {last.val_accuracy:.4f}"
    )
    with style():
        draw(points, arguments.picture)


if __name__ == "__main__":
    main()
