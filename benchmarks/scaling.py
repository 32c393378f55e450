"""How the rate of training grows with the number of lanes, on one CPU core or on a GPU.

    python benchmarks/scaling.py [--json] [--lanes 1 2 4 ...] [--device cuda] [--seconds 120]

Lane-steps a second of the paper's network (batch 512) against the number of lanes, beside one process that trains
one network as a torch module, on a GPU the same process with its step as a CUDA graph, JAX with jit and vmap at
equal lanes where it is installed (`requirements.txt`), and what the device's largest matrix product would allow.

A rival is measured in turns with the lanes it is compared with, so that ratios hold on a machine that others use
too; a CPU's seconds are those of the process. More lanes are left out where the next doubling would take too long.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from plain_torch import GraphedPlainTorch, PlainTorch

from trainables.config import TrialConfig
from trainables.lanes import LaneRun, effective_batch_size, lanes_within
from trainables.schedule import BLOCK_STEPS
from trainables.tasks import build_task

LANES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
ROUNDS = 3
LARGEST_JAX = 8
"""The most lanes with which JAX is compared on a CPU: more would show nothing else, and take minutes."""

Train = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Row:
    """Rates in lane-steps a second; None where a contestant did not take part."""

    lanes: int
    rate: float
    eager: float
    """One process and one network, a plain torch module, in turns with these lanes."""
    graphed: float | None
    """The same loop, with its step as a CUDA graph."""
    jax: float | None
    """JAX with the same number of lanes."""
    share_of_ceiling: float
    """Share of the rate at which the step's matrix products alone would run as fast as the largest product."""


class Clock:
    """Measures seconds of work: of the process on a CPU; on a GPU wall time, after waiting for it."""

    def __init__(self, device: str) -> None:
        self._on_cpu = device == "cpu"
        self._now = time.process_time if self._on_cpu else time.perf_counter

    def seconds(self, work: Callable[[], object]) -> float:
        """Measure the seconds of the work."""
        started = self._now()
        work()
        if not self._on_cpu:
            torch.cuda.synchronize()
        return self._now() - started


def ceiling(device: str, clock: Clock) -> float:
    """Measure the floating-point operations a second of the fastest product of two square float32 matrices."""
    best = 0.0
    for side in (512, 1024) if device == "cpu" else (1024, 2048, 4096, 8192):
        left, right = torch.randn(2, side, side, device=device)
        times = [clock.seconds(lambda a=left, b=right: torch.mm(a, b)) for _ in range(10)]  # type: ignore[misc]
        best = max(best, 2 * side**3 / min(times))
    return best


def products_of_a_step(trial: TrialConfig) -> float:
    """Count the floating-point operations in products that a step cannot avoid, see `benchmarks/lanes.py`."""
    task, model = build_task(trial.task), trial.model
    per_example = model.width * (model.width + 2 * model.hidden + task.classes)
    return 6.0 * (effective_batch_size(trial) * per_example + task.vocabulary * model.width**2)


def lane_run(lanes: int, device: str) -> Train:
    """Build `lanes` lanes with a trial in each."""
    run = LaneRun([TrialConfig(seed=seed, steps=10**9) for seed in range(lanes)], lanes=lanes, device=device)
    run._refill()
    return run._train


def jax_run(lanes: int) -> Train | None:
    """Build JAX with `lanes` networks, if it is installed."""
    try:
        from jax_lanes import JaxLanes
    except ImportError:
        return None
    trial = TrialConfig()
    rival = JaxLanes(build_task(trial.task), trial, lanes)
    return lambda steps: rival.train(steps, effective_batch_size(trial))


