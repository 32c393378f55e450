"""The estimate of a lane run's memory, compared with the memory that a process really takes, on a CPU.

    python benchmarks/memory.py [--json]        (Linux)

Each run has a process of its own, which trains a few steps, and evaluates and measures at the first and the last.
The measured value is the peak of its resident memory, minus its memory before.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.lanes import PROCESS_BYTES, LaneRun, run_bytes
from trainables.schedule import MeasuringConfig

STEPS = 8

SHAPES: dict[str, tuple[dict[str, Any], int]] = {
    "the paper's": ({}, 8),
    "the paper's, one lane": ({}, 1),
    "the paper's, penalty and noise": ({"spectral_entropy_weight": 0.1, "weight_noise": 0.01}, 8),
    "the paper's, full batch": ({"batch_size": 0}, 4),
    "the paper's, two layers": ({"model": ModelConfig(layers=2)}, 4),
    "modulo 59, width 64": ({"task": TaskConfig(modulus=59), "model": ModelConfig(width=64)}, 16),
    "modulo 59, width 32": (
        {"task": TaskConfig(modulus=59), "model": ModelConfig(width=32), "batch_size": 200},
        32,
    ),
    "modulo 23, width 32": (
        {"task": TaskConfig(modulus=23), "model": ModelConfig(width=32), "batch_size": 128},
        64,
    ),
    "modulo 23, width 32, few lanes": (
        {"task": TaskConfig(modulus=23), "model": ModelConfig(width=32), "batch_size": 128},
        4,
    ),
    "modulo 7, width 8": ({"task": TaskConfig(modulus=7), "model": ModelConfig(width=8)}, 512),
    "two layers, modulo 31, width 48": (
        {"task": TaskConfig(modulus=31), "model": ModelConfig(width=48, layers=2), "batch_size": 128},
        16,
    ),
    "MLP of three layers": ({"model": ModelConfig(kind="mlp")}, 8),
    "MLP, modulo 23, width 32": (
        {"task": TaskConfig(modulus=23), "model": ModelConfig(kind="mlp", width=32), "batch_size": 100},
        64,
    ),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One run."""

    network: str
    lanes: int
    taken_bytes: int
    estimate_bytes: int

    @property
    def ratio(self) -> float:
        """Estimate over measured."""
        return self.estimate_bytes / self.taken_bytes


def peak_bytes() -> int:
    """Measure the peak of this process's resident memory; `getrusage` would include the parent process."""
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def taken_bytes(settings: dict[str, Any], lanes: int) -> int:
    """Measure the bytes of a run in this process, which has done nothing yet."""
    torch.set_num_threads(1)
    before = peak_bytes()
    assert before < PROCESS_BYTES, f"a process takes {before} bytes before it trains"
    seldom = MeasuringConfig(measure_ratio=1e6, evaluate_ratio=1e6)
    trials = [TrialConfig(**settings, seed=seed, steps=STEPS) for seed in range(lanes)]
    LaneRun(trials, lanes=lanes, measuring=seldom).advance(1)
    return peak_bytes() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print data instead of a table")
    parser.add_argument("--one", choices=SHAPES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(taken_bytes(*SHAPES[arguments.one]))
        return
    rows = []
    for name, (settings, lanes) in SHAPES.items():
        command = [sys.executable, __file__, "--one", name]
        taken = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append(Row(name, lanes, taken, run_bytes(TrialConfig(**settings), lanes)))
        if not arguments.json:
            row = rows[-1]
            print(
                f"{name:32} {lanes:4} lanes {row.taken_bytes / 2**20:8.1f} MiB, "
                f"estimated {row.estimate_bytes / 2**20:8.1f}, ratio {row.ratio:5.2f}",
                flush=True,
            )
    if arguments.json:
        print(json.dumps([{**asdict(row), "ratio": row.ratio} for row in rows], indent=2))


if __name__ == "__main__":
    main()
