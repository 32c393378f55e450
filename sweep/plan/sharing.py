"""How the cohorts of a sweep share machines: how many train at once, with how many threads, how many on a GPU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sweep.plan.sizing import trial_flops, watching_flops

if TYPE_CHECKING:
    from trainables.config import TrialConfig
    from trainables.schedule import MeasuringConfig

MEMORY_SHARE = 0.5
"""Of the memory, for the lanes; the rest is for Ray, the driver and whatever else runs there."""

GPU_BYTES = 16 * 2**30
"""Assumed where the GPU is not on this machine."""

NO_GPU_HERE = (
    f"torch sees no GPU on this machine, which cannot run this sweep itself; planned for nodes with one GPU of "
    f"{GPU_BYTES / 2**30:.0f} GiB"
)
"""What a plan for GPUs says that is made elsewhere."""

GPU_CORES = 100
"""Cores that train as fast as a GPU: what is aimed at. Measuring is left to the cores."""

MOST_ON_A_GPU = 4
"""Cohorts; each needs a share of the memory, and they take turns."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine that trains; others of a cluster are taken to be like it."""

    cores: int
    memory_bytes: int
    gpus: int
    gpu_bytes: int
    """Of one GPU."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """Who gets what. A cohort has one core and trains with one thread: small matrices gain nothing from more."""

    at_once: int
    """Cohorts that train at once, on all nodes together."""
    on_a_gpu: int
    """Cohorts on one GPU; 0 where cohorts train on cores."""
    memory_bytes: float
    """What the lanes of one cohort may take."""

    def __str__(self) -> str:
        where = "one thread each"
        if self.on_a_gpu == 1:
            where = "a GPU each"
        if self.on_a_gpu > 1:
            where = f"{self.on_a_gpu} on a GPU, which trains some while others are measured"
        return f"{self.at_once:,} at a time, {where}"


def there_is_a_gpu() -> bool:
    """Whether torch can use a GPU on this machine."""
    import torch

    return torch.cuda.is_available()


def this_node() -> Node:
    """This machine; one GPU is assumed where there is none, for a plan made elsewhere."""
    import psutil
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    there = there_is_a_gpu()
    return Node(
        cores=cores,
        memory_bytes=psutil.virtual_memory().total,
        gpus=torch.cuda.device_count() if there else 1,
        gpu_bytes=torch.cuda.mem_get_info()[1] if there else GPU_BYTES,
    )


def share(
    trials: Sequence[TrialConfig],
    measuring: MeasuringConfig,
    *,
    device: str,
    processes: int | Literal["auto"],
    node: Node,
) -> Sharing:
    """Decide how cohorts share the nodes.

    On cores there is a cohort on each, fewer where memory would not do for one lane in each. A GPU has one cohort;
    left to itself also several, where measuring, for which the GPU waits, takes longer than training.

    Args:
        trials: One of each shape.
        measuring: When they are measured.
        device: `cpu` or `cuda`.
        processes: Cohorts at once, on all nodes together, or `auto`.
        node: What each node is like.
    """
    from trainables.memory import PROCESS_BYTES, run_bytes

    process_bytes = PROCESS_BYTES + max((run_bytes(trial, 1) for trial in trials), default=0)
    room = max(1, int(MEMORY_SHARE * node.memory_bytes / process_bytes))
    if device == "cpu":
        at_once = min(node.cores, room) if processes == "auto" else processes
        here = min(at_once, node.cores)
        return Sharing(at_once, 0, MEMORY_SHARE * node.memory_bytes / here - PROCESS_BYTES)
    if processes != "auto":
        return Sharing(processes, 1, MEMORY_SHARE * node.gpu_bytes)
    watching = sum(watching_flops(trial, measuring) for trial in trials)
    training = sum(trial_flops(trial, measuring) for trial in trials) - watching
    wanted = 1 + round(watching / max(training / GPU_CORES, 1.0))
    on_a_gpu = max(1, min(wanted, node.cores // node.gpus, room // node.gpus, MOST_ON_A_GPU))
    return Sharing(node.gpus * on_a_gpu, on_a_gpu, MEMORY_SHARE * node.gpu_bytes / on_a_gpu)
