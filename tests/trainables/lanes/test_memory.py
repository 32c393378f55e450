"""Memory of a lane run, estimated."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.errors import ConfigError
from trainables.lanes import lanes_within, run_bytes

SMALL = TrialConfig(task=TaskConfig(modulus=29), model=ModelConfig(width=48), batch_size=200)


@pytest.mark.parametrize(
    "more",
    [
        {"model": ModelConfig(width=96)},
        {"model": ModelConfig(width=48, layers=2)},
        {"model": ModelConfig(kind="mlp", width=48)},
        {"task": TaskConfig(modulus=59)},
        {"spectral_entropy_weight": 0.1},
        {"weight_noise": 0.1},
    ],
)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_estimate_grows_with_what_takes_memory(device: str, more: dict[str, Any]) -> None:
    assert run_bytes(dataclasses.replace(SMALL, **more), 8, device) > run_bytes(SMALL, 8, device)


def test_a_gpu_holds_all_lanes_activations_and_a_core_those_of_large_ones_in_turn() -> None:
    large = TrialConfig()
    on_cpu, on_gpu = ((run_bytes(large, 64, d) - run_bytes(large, 32, d)) / 32 for d in ("cpu", "cuda"))
    assert on_cpu < on_gpu / 2


def test_the_most_lanes_that_fit() -> None:
    for memory in (2**28, 2**30, 2**33):
        lanes = lanes_within(SMALL, memory)
        assert run_bytes(SMALL, lanes) <= memory < run_bytes(SMALL, lanes + 1)
    assert lanes_within(SMALL, 1000) == lanes_within(SMALL, -1) == 0
    with pytest.raises(ConfigError):
        run_bytes(TrialConfig(batch_size=10**6), 1)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is in other units elsewhere")
def test_a_process_takes_no_more_than_estimated_and_no_less_than_a_fifth() -> None:
    network = "modulo 23, width 32, few lanes"
    script = Path(__file__).parents[3] / "benchmarks" / "memory.py"
    sys.path.insert(0, str(script.parent))
    try:
        from memory import SHAPES  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    settings, lanes = SHAPES[network]
    command = [sys.executable, str(script), "--one", network]
    taken = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert taken <= run_bytes(TrialConfig(**settings), lanes) <= 5 * taken
