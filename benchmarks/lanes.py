"""How fast lanes train, against what else there is, and where the time goes.

    python benchmarks/lanes.py [--json] [--lanes 1 4 16] [--rounds 5] [--device cuda]

Everything is measured in one process on one core, the contestants in turns, and on a CPU in seconds of the
processor, so that the ratios hold on a machine that others use too. Times are medians over the rounds. JAX takes
part if it is installed (`requirements.txt`).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from plain_torch import PlainTorch

from trainables import scoring
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.lanes import LaneRun, effective_batch_size
from trainables.lanes.shape import Shape
from trainables.schedule import MeasuringConfig, evaluated_steps, measured_steps
from trainables.tasks import build_task

STEPS = 4
"""Number of steps in one timing."""

Train = Callable[[int], None]

seconds = time.process_time
"""The clock; on a GPU, wall time."""


@dataclass(frozen=True, slots=True)
class Row:
    """A figure of the table."""

    what: str
    value: float
    unit: str
    against: str = ""
    ratio: float | None = None


def lane_run(trial: dict[str, Any], lanes: int, device: str) -> LaneRun:
    run = LaneRun([TrialConfig(seed=seed, **trial) for seed in range(lanes)], lanes=lanes, device=device)
    run._refill()
    return run


def wait(device: str) -> None:
    """Wait until the device has finished its work."""
    if device != "cpu":
        torch.cuda.synchronize()


def milliseconds(contestants: dict[str, tuple[Train, int]], rounds: int, device: str) -> dict[str, float]:
    """Measure the median milliseconds per lane-step of each (training function, its lanes), in turns."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, (train, lanes) in contestants.items():
            started = seconds()
            train(STEPS)
            wait(device)
            if turn:  # the first one compiles and warms up
                times[name].append((seconds() - started) / STEPS / lanes * 1e3)
    return {name: statistics.median(measured) for name, measured in times.items()}


def multiply_ceiling(device: str) -> float:
    """Measure the floating-point operations per second of a product of two matrices of 1024 x 1024 float32."""
    left, right = torch.randn(2, 1024, 1024, device=device)
    best = math.inf
    for _ in range(10):
        started = seconds()
        torch.mm(left, right)
        wait(device)
        best = min(best, seconds() - started)
    return 2 * 1024**3 / best


def products_of_a_step(trial: TrialConfig) -> float:
    """Count the floating-point operations in the products that one step of the paper's network cannot avoid.

    Per example: the last position's output projection, feed-forward and output layers; per token: its value. Twice
    the multiplications, three times for forward and both gradients.
    """
    task, model = build_task(trial.task), trial.model
    per_example = model.width * (model.width + 2 * model.hidden + task.classes)
    return 6.0 * (effective_batch_size(trial) * per_example + task.vocabulary * model.width**2)


def steps_table(lanes_list: Sequence[int], rounds: int, device: str) -> list[Row]:
    """Measure the plain step: ours for several numbers of lanes, plain torch, JAX, and the ceiling."""
    trial = TrialConfig()
    task, batch = build_task(trial.task), effective_batch_size(trial)
    plain = PlainTorch(task, trial, device)
    contestants: dict[str, tuple[Train, int]] = {"plain torch": (lambda steps: plain.train(steps, batch), 1)}
    for lanes in lanes_list:
        contestants[f"lanes, {lanes}"] = (lane_run({}, lanes, device)._train, lanes)
    try:
        from jax_lanes import JaxLanes
    except ImportError:
        print("JAX is not installed and left out: pip install -r benchmarks/requirements.txt", file=sys.stderr)
    else:
        for lanes in sorted({1, *(lanes for lanes in lanes_list if lanes in (4, 8))}):
            rival = JaxLanes(task, trial, lanes)
            contestants[f"JAX jit + vmap, {lanes}"] = (
                lambda steps, rival=rival: rival.train(steps, batch),  # type: ignore[misc]
                lanes,
            )
    times = milliseconds(contestants, rounds, device)
    rows = [
        Row(name, value, "ms per lane-step", "plain torch / this", times["plain torch"] / value)
        for name, value in times.items()
    ]
    ceiling = multiply_ceiling(device)
    needed = products_of_a_step(trial) / ceiling * 1e3
    rows.append(Row("largest product's rate", ceiling / 1e9, "GFLOP/s"))
    rows.append(Row("the step's products at that rate", needed, "ms per lane-step"))
    fastest = min((value, name) for name, value in times.items() if name.startswith("lanes"))
    rows.append(Row(f"share of the ceiling, {fastest[1]}", needed / fastest[0], "of 1"))
    return rows


def models_table(lanes: int, rounds: int, device: str) -> list[Row]:
    """Measure the other networks, each against its own plain torch version."""
    models = {
        "2 layers": ModelConfig(layers=2),
        "attention sum": ModelConfig(attention="sum"),
        "MLP": ModelConfig(kind="mlp"),
    }
    rows = []
    for name, model in models.items():
        trial = TrialConfig(model=model)
        plain, batch = PlainTorch(build_task(trial.task), trial, device), effective_batch_size(trial)
        times = milliseconds(
            {
                f"{name}: plain torch": (lambda steps, of=plain, batch=batch: of.train(steps, batch), 1),  # type: ignore[misc]
                f"{name}: lanes, {lanes}": (lane_run({"model": model}, lanes, device)._train, lanes),
            },
            rounds,
            device,
        )
        first = next(iter(times.values()))
        rows += [
            Row(what, value, "ms per lane-step", "plain torch / this", first / value)
            for what, value in times.items()
        ]
    return rows


