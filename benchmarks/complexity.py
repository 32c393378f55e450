"""The complexity measure: bytes and seconds beside its rivals, against size, over trajectories, for many epsilons.

    python benchmarks/complexity.py [--json] [--section NAME]... [--budget NAME]...

Sections: `networks` (the paper's two in tests/data and small ones trained here; bytes, seconds, rivals), `sizes`
(perceptrons from 10^4 to 10^7 weights), `trajectory` (all of the paper's epsilons while a network trains; an
inversion is a larger epsilon with more bytes), `epsilons` (seconds of seven epsilons over those of one),
`descriptions` (of the task, weights move: bytes and seconds against epsilon, beside the complexity). NNCodec
takes part if it is installed (`pip install -r benchmarks/requirements.txt`). Seconds are those of the process, on
one thread.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from rivals import rivals
from torch import Tensor, nn

from trainables import MeasuringConfig, ModelConfig, TaskConfig, TrialConfig, decode, measure, train
from trainables.complexity import METHOD
from trainables.networks import LoadedNetwork, load_network, trained_network
from trainables.networks.describe import describe_network_task
from trainables.networks.measure import measure_network, scores
from trainables.sizes import bzip2_bytes

DATA = Path(__file__).parents[1] / "tests" / "data"
EPSILONS = (1.0, 0.125)
PAPERS_EPSILONS = (4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0625)

#: The bytes that the paper's public code finds, with its search of one to three minutes.
PUBLIC_CODE = {
    ("addition_noise", 1.0): 23_292,
    ("addition_noise", 0.125): 42_547,
    ("addition_memorised", 1.0): 107_385,
    ("addition_memorised", 0.125): 127_005,
}
GROKKED, MEMORISED = "addition_noise", "addition_memorised"

#: Weight decay and data fraction of the small networks.
SMALL = ((0.0, 0.5), (0.3, 0.7), (1.0, 0.7), (3.0, 0.5))

DESCRIBED_EPSILONS = (1.0, 0.25, 0.0625)

WIDTHS = (64, 200, 670, 2200)
"""Hidden widths of perceptrons with about 10^4, 10^5, 10^6 and 10^7 weights."""
LEARNT_LOSS, LONGEST_TRAINING = 0.05, 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One network at one epsilon and budget. Lengths in bytes, times in seconds of the process."""

    network: str
    parameters: int
    epsilon: float
    budget: str
    complexity_bytes: int
    measure_s: float
    decode_s: float
    evaluations: int
    loss_increase: float
    train_accuracy: float
    val_accuracy: float
    public_code_bytes: int | None
    naive_bzip2_bytes: int


@dataclass(frozen=True, slots=True)
class Rival:
    """The result of another method for the same network at the same epsilon."""

    network: str
    epsilon: float
    rival: str
    rival_bytes: int
    cpu_s: float
    over_ours: float
    """Its bytes over ours, with the first budget."""


@dataclass(frozen=True, slots=True)
class Size:
    """One perceptron."""

    parameters: int
    budget: str
    complexity_bytes: int
    measure_s: float
    microseconds_per_weight: float
    loss_s: float
    """Seconds of one evaluation of the loss, for comparison."""


@dataclass(frozen=True, slots=True)
class Step:
    """All of the paper's epsilons at one step of a training run."""

    step: int
    val_accuracy: float
    complexity_bytes: tuple[int, ...]
    measure_s: float
    inversions: int


@dataclass(frozen=True, slots=True)
class Several:
    """One network at one epsilon, and at seven in one call; seconds of the process."""

    network: str
    budget: str
    one_s: float
    seven_s: float

    @property
    def ratio(self) -> float:
        """Seven epsilons over one."""
        return self.seven_s / self.one_s


@dataclass(frozen=True, slots=True)
class Described:
    """The task of one network described at one epsilon; seconds of the process."""

    network: str
    epsilon: float
    task_description_bytes: int
    complexity_bytes: int
    steps: int
    describe_s: float
    loss_increase: float
    train_accuracy: float
    val_accuracy: float
    network_val_accuracy: float
    """Validation accuracy of the network before."""


