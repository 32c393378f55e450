"""Do the forms of the spectral penalty lead to the same outcomes? A study of paired seeds.

    python benchmarks/penalty_forms.py [--json] [--seeds 16]

Every form trains the same small networks from the same seeds: share that grokked, step of the grok, and complexity
and effective rank at the end of the budget, which is the same for all. Ratios are those of pairs of one seed.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from scipy.stats import t as student

from analysis.events import trajectory_events
from analysis.intervals import CONFIDENCE, wilson
from analysis.trajectory import Trajectory
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.lanes import train
from trainables.measurement import Measurement
from trainables.schedule import MeasuringConfig

NETWORK: dict[str, Any] = {
    "task": TaskConfig(family="addition", modulus=23),
    "model": ModelConfig(width=32),
    "weight_decay": 1.0,
    "learning_rate": 2e-3,
    "batch_size": 128,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "data fraction 0.7, 2,000 steps": {"data_fraction": 0.7, "steps": 2000},
    "data fraction 0.5, 3,200 steps": {"data_fraction": 0.5, "steps": 3200},
}
REFERENCE = "the paper's form, floor 0, every step"
ARMS: dict[str, dict[str, Any]] = {
    REFERENCE: {"spectral_entropy_weight": 0.1, "spectral_floor": 0.0},
    "floor 0.01, every step": {"spectral_entropy_weight": 0.1},
    "floor 0.01, every 4 steps": {"spectral_entropy_weight": 0.1, "spectral_every": 4},
    "no penalty": {},
}
MEASURING = MeasuringConfig(evaluate_ratio=1.03, measure_ratio=1e6)
"""Evaluated at nearly every block, so that the step of a grok is known to a few per cent."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one network."""

    seed: int
    memorisation_step: int | None
    grok_after_step: int | None
    """The grok is after this step, ..."""
    grok_step: int | None
    """... and not after this one; None if it did not grok within the budget."""
    complexity_bytes: int
    """The value at the end of the budget."""
    effective_rank: float
    """The value at the end of the budget, unsmoothed."""
    spectral_entropy: float
    """The value at the end of the budget, unsmoothed, nats."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Geometric mean of a quantity's ratio over pairs of one seed, with its 95 % interval."""

    pairs: int
    mean: float | None
    """None, like the ends, for fewer than two pairs."""
    low: float | None
    high: float | None

    @property
    def text(self) -> str:
        """`0.98 (0.91 to 1.05)`."""
        return "too few pairs" if self.mean is None else f"{self.mean:.2f} ({self.low:.2f} to {self.high:.2f})"


def outcomes(settings: dict[str, Any], arm: dict[str, Any], seeds: int) -> list[Outcome]:
    trials = [TrialConfig(**NETWORK, **settings, **arm, seed=seed) for seed in range(seeds)]
    rows: dict[int, list[Measurement]] = defaultdict(list)
    for measurement in train(trials, measuring=MEASURING):
        rows[measurement.seed].append(measurement)
    collected = []
    for seed in range(seeds):
        events = trajectory_events(Trajectory.from_measurements(rows[seed]))
        last = rows[seed][-1]
        assert last.step == settings["steps"], f"seed {seed} ended at step {last.step}"
        assert last.complexity_bytes is not None
        collected.append(
            Outcome(
                seed,
                events.memorisation_step,
                events.grok_after_step,
                events.grok_step,
                last.complexity_bytes,
                last.effective_rank,
                last.spectral_entropy,
            )
        )
    return collected


def paired_ratio(pairs: Sequence[tuple[float | None, float | None]]) -> Ratio:
    """Compare the two of each pair, if both are known: Student's interval of the mean logarithm."""
    logs = [math.log(one / other) for one, other in pairs if one and other]
    if len(logs) < 2:
        return Ratio(len(logs), None, None, None)
    mean = statistics.mean(logs)
    half = student.ppf((1 + CONFIDENCE) / 2, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return Ratio(len(logs), math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def compared(arm: list[Outcome], reference: list[Outcome]) -> dict[str, Ratio]:
    """Compute the ratios of an arm to the reference."""
    names = ("grok_step", "complexity_bytes", "effective_rank")
    both = list(zip(arm, reference, strict=True))
    return {name: paired_ratio([(getattr(a, name), getattr(b, name)) for a, b in both]) for name in names}


def groks(outcomes: list[Outcome]) -> str:
    grokked = sum(outcome.grok_step is not None for outcome in outcomes)
    low, high = wilson(grokked, len(outcomes))
    return f"{grokked}/{len(outcomes)} ({low:.0%} to {high:.0%})"


def grok_median(outcomes: list[Outcome]) -> str:
    """Return the median as an interval of steps; networks that did not grok count as later than all others."""
    ordered = sorted(outcomes, key=lambda outcome: outcome.grok_step or math.inf)
    median = ordered[(len(ordered) - 1) // 2]
    if median.grok_step is None:
        return "later than the budget"
    return f"{median.grok_after_step:,} to {median.grok_step:,}"


def table(setting: str, results: dict[str, list[Outcome]]) -> str:
    lines = [
        f"{setting}, {len(results[REFERENCE])} seeds",
        "",
        "| form | grokked (95 %) | median grok step | median final bytes | median final effective rank |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, outcomes in results.items():
        size = statistics.median(outcome.complexity_bytes for outcome in outcomes)
        rank = statistics.median(outcome.effective_rank for outcome in outcomes)
        lines.append(f"| {name} | {groks(outcomes)} | {grok_median(outcomes)} | {size:,.0f} | {rank:.2f} |")
    return "\n".join(lines)


def ratio_table(results: dict[str, list[Outcome]]) -> str:
    lines = [
        "| ratio to the paper's form, paired (95 %) | grok step | pairs grokked | final bytes | effective rank |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, outcomes in results.items():
        if name != REFERENCE:
            ratio = compared(outcomes, results[REFERENCE])
            step, size, rank = (ratio[key] for key in ("grok_step", "complexity_bytes", "effective_rank"))
            lines.append(f"| {name} | {step.text} | {step.pairs} | {size.text} | {rank.text} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print data instead of tables")
    parser.add_argument("--seeds", type=int, default=16)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = {}
    together: dict[str, list[Outcome]] = defaultdict(list)
    for setting, values in SETTINGS.items():
        results = {}
        for name, arm in ARMS.items():
            started = time.process_time()
            results[name] = outcomes(values, arm, arguments.seeds)
            together[name] += results[name]
            print(f"{setting}: {name}, {time.process_time() - started:.0f} CPU s", file=sys.stderr)
        data[setting] = {
            name: {
                "outcomes": [asdict(outcome) for outcome in outcomes],
                "ratios": {key: asdict(ratio) for key, ratio in compared(outcomes, results[REFERENCE]).items()},
            }
            for name, outcomes in results.items()
        }
        if not arguments.json:
            print(table(setting, results), ratio_table(results), sep="\n\n", end="\n\n", flush=True)
    if not arguments.json:
        print("Both settings together:", ratio_table(together), sep="\n\n")
    else:
        print(json.dumps({"torch": torch.__version__, "settings": data}, indent=2))


if __name__ == "__main__":
    main()