def penalty_table(lanes: int, rounds: int, device: str) -> list[Row]:
    """Measure what the spectral penalty adds to the step."""
    variants: dict[str, dict[str, Any]] = {
        "no penalty": {},
        "floor 0.01": {"spectral_entropy_weight": 0.1},
        "floor 0.01, every 4 steps": {"spectral_entropy_weight": 0.1, "spectral_every": 4},
        "floor 0 (the paper's form)": {"spectral_entropy_weight": 0.1, "spectral_floor": 0.0},
    }
    times = milliseconds(
        {name: (lane_run(values, lanes, device)._train, lanes) for name, values in variants.items()}, rounds, device
    )
    return [
        Row(
            f"penalty, {lanes} lanes: {name}",
            value,
            "ms per lane-step",
            "this / no penalty",
            value / times["no penalty"],
        )
        for name, value in times.items()
    ]


def watching_table(lanes: int, step_ms: float, device: str) -> list[Row]:
    """Estimate the share of time of evaluation and measuring: a few real ones, times the schedule's count."""
    run, shape = lane_run({}, lanes, device), Shape.of(TrialConfig(), torch.device(device))
    run._train(64)
    started = seconds()
    placed = run._lanes.placed()
    networks = []
    for (_, lane), (outcomes, weights) in zip(placed, run._evaluator.outcomes(placed), strict=True):
        network = {name: w.clone() for name, w in shape.layout.parameters(weights).items()}
        scoring.scores(outcomes.losses, outcomes.answers, lane.split)
        scoring.size_scores(network, scoring.matrices(network))
        networks.append(network)
    evaluation = (seconds() - started) / lanes
    started = seconds()
    lane = placed[0][1]
    scoring.complexities(shape.architecture, lane.task, lane.split, networks[0], MeasuringConfig())
    measurement = seconds() - started
    rows = [
        Row(f"one evaluation, {lanes} lanes", evaluation * 1e3, "ms per lane"),
        Row("one measurement", measurement * 1e3, "ms"),
    ]
    for budget in (1_000, 5_000, 20_000):
        evaluating = evaluation * len(evaluated_steps(MeasuringConfig(), budget))
        measuring = measurement * len(measured_steps(MeasuringConfig(), budget))
        whole = evaluating + measuring + budget * step_ms / 1e3
        rows.append(Row(f"evaluation in {budget:,} steps", evaluating / whole, "of 1"))
        rows.append(Row(f"measuring in {budget:,} steps", measuring / whole, "of 1"))
    return rows


class CountingRun(LaneRun):
    """Counts the lane-steps that were computed and those that a trial used."""

    computed = 0
    used = 0

    def _train(self, steps: int) -> None:
        self.computed += steps * len(self._lanes)
        self.used += steps * len(self._lanes.running())
        super()._train(steps)


def refill_table(lanes: int = 8, queue: int = 64) -> list[Row]:
    """Measure the utilisation of lanes on a queue of tiny networks whose lengths spread over a factor of sixty."""
    lengths = [math.ceil(30 * 60 ** ((index * 0.618034) % 1)) for index in range(queue)]
    tiny: dict[str, Any] = {"task": TaskConfig(modulus=5), "model": ModelConfig(width=4, heads=1), "batch_size": 4}
    trials = [TrialConfig(**tiny, seed=seed, steps=steps) for seed, steps in enumerate(lengths)]
    rarely = MeasuringConfig(measure_ratio=1e6, evaluate_ratio=1e6)

    def utilisation(batches: list[list[TrialConfig]]) -> float:
        runs = [CountingRun(batch, lanes=lanes, measuring=rarely) for batch in batches]
        for run in runs:
            while not run.finished:
                run.advance(1)
        return sum(run.used for run in runs) / sum(run.computed for run in runs)

    groups = [trials[first : first + lanes] for first in range(0, queue, lanes)]
    return [
        Row(f"utilisation of {lanes} lanes, refilled", utilisation([trials]), "of 1"),
        Row(f"utilisation of {lanes} lanes, group by group", utilisation(groups), "of 1"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print data instead of a table")
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    global seconds
    if arguments.device != "cpu":
        seconds = time.perf_counter
    else:
        torch.set_num_threads(1)
        if hasattr(os, "sched_setaffinity"):  # JAX cannot be kept to one core in any other way
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    rows = steps_table(arguments.lanes, arguments.rounds, arguments.device)
    step_ms = min(row.value for row in rows if row.what.startswith("lanes"))
    rows += models_table(4, arguments.rounds, arguments.device)
    rows += penalty_table(4, arguments.rounds, arguments.device)
    rows += watching_table(4, step_ms, arguments.device)
    rows += refill_table()
    if arguments.json:
        print(json.dumps({"torch": torch.__version__, "rows": [asdict(row) for row in rows]}, indent=2))
        return
    width = max(len(row.what) for row in rows)
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:8.2f}  {row.against}"
        print(f"{row.what:{width}}  {row.value:9.3f}  {row.unit:16}{ratio}".rstrip())


if __name__ == "__main__":
    main()