@cache
def networks(steps: int) -> dict[str, LoadedNetwork]:
    loaded = {name: load_network(DATA / f"{name}.npz") for name in (GROKKED, MEMORISED)}
    for weight_decay, data_fraction in SMALL:
        trial = TrialConfig(
            task=TaskConfig(modulus=23),
            model=ModelConfig(width=32),
            data_fraction=data_fraction,
            weight_decay=weight_decay,
            learning_rate=2e-3,
            batch_size=128,
            steps=steps,
        )
        *_, last = train([trial])
        loaded[f"modulo 23, weight decay {weight_decay:g}"] = trained_network(trial, dict(last.network or {}))
    return loaded


def network_rows(budgets: Sequence[str], steps: int) -> Iterator[Row]:
    for (name, network), epsilon, budget in itertools.product(networks(steps).items(), EPSILONS, budgets):
        started = time.process_time()
        (entry,) = measure_network(network, [epsilon], budget)
        measured = time.process_time() - started
        result = entry.result
        started = time.process_time()
        decode(result.bitstream, result.decoded)
        yield Row(
            network=name,
            parameters=sum(weight.numel() for weight in network.parameters.values()),
            epsilon=epsilon,
            budget=budget,
            complexity_bytes=result.complexity_bytes,
            measure_s=measured,
            decode_s=time.process_time() - started,
            evaluations=result.evaluations,
            loss_increase=result.loss_increase,
            train_accuracy=entry.scores.train_accuracy,
            val_accuracy=entry.scores.val_accuracy,
            public_code_bytes=PUBLIC_CODE.get((name, epsilon)),
            naive_bzip2_bytes=bzip2_bytes(network.parameters),
        )


def rival_rows(rows: Sequence[Row], steps: int) -> Iterator[Rival]:
    ours: dict[tuple[str, float], int] = {}
    for row in rows:
        ours.setdefault((row.network, row.epsilon), row.complexity_bytes)
    for (name, epsilon), own in ours.items():
        network = networks(steps)[name]
        base = scores(network, network.parameters).train_loss

        def fits(
            decoded: Mapping[str, Tensor], network: LoadedNetwork = network, bound: float = base + epsilon
        ) -> bool:
            with torch.no_grad():
                return float(network.outcomes(decoded, network.train)[0].double().mean()) <= bound

        for rival in rivals(network.parameters, fits):
            yield Rival(name, epsilon, rival.rival, rival.rival_bytes, rival.cpu_s, rival.rival_bytes / own)


