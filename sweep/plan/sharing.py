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
"""Share of the memory for the lanes; the rest is for Ray, the driver and whatever else runs there."""

GPU_BYTES = 16 * 2**30
"""Assumed memory of a GPU that is not on this machine."""

NO_GPU_HERE = (
    f"torch sees no GPU on this machine, which cannot run this sweep itself; planned for nodes with one GPU of "
    f"{GPU_BYTES / 2**30:.0f} GiB"
)
"""The note in a plan for GPUs that is made on another machine."""

GPU_CORES = 100
"""Number of cores that train as fast as a GPU: the target. Measuring is left to the cores."""

MOST_ON_A_GPU = 4
"""Largest number of cohorts on a GPU; each needs a share of the memory, and they take turns."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine that trains; the other nodes of a cluster are assumed to be like it."""

    cores: int
    memory_bytes: int
    gpus: int
    gpu_bytes: int
    """Memory of one GPU."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """The share of each cohort. It has one core and trains with one thread: more do not speed up small matrices."""

    at_once: int
    """Number of cohorts that train at once, on all nodes together."""
    on_a_gpu: int
    """Number of cohorts on one GPU; 0 if cohorts train on cores."""
    memory_bytes: float
    """Memory for the lanes of one cohort."""

    def __str__(self) -> str:
        where = "one thread each"
        if self.on_a_gpu == 1:
            where = "a GPU each"
        if self.on_a_gpu > 1:
            where = f"{self.on_a_gpu} on a GPU, which trains some while others are measured"
        return f"{self.at_once:,} at a time, {where}"


def there_is_a_gpu() -> bool:
    """Check whether torch can use a GPU on this machine."""
    import torch

    return torch.cuda.is_available()


def this_node() -> Node:
    """Describe this machine; without a GPU one is assumed, for a plan made on another machine."""
    import psutil
    import torch

    # The cores that this process may use: under a batch system fewer than the machine has.
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

    On cores there is a cohort on each, or fewer if memory does not suffice for one lane in each. A GPU has one
    cohort; with `auto` it has several if measuring, for which the GPU waits, takes longer than training.

    Args:
        trials: one trial of each shape.
        measuring: how the trials are measured.
        device: `cpu` or `cuda`.
        processes: number of cohorts at once, on all nodes together, or `auto`.
        node: a description of each node.
    """
    from trainables.lanes import PROCESS_BYTES, run_bytes

    process_bytes = PROCESS_BYTES + max((run_bytes(trial, 1) for trial in trials), default=0)
    room = max(1, int(MEMORY_SHARE * node.memory_bytes / process_bytes))
    if device == "cpu":
        at_once = min(node.cores, room) if processes == "auto" else processes
        # With more cohorts than cores the rest are on other nodes, which have memory of their own.
        here = min(at_once, node.cores)
        return Sharing(at_once, 0, MEMORY_SHARE * node.memory_bytes / here - PROCESS_BYTES)
    if processes != "auto":
        return Sharing(processes, 1, MEMORY_SHARE * node.gpu_bytes)
    watching = sum(watching_flops(trial, measuring) for trial in trials)
    training = sum(trial_flops(trial, measuring) for trial in trials) - watching
    wanted = 1 + round(watching / max(training / GPU_CORES, 1.0))
    on_a_gpu = max(1, min(wanted, node.cores // node.gpus, room // node.gpus, MOST_ON_A_GPU))
    return Sharing(node.gpus * on_a_gpu, on_a_gpu, MEMORY_SHARE * node.gpu_bytes / on_a_gpu)
