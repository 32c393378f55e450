"""What `sweep plan` expects of training, evaluating and measuring, compared with measured times on one CPU core.

    python benchmarks/estimates.py [--json]

For each network the seconds of a step (8 lanes), of an evaluation and of a measurement of complexity, in seconds
of the processor, and the estimates of `sweep.plan.sizing` at the machine's rate of large matrix products, measured
at the same time. A measurement is that of a network a few hundred steps old and depends on the phase of training.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from sweep.plan.estimate import matrix_product_rate
from sweep.plan.sizing import trial_flops, watching_flops
from trainables import scoring
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.lanes import LaneRun
from trainables.lanes.shape import Shape
from trainables.schedule import BLOCK_STEPS, MeasuringConfig, evaluated_steps, measured_steps

LANES = 8

SHAPES: dict[str, dict[str, Any]] = {
    "the paper's": {},
    "the paper's, penalty": {"spectral_entropy_weight": 0.1},
    "the paper's, penalty every 4 steps": {"spectral_entropy_weight": 0.1, "spectral_every": 4},
    "the paper's, two layers": {"model": ModelConfig(layers=2)},
    "modulo 197": {"task": TaskConfig(modulus=197)},
    "modulo 59, width 64": {"task": TaskConfig(modulus=59), "model": ModelConfig(width=64)},
    "modulo 23, width 32": {"task": TaskConfig(modulus=23), "model": ModelConfig(width=32)},
    "modulo 7, width 8": {"task": TaskConfig(modulus=7), "model": ModelConfig(width=8)},
    "two layers, modulo 31, width 48": {"task": TaskConfig(modulus=31), "model": ModelConfig(width=48, layers=2)},
    "MLP": {"model": ModelConfig(kind="mlp")},
    "MLP, modulo 23, width 32": {"task": TaskConfig(modulus=23), "model": ModelConfig(kind="mlp", width=32)},
    "MLP, modulo 11, width 16": {"task": TaskConfig(modulus=11), "model": ModelConfig(kind="mlp", width=16)},
}


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity of one network."""

    network: str
    what: str
    taken_s: float
    expected_s: float

    @property
    def ratio(self) -> float:
        """Expected over measured."""
        return self.expected_s / self.taken_s


def processor_seconds(work: Callable[[], object]) -> float:
    """Measure the processor seconds of this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def rows(network: str, settings: dict[str, Any]) -> list[Row]:
    """Measure a step, an evaluation and a measurement."""
    seldom = MeasuringConfig(measure_ratio=1e6, evaluate_ratio=1e6)
    trials = [TrialConfig(**settings, seed=seed, steps=100_000) for seed in range(LANES)]
    run = LaneRun(trials, lanes=LANES, measuring=seldom)
    run.advance(3)  # the prologue and one-time work
    step_s = min(processor_seconds(lambda: run.advance(3)) for _ in range(3)) / (3 * BLOCK_STEPS * LANES)

    shape, placed = Shape.of(trials[0], torch.device("cpu")), run._lanes.placed()

    def evaluated() -> None:
        for (_, lane), (outcomes, weights) in zip(placed, run._evaluator.outcomes(placed), strict=True):
            network = shape.layout.parameters(weights)
            scoring.scores(outcomes.losses, outcomes.answers, lane.split)
            scoring.size_scores(network, scoring.matrices(network))

    evaluated()
    evaluation_s = processor_seconds(evaluated) / LANES
    [(_, weights)], (_, lane) = run._evaluator.outcomes(placed[:1]), placed[0]
    network_of_lane = shape.layout.parameters(weights)
    measuring = MeasuringConfig()
    measurement_s = processor_seconds(
        lambda: scoring.complexities(shape.architecture, lane.task, lane.split, network_of_lane, measuring)
    )

    per_second = matrix_product_rate()
    trial = trials[0]
    step = (trial_flops(trial, measuring) - watching_flops(trial, measuring)) / trial.steps
    # With two epsilons only the number of measurements differs: it doubles.
    both = dataclasses.replace(measuring, extra_epsilons=(0.5,))
    measurements = len(measured_steps(measuring, trial.steps))
    measurement = (watching_flops(trial, both) - watching_flops(trial, measuring)) / measurements
    evaluations = len(evaluated_steps(measuring, trial.steps))
    evaluation = (watching_flops(trial, measuring) - measurements * measurement) / evaluations
    return [
        Row(network, "a step", step_s, step / per_second),
        Row(network, "an evaluation", evaluation_s, evaluation / per_second),
        Row(network, "a measurement", measurement_s, measurement / per_second),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print data instead of a table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    everything = []
    for network, settings in SHAPES.items():
        everything += rows(network, settings)
        if not arguments.json:
            for row in everything[-3:]:
                print(
                    f"{row.network:36} {row.what:14} {row.taken_s * 1e3:10.2f} ms, "
                    f"expected {row.expected_s * 1e3:10.2f}, ratio {row.ratio:5.2f}",
                    flush=True,
                )
    if arguments.json:
        print(json.dumps([asdict(row) | {"ratio": row.ratio} for row in everything], indent=2))


if __name__ == "__main__":
    main()