def perceptron(width: int) -> tuple[nn.Module, Tensor, Tensor]:
    """Train about 2 x width^2 weights until they know 1,024 examples by heart."""
    torch.manual_seed(0)
    inputs, targets = torch.randn(1024, 32), torch.randint(10, (1024,))
    module = nn.Sequential(
        nn.Linear(32, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
    ).append(nn.Linear(width, 10))
    optimiser = torch.optim.Adam(module.parameters(), 1e-3)
    for _ in range(LONGEST_TRAINING):
        optimiser.zero_grad()
        loss = functional.cross_entropy(module(inputs), targets)
        loss.backward()
        optimiser.step()
        if loss.item() < LEARNT_LOSS:
            break
    return module, inputs, targets


def size_rows(budgets: Sequence[str], largest: float) -> Iterator[Size]:
    for width in WIDTHS:
        module, inputs, targets = perceptron(width)
        parameters = sum(weight.numel() for weight in module.parameters())
        if parameters > 1.2 * largest:
            return
        with torch.no_grad():
            started = time.process_time()
            functional.cross_entropy(module(inputs), targets)
            loss_s = time.process_time() - started
        for budget in budgets:
            started = time.process_time()
            (result,) = measure(
                module,
                inputs=inputs,
                targets=targets,
                epsilons=[0.25],
                budget=budget,  # type: ignore[arg-type]
            )
            spent = time.process_time() - started
            yield Size(parameters, budget, result.complexity_bytes, spent, 1e6 * spent / parameters, loss_s)


def trajectory_rows(budget: str, steps: int) -> Iterator[Step]:
    """Train a network that groks, and measure it at all of the paper's epsilons below the loss of guessing."""
    trial = TrialConfig(
        task=TaskConfig(modulus=59), model=ModelConfig(width=64), data_fraction=0.5, weight_decay=1.0, steps=steps
    )
    for measurement in train([trial], measuring=MeasuringConfig(epsilon=1.0)):
        if measurement.network is None or measurement.step == 0:
            continue
        network = trained_network(trial, dict(measurement.network))
        started = time.process_time()
        sizes = [entry.result.complexity_bytes for entry in measure_network(network, PAPERS_EPSILONS, budget)]
        yield Step(
            step=measurement.step,
            val_accuracy=measurement.val_accuracy,
            complexity_bytes=tuple(sizes),
            measure_s=time.process_time() - started,
            inversions=sum(larger > smaller for larger, smaller in itertools.combinations(sizes, 2)),
        )


def several_rows(budgets: Sequence[str], steps: int) -> Iterator[Several]:
    for name, budget in itertools.product((GROKKED, MEMORISED), budgets):
        spent = []
        for epsilons in ([1.0], PAPERS_EPSILONS):
            started = time.process_time()
            measure_network(networks(steps)[name], epsilons, budget)
            spent.append(time.process_time() - started)
        yield Several(name, budget, *spent)


def described_rows(steps: int) -> Iterator[Described]:
    for name, epsilon in itertools.product((GROKKED, MEMORISED), DESCRIBED_EPSILONS):
        network = networks(steps)[name]
        (own,) = measure_network(network, [epsilon])
        started = time.process_time()
        (task,) = describe_network_task(network, [epsilon])
        yield Described(
            network=name,
            epsilon=epsilon,
            task_description_bytes=task.result.task_description_bytes,
            complexity_bytes=own.result.complexity_bytes,
            steps=task.result.steps,
            describe_s=time.process_time() - started,
            loss_increase=task.result.loss_increase,
            train_accuracy=task.scores.train_accuracy,
            val_accuracy=task.scores.val_accuracy,
            network_val_accuracy=scores(network, network.parameters).val_accuracy,
        )


def headlines(rows: Sequence[Row]) -> list[str]:
    """Write the goals as sentences, for each budget."""
    lines = []
    for budget in dict.fromkeys(row.budget for row in rows):
        of = {(row.network, row.epsilon): row for row in rows if row.budget == budget}
        known = [row for row in of.values() if row.public_code_bytes is not None]
        logs = [math.log(row.complexity_bytes / (row.public_code_bytes or 1)) for row in known]
        seconds = sum(row.measure_s for row in known) / len(known)
        ratios = ", ".join(
            f"{of[MEMORISED, e].complexity_bytes / of[GROKKED, e].complexity_bytes:.1f} at {e:g}" for e in EPSILONS
        )
        lines.append(
            f"{budget}: {math.exp(sum(logs) / len(logs)):.3f} of the public code's bytes (geometric mean of "
            f"{len(logs)}), {seconds:.2f} CPU s an epsilon; memorised over grokked {ratios}"
        )
    return lines


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    bars = ["---"] * left + ["---:"] * (len(header) - left)
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, bars, *rows))


def network_table(rows: Sequence[Row]) -> str:
    header = (
        "network", "epsilon", "budget", "bytes", "of public code", "bzip2 over ours", "train, val accuracy",
        "evaluations", "measure s", "decode ms",
    )  # fmt: skip
    return markdown(
        header,
        [
            (
                r.network,
                f"{r.epsilon:g}",
                r.budget,
                f"{r.complexity_bytes:,}",
                f"{r.complexity_bytes / r.public_code_bytes:.3f}" if r.public_code_bytes else "",
                f"{r.naive_bzip2_bytes / r.complexity_bytes:.0f}",
                f"{r.train_accuracy:.2f}, {r.val_accuracy:.2f}",
                str(r.evaluations),
                f"{r.measure_s:.2f}",
                f"{1000 * r.decode_s:.0f}",
            )
            for r in rows
        ],
    )


def rival_table(rows: Sequence[Rival]) -> str:
    names = list(dict.fromkeys(row.rival for row in rows))
    cells = {(r.network, r.epsilon, r.rival): f"{r.rival_bytes:,} ({r.over_ours:.1f}x)" for r in rows}
    keys = dict.fromkeys((r.network, r.epsilon) for r in rows)
    return markdown(
        ("network", "epsilon", *(f"{name}, bytes (over ours)" for name in names)),
        [(network, f"{epsilon:g}", *(cells[network, epsilon, n] for n in names)) for network, epsilon in keys],
    )


