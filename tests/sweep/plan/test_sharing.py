"""How cohorts share machines."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from sweep.plan.plan import plan
from sweep.plan.sharing import MEMORY_SHARE, MOST_ON_A_GPU, NO_GPU_HERE, Node, Sharing, share, this_node
from sweep.results.store import Store
from sweep.specification.config import SweepConfig
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.lanes import PROCESS_BYTES, run_bytes
from trainables.schedule import MeasuringConfig

GIB = 2**30
SMALL = TrialConfig(task=TaskConfig(modulus=17), model=ModelConfig(width=32))
LAPTOP = Node(cores=8, memory_bytes=16 * GIB, gpus=1, gpu_bytes=8 * GIB)
SERVER = Node(cores=64, memory_bytes=512 * GIB, gpus=8, gpu_bytes=80 * GIB)


def sharing(device: str, node: Node, trial: TrialConfig = SMALL, **more: Any) -> Sharing:
    return share([trial], MeasuringConfig(), **{"device": device, "processes": "auto", "node": node, **more})


def test_on_cores_each_has_a_cohort_with_one_thread() -> None:
    share = sharing("cpu", LAPTOP)
    assert (share.at_once, share.on_a_gpu) == (8, 0)
    assert str(share) == "8 at a time, one thread each"
    assert 8 * (share.memory_bytes + PROCESS_BYTES) == pytest.approx(MEMORY_SHARE * 16 * GIB)


def test_there_are_fewer_where_memory_would_not_do() -> None:
    large = TrialConfig(model=ModelConfig(width=512, layers=2))
    share = sharing("cpu", LAPTOP, large)
    assert 1 <= share.at_once < 8
    assert run_bytes(large, 1) <= share.memory_bytes


def test_processes_of_a_whole_cluster_do_not_share_one_nodes_memory() -> None:
    asked = sharing("cpu", LAPTOP, processes=100)
    assert (asked.at_once, asked.memory_bytes) == (100, sharing("cpu", LAPTOP).memory_bytes)


def test_a_gpu_has_more_cohorts_the_longer_it_would_wait_for_measurements() -> None:
    rarely = MeasuringConfig(measure_ratio=1e6, evaluate_ratio=1e6)
    large = TrialConfig(model=ModelConfig(width=1024), steps=20_000_000)
    alone = sharing("cuda", SERVER, large)
    assert (alone.at_once, alone.on_a_gpu, str(alone)) == (8, 1, "8 at a time, a GPU each")
    long = dataclasses.replace(SMALL, steps=20_000_000)
    assert share([long], rarely, device="cuda", processes="auto", node=SERVER).on_a_gpu < MOST_ON_A_GPU
    shared = sharing("cuda", SERVER)
    assert (shared.at_once, shared.on_a_gpu) == (8 * MOST_ON_A_GPU, MOST_ON_A_GPU)
    assert shared.memory_bytes * MOST_ON_A_GPU == alone.memory_bytes == MEMORY_SHARE * 80 * GIB
    assert str(shared) == "32 at a time, 4 on a GPU, which trains some while others are measured"
    few_cores = Node(cores=8, memory_bytes=64 * GIB, gpus=4, gpu_bytes=GIB)
    assert sharing("cuda", few_cores).on_a_gpu == 2
    asked = sharing("cuda", SERVER, processes=100)
    assert (asked.at_once, asked.on_a_gpu, asked.memory_bytes) == (100, 1, alone.memory_bytes)


def test_this_machine() -> None:
    node = this_node()
    assert node.cores >= 1
    assert node.memory_bytes > 2**28
    assert node.gpus >= 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_plan_for_a_gpu_that_is_not_here_says_so(tmp_path: Path) -> None:
    config = SweepConfig(task={"modulus": 7}, model={"width": 8}, data_fraction=0.5, device="cuda", stop="none")
    assert plan(config, Store(tmp_path)).notes == [NO_GPU_HERE]


def test_cohorts_that_share_a_gpu_share_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sweep.plan.sharing.this_node", lambda: Node(cores=8, memory_bytes=64 * GIB, gpus=1, gpu_bytes=GIB)
    )
    config = SweepConfig(task={"modulus": 17}, model={"width": 64}, device="cuda", seeds=300)
    decided = plan(config, Store(tmp_path))
    assert decided.sharing.on_a_gpu > 1
    widest = max(cohort.lanes for cohort in decided.new)
    assert decided.sharing.on_a_gpu * run_bytes(decided.trials[0], widest, "cuda") <= MEMORY_SHARE * GIB
    assert widest > 2