def row(lanes: int, device: str, clock: Clock, ceiling_rate: float, *, with_jax: bool) -> Row:
    """Measure `lanes` lanes, and the rivals in turns with them."""
    trial = TrialConfig()
    batch = effective_batch_size(trial)
    task = build_task(trial.task)
    eager = PlainTorch(task, trial, device)
    graphed = GraphedPlainTorch(task, trial, device) if device != "cpu" else None
    rivals: dict[str, tuple[Train | None, int]] = {
        "lanes": (lane_run(lanes, device), lanes),
        "eager": (lambda steps: eager.train(steps, batch), 1),
        "graphed": ((lambda steps: graphed.train(steps, batch)) if graphed else None, 1),
        "jax": (jax_run(lanes) if with_jax else None, lanes),
    }
    steps = max(1, 16 // lanes) if device == "cpu" else 2 * BLOCK_STEPS
    rates: dict[str, list[float]] = {name: [] for name, (train, _) in rivals.items() if train is not None}
    for turn in range(ROUNDS + 1):
        for name, (train, networks) in rivals.items():
            if train is not None:
                count = steps if networks == lanes or device != "cpu" else max(steps, 4)
                elapsed = clock.seconds(lambda train=train, count=count: train(count))  # type: ignore[misc]
                if turn:  # the first one compiles, captures and warms up
                    rates[name].append(networks * count / elapsed)
    middle = {name: statistics.median(values) for name, values in rates.items()}
    return Row(
        lanes=lanes,
        rate=middle["lanes"],
        eager=middle["eager"],
        graphed=middle.get("graphed"),
        jax=middle.get("jax"),
        share_of_ceiling=middle["lanes"] / ceiling_rate,
    )


def table(rows: list[Row], flops: float, ceiling_rate: float) -> str:
    """Write the rows as Markdown."""
    lines = [
        "| lanes | lane-steps/s | times one eager process | times one graphed | times JAX | of the ceiling |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for one in rows:
        ratios = [f"{one.rate / rival:.1f}" if rival else "" for rival in (one.eager, one.graphed, one.jax)]
        lines.append(f"| {one.lanes} | {one.rate:,.0f} | {' | '.join(ratios)} | {one.share_of_ceiling:.0%} |")
    lines.append(f"| ceiling: products at {flops / 1e9:,.0f} GFLOP/s | {ceiling_rate:,.0f} | | | | 100% |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print data instead of a table")
    parser.add_argument("--lanes", type=int, nargs="+", default=LANES, help="numbers of lanes, ascending")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=120.0, help="what all rows together may take, roughly")
    arguments = parser.parse_args()
    device = arguments.device
    if device == "cpu":
        torch.set_num_threads(1)
        if hasattr(os, "sched_setaffinity"):  # JAX has no other way to be kept to one core
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    clock = Clock(device)
    flops = ceiling(device, clock)
    ceiling_rate = flops / products_of_a_step(TrialConfig())
    memory = torch.cuda.mem_get_info()[0] if device != "cpu" else math.inf
    rows: list[Row] = []
    left, last_s = arguments.seconds, 0.0
    for lanes in arguments.lanes:
        if 2 * last_s > left or (memory < math.inf and lanes > lanes_within(TrialConfig(), memory, device)):
            print(f"{lanes} lanes and more are left out: no time (--seconds) or memory for them", file=sys.stderr)
            break
        last_s = clock.seconds(
            lambda lanes=lanes: rows.append(  # type: ignore[misc]
                row(lanes, device, clock, ceiling_rate, with_jax=lanes <= LARGEST_JAX or device != "cpu")
            )
        )
        left -= last_s
        print(f"{lanes} lanes: {rows[-1].rate:,.0f} lane-steps/s", file=sys.stderr)
    name = torch.cuda.get_device_name() if device != "cpu" else "one CPU core"
    if arguments.json:
        data = {"device": name, "torch": torch.__version__, "ceiling_flops": flops, "ceiling_rate": ceiling_rate}
        print(json.dumps({**data, "rows": [asdict(one) for one in rows]}, indent=2))
    else:
        print(f"{name}, torch {torch.__version__}\n")
        print(table(rows, flops, ceiling_rate))


if __name__ == "__main__":
    main()