def size_table(rows: Sequence[Size]) -> str:
    return markdown(
        ("weights", "budget", "bytes", "measure s", "µs a weight", "one loss s"),
        [
            (
                f"{r.parameters:,}",
                r.budget,
                f"{r.complexity_bytes:,}",
                f"{r.measure_s:.2f}",
                f"{r.microseconds_per_weight:.1f}",
                f"{r.loss_s:.3f}",
            )
            for r in rows
        ],
    )


def trajectory_table(rows: Sequence[Step]) -> str:
    table = markdown(
        ("step", "val accuracy", *(f"{epsilon:g}" for epsilon in PAPERS_EPSILONS), "inversions", "seconds"),
        [
            (
                f"{r.step:,}",
                f"{r.val_accuracy:.3f}",
                *(f"{size:,}" for size in r.complexity_bytes),
                str(r.inversions),
                f"{r.measure_s:.2f}",
            )
            for r in rows
        ],
        left=0,
    )
    pairs = math.comb(len(PAPERS_EPSILONS), 2) * len(rows)
    return f"{table}\n\n{sum(r.inversions for r in rows)} inversions among {pairs} pairs of epsilons"


def several_table(rows: Sequence[Several]) -> str:
    return markdown(
        ("network", "budget", "one epsilon s", "seven s", "ratio"),
        [(r.network, r.budget, f"{r.one_s:.2f}", f"{r.seven_s:.2f}", f"{r.ratio:.1f}") for r in rows],
    )


def described_table(rows: Sequence[Described]) -> str:
    return markdown(
        (
            "network", "epsilon", "description bytes", "complexity bytes", "steps", "seconds", "loss increase",
            "train, val accuracy", "val accuracy before",
        ),
        [
            (
                r.network,
                f"{r.epsilon:g}",
                f"{r.task_description_bytes:,}",
                f"{r.complexity_bytes:,}",
                f"{r.steps:,}",
                f"{r.describe_s:.0f}",
                f"{r.loss_increase:.3f}",
                f"{r.train_accuracy:.3f}, {r.val_accuracy:.3f}",
                f"{r.network_val_accuracy:.3f}",
            )
            for r in rows
        ],
    )  # fmt: skip


SECTIONS = ("networks", "sizes", "trajectory", "epsilons", "descriptions")


def main() -> None:
    parser = argparse.ArgumentParser(description="The complexity measure beside its rivals.")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--section", action="append", choices=SECTIONS, help="only these; by default all")
    parser.add_argument("--budget", action="append", help="search budgets; by default fast")
    parser.add_argument("--steps", type=int, default=1500, help="optimiser steps of the networks trained here")
    parser.add_argument("--largest", type=float, default=1e7, help="weights of the largest perceptron")
    arguments = parser.parse_args()
    budgets = arguments.budget or ["fast"]
    sections = arguments.section or SECTIONS
    torch.set_num_threads(1)
    # The first measurement imports and warms up, and counts for no section.
    measure_network(networks(arguments.steps)[GROKKED], [1.0], budgets[0])

    sections: dict[str, Sequence[Any]] = {}
    texts: list[str] = []
    if "networks" in sections:
        rows = list(network_rows(budgets, arguments.steps))
        others = list(rival_rows(rows, arguments.steps))
        sections |= {"networks": rows, "rivals": others}
        texts += [network_table(rows), "\n".join(headlines(rows)), rival_table(others)]
    if "sizes" in sections:
        sizes = list(size_rows(budgets, arguments.largest))
        sections["sizes"] = sizes
        texts.append(size_table(sizes))
    if "trajectory" in sections:
        path = list(trajectory_rows(budgets[0], arguments.steps))
        sections["trajectory"] = path
        texts.append(trajectory_table(path))
    if "epsilons" in sections:
        several = list(several_rows(budgets, arguments.steps))
        sections["epsilons"] = several
        texts.append(several_table(several))
    if "descriptions" in sections:
        described = list(described_rows(arguments.steps))
        sections["descriptions"] = described
        texts.append(described_table(described))
    if arguments.json:
        machine = {"python": platform.python_version(), "machine": platform.machine(), "threads": 1}
        as_json = {name: [asdict(row) for row in rows] for name, rows in sections.items()}
        print(json.dumps({"method": METHOD, "machine": machine, **as_json}, indent=2))
    else:
        print("\n\n".join(texts))


if __name__ == "__main__":
    main()
