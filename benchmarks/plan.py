"""CPU seconds and memory of `sweep plan` for the largest sweep that is permitted.

    python benchmarks/plan.py [--trials 100000] [--settings 1]

`--settings` is the number of weight decays among which the trials are divided; the rest are seeds.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from typing import Any

from sweep import SweepConfig
from sweep.plan.estimate import estimate
from sweep.plan.plan import plan
from sweep.results.store import Store

SHAPE: dict[str, Any] = {"task": {"modulus": 23}, "model": {"width": 32}}


def main() -> None:
    """Plan once, in an empty results folder, and print what it took, torch's imports included."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--settings", type=int, default=1)
    chosen = parser.parse_args()
    decays = [0.1 + place / chosen.settings for place in range(chosen.settings)]
    began_s = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        seeds = chosen.trials // chosen.settings
        config = SweepConfig(**SHAPE, seeds=seeds, weight_decay=decays, results=f"{folder}/results")
        store = Store(config.results_path)
        decided = plan(config, store)
        planned_s = time.process_time()
        estimated = estimate(decided, store, price_per_hour=None)
    memory_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(
        f"{estimated.trials:,} trials of {chosen.settings:,} settings in {estimated.cohorts:,} cohorts: "
        f"{planned_s - began_s:.1f} CPU s to plan, {time.process_time() - planned_s:.1f} CPU s to estimate, "
        f"{memory_mib:,.0f} MiB"
    )


if __name__ == "__main__":
    main()
