"""Compare settings of MKL and ATen: which bits they give on this processor, and at what cost.

`python benchmarks/reproducibility.py`. For each setting a process of its own trains three small networks alone
and in company, counts the rows that differ, takes a digest of the rows, and times a step of the paper's network
(modulus 113, width 128, four lanes), with and without the spectral penalty. Settings take turns, several
rounds; ratios are medians against `MKL_CBWR=AUTO`, what `import trainables` sets. With `--json` the figures are
printed as data.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SETTINGS: dict[str, dict[str, str]] = {
    "unset": {},
    "AUTO (here)": {"MKL_CBWR": "AUTO"},
    "AVX2": {"MKL_CBWR": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    "COMPATIBLE": {"MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "across machines": {"REPRODUCIBLE": "across machines"},
}
NAMES = ("MKL_CBWR", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "REPRODUCIBLE")
BASELINE = "AUTO (here)"


def main() -> None:
    """Print a table of settings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds of timing; the first also compares bits")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", choices=["bits", "time"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(_bits() if arguments.one == "bits" else _times()))
        return
    figures: dict[str, Any] = {name: _in_a_process(name, "bits") | {"step_ms": []} for name in SETTINGS}
    for _ in range(arguments.rounds):
        for name in SETTINGS:
            figures[name]["step_ms"].append(_in_a_process(name, "time"))
    baseline = figures[BASELINE]["step_ms"]
    for of_setting in figures.values():
        rounds = list(zip(of_setting.pop("step_ms"), baseline, strict=True))
        for kind in ("plain", "penalty"):
            of_setting[f"{kind}_ratio"] = statistics.median(own[kind] / other[kind] for own, other in rounds)
    if arguments.json:
        print(json.dumps({"processor": _processor(), "settings": figures}, indent=1))
        return
    print(_processor())
    for name, of_setting in figures.items():
        print(f"{name:16s} {of_setting}")


def _in_a_process(name: str, what: str) -> dict[str, Any]:
    inherited = {key: value for key, value in os.environ.items() if key not in NAMES}
    command = [sys.executable, __file__, "--one", what]
    output = subprocess.run(
        command, env={**inherited, **SETTINGS[name]}, check=True, capture_output=True, text=True
    )
    return dict(json.loads(output.stdout))


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return f"{named.get('model name')}, family {named.get('cpu family')}, model {named.get('model')}"


def _prepare() -> None:
    """Take the settings of this process before anything is computed; `unset` means MKL by itself."""
    import torch

    torch.set_num_threads(1)
    if not any(name in os.environ for name in NAMES):
        torch.randn(300, 64) @ torch.randn(64, 300)  # MKL chooses kernels here, before the package is imported
    import trainables

    if os.environ.get("REPRODUCIBLE"):
        trainables.require_across_machines()


def _bits() -> dict[str, Any]:
    """Rows that depend on company, and a digest of the rows of trials trained alone."""
    _prepare()
    import hashlib
    import warnings

    from trainables import DependsOnCompany, ModelConfig, TaskConfig, TrialConfig, train
    from trainables.measurement import Measurement

    warnings.simplefilter("ignore", DependsOnCompany)

    def values(rows: list[Measurement]) -> list[tuple[object, ...]]:
        ordered = sorted(rows, key=lambda row: (row.trial_id, row.step))
        return [(r.trial_id, r.step, r.train_loss, r.val_loss, r.l2_norm, r.complexity_bytes) for r in ordered]

    transformer = {"task": TaskConfig(modulus=23), "model": ModelConfig(width=32), "steps": 64}
    mlp = {"task": TaskConfig(modulus=7), "model": ModelConfig(kind="mlp", width=8, layers=1), "batch_size": 8}
    kinds: dict[str, dict[str, Any]] = {
        "mlp": {**mlp, "steps": 64},
        "transformer": transformer,
        "penalty": {**transformer, "spectral_entropy_weight": 0.1},
    }
    figures: dict[str, Any] = {}
    for kind, settings in kinds.items():
        trials = [TrialConfig(weight_decay=w, data_fraction=f, **settings) for w in (0.0, 1.0) for f in (0.4, 0.7)]
        alone = values([row for trial in trials for row in train([trial])])
        company = values(list(train(trials, lanes=4)))
        figures[kind] = {
            "rows": len(alone),
            "depend_on_company": sum(a != b for a, b in zip(alone, company, strict=True)),
            "digest": hashlib.sha256(repr(alone).encode()).hexdigest()[:16],
        }
    return figures


def _times() -> dict[str, float]:
    """Milliseconds of processor time for a step of a lane of the paper's network, plain and with the penalty."""
    _prepare()
    from trainables import LaneRun, MeasuringConfig, TrialConfig
    from trainables.schedule import BLOCK_STEPS

    rarely = MeasuringConfig(evaluate_ratio=1e9, measure_ratio=1e9)
    times = {}
    for kind, weight in (("plain", 0.0), ("penalty", 0.1)):
        trials = [TrialConfig(seed=seed, steps=1_000, spectral_entropy_weight=weight) for seed in range(4)]
        run = LaneRun(trials, measuring=rarely, lanes=4)
        run.advance(1)
        began = time.process_time()
        run.advance(1)
        times[kind] = 1e3 * (time.process_time() - began) / BLOCK_STEPS / len(trials)
    return times


if __name__ == "__main__":
    main()
