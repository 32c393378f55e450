"""Whether cohorts on neighbouring cores slow each other down: one training process alone against one on each core.

    python benchmarks/cohorts.py [--json] [--processes 2] [--rounds 5]

Each process trains lanes as a cohort's does, with one thread. Its rate is in lane-steps a second of its own
processor time, so that it holds on a machine that others use too: processes that fight for threads, caches or
memory need more of it for the same steps. The ratio is their rate together over `processes` times the rate of one
alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch

from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.lanes import LaneRun

SHAPES = {
    "the paper's network, 4 lanes": (TrialConfig(), 4, 16),
    "modulo 23, width 32, 8 lanes": (
        TrialConfig(task=TaskConfig(modulus=23), model=ModelConfig(width=32), batch_size=128),
        8,
        256,
    ),
}
"""A trial, its lanes, and the steps of one timing."""


@dataclass(frozen=True, slots=True)
class Row:
    """Medians over the rounds, lane-steps a second of processor time."""

    shape: str
    processes: int
    alone: float
    together: float
    """The rate of all processes together."""
    ratio: float
    """Median over the rounds of together / (processes x alone), which is measured before and after."""
    ratios: tuple[float, ...]


def train(shape: str) -> float:
    """Measure the lane-steps a second of this process."""
    torch.set_num_threads(1)
    trial, lanes, steps = SHAPES[shape]
    run = LaneRun([trial] * lanes, lanes=lanes)
    run._refill()
    run._train(max(1, steps // 8))
    started = time.process_time()
    run._train(steps)
    return lanes * steps / (time.process_time() - started)


def rates(shape: str, processes: int) -> list[float]:
    """Measure the rates of `processes` processes that train at the same time."""
    command = [sys.executable, __file__, "--one", shape]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return [float(child.communicate()[0]) for child in children]


def measure(shape: str, processes: int, rounds: int) -> Row:
    """Measure one shape, in turns alone and together."""
    alone, together = [], []
    for _ in range(rounds):
        before = rates(shape, 1)
        together.append(sum(rates(shape, processes)))
        alone.append(statistics.mean(before + rates(shape, 1)))
    ratios = tuple(many / (processes * one) for one, many in zip(alone, together, strict=True))
    middle: list[float] = [statistics.median(values) for values in (alone, together, ratios)]
    return Row(shape, processes, *middle, ratios)


def table(rows: Sequence[Row]) -> str:
    """Write the rows as Markdown."""
    lines = [
        "| | processes | one alone, lane-steps/s | all together | of so many times one | range |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        lines.append(
            f"| {row.shape} | {row.processes} | {row.alone:,.0f} | {row.together:,.0f} | {row.ratio:.2f} "
            f"| {min(row.ratios):.2f} to {max(row.ratios):.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print data instead of a table")
    parser.add_argument("--processes", type=int, default=2, help="at most as many as there are cores")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", choices=SHAPES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(train(arguments.one))
        return
    rows = [measure(shape, arguments.processes, arguments.rounds) for shape in SHAPES]
    print(json.dumps([asdict(row) for row in rows], indent=2) if arguments.json else table(rows))


if __name__ == "__main__":
    main()
