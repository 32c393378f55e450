"""Bounds on the error on unseen examples: train a network, describe its task, and print what follows.

    python benchmarks/bounds.py --modulus 197 [--epsilon NATS]... [--steps N] [--output FOLDER] [--json]
    python benchmarks/bounds.py --network tests/data/addition_noise.npz

Next to the description of the task (`task_description_bytes`, weights are trained) are the complexity of the
trained network itself (`complexity_bytes`, weights are not trained) and a look-up table of its training labels.
Everything that the decoder is told counts: the stream, its length and the architecture. With --output, the network
and the streams are written to a folder, for `sweep bound STREAM --like NETWORK`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from analysis.bounds import DELTA, chance_error
from sweep.cli.error_bounds import error_bounds
from trainables import ModelConfig, TaskConfig, TrialConfig, load_network, save_network, train, trained_network
from trainables.description.describing import BUDGETS
from trainables.networks import LoadedNetwork
from trainables.networks.describe import describe_network_task
from trainables.networks.measure import measure_network, scores
from trainables.scoring import Scores

#: Small networks that still generalise soon: weights that do not exist need no description.
SMALL, LARGE = (
    ModelConfig(width=32, hidden_width=64, attention="sum"),
    ModelConfig(width=48, hidden_width=96, attention="sum"),
)
RECIPES = {
    113: (SMALL, 2e-3, 6000),
    197: (SMALL, 2e-3, 5000),
    307: (SMALL, 3e-3, 8000),
    397: (LARGE, 3e-3, 8000),
}
"""Modulus -> architecture, learning rate and optimiser steps. All generalise; how they were found costs nothing."""
WEIGHT_DECAY = 0.2


@dataclass(frozen=True, slots=True)
class Row:
    """One code and what it proves."""

    code: str
    epsilon: float | None
    bytes: int
    code_bits: float
    training_errors: int
    unseen_error_bound: float
    unseen_error: float
    """The real error on the examples not trained on."""
    seconds: float
    """Seconds of the process to find the code."""


def trained(modulus: int, data_fraction: float, seed: int) -> LoadedNetwork:
    model, learning_rate, steps = RECIPES[modulus]
    trial = TrialConfig(
        task=TaskConfig(modulus=modulus),
        model=model,
        data_fraction=data_fraction,
        weight_decay=WEIGHT_DECAY,
        learning_rate=learning_rate,
        steps=steps,
        seed=seed,
    )
    *_, last = train([trial])
    return trained_network(trial, dict(last.network or {}))


def rows(network: LoadedNetwork, epsilons: Sequence[float], steps: int, output: Path | None) -> Iterator[Row]:
    def row(code: str, epsilon: float, stream: bytes, decoded: Scores, seconds: float) -> Row:
        if output is not None:
            (output / f"{code}-{epsilon:g}.bitstream".replace(" ", "-")).write_bytes(stream)
        bounds = error_bounds(network, len(stream), decoded)
        return Row(
            code,
            epsilon,
            len(stream),
            bounds["code_bits"],
            round(bounds["training_errors"]),
            bounds["unseen_error_bound"],
            bounds["unseen_error"],
            seconds,
        )

    for epsilon in epsilons:
        started = time.process_time()
        (task,) = describe_network_task(network, [epsilon], steps=steps)
        yield row("task description", epsilon, task.result.bitstream, task.scores, time.process_time() - started)
    for epsilon in epsilons:
        started = time.process_time()
        (own,) = measure_network(network, [epsilon], "thorough")
        yield row("complexity", epsilon, own.result.bitstream, own.scores, time.process_time() - started)
    # The look-up table is the same for every stream.
    bounds = error_bounds(network, 1, scores(network, network.parameters))
    bits, bound = bounds["lookup_table_bits"], bounds["lookup_table_error_bound"]
    yield Row("look-up table", None, math.ceil(bits / 8), bits, 0, bound, bounds["chance_error"], 0.0)


def table(outcome: Sequence[Row]) -> str:
    header = ("code", "epsilon", "bytes", "code bits", "training errors", "**bound**", "error as it is", "CPU s")
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    for one in outcome:
        epsilon = "" if one.epsilon is None else f"{one.epsilon:g}"
        cells = (
            one.code,
            epsilon,
            f"{one.bytes:,}",
            f"{one.code_bits:,.0f}",
            f"{one.training_errors:,}",
            f"**{one.unseen_error_bound:.3f}**",
            f"{one.unseen_error:.4f}",
            f"{one.seconds:.0f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Bounds on the error on examples never seen.")
    parser.add_argument("--modulus", type=int, choices=RECIPES, default=113, help="of the addition")
    parser.add_argument("--data-fraction", type=float, default=0.3, help="share of the pairs that is trained on")
    parser.add_argument("--seed", type=int, default=0, help="of the network")
    parser.add_argument("--network", type=Path, help="a network file, in place of one trained here")
    parser.add_argument("--epsilon", type=float, action="append", help="nats per example; by default 0.4 and 0.1")
    parser.add_argument("--steps", type=int, default=BUDGETS["thorough"], help="of describing the task")
    parser.add_argument("--output", type=Path, help="folder for the network and the streams")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of a table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    if arguments.network is None:
        network = trained(arguments.modulus, arguments.data_fraction, arguments.seed)
    else:
        network = load_network(arguments.network)
    training_s = time.process_time() - started
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
        save_network(network, arguments.output / "network.safetensors")
    own = scores(network, network.parameters)
    classes = network.classes
    about = {
        "classes": classes,
        "training_examples": len(network.train),
        "unseen_examples": len(network.validation),
        "chance_error": float(chance_error(classes)),
        "train_accuracy": own.train_accuracy,
        "val_accuracy": own.val_accuracy,
        "delta": DELTA,
        "training_cpu_s": training_s,
    }
    streams = list(rows(network, arguments.epsilon or [0.4, 0.1], arguments.steps, arguments.output))
    if arguments.json:
        print(json.dumps({**about, "codes": [asdict(one) for one in streams]}, indent=1))
        return
    print(
        f"{about['classes']} classes, {about['training_examples']:,} examples trained on in {training_s:.0f} CPU s"
        f", {about['unseen_examples']:,} unseen; chance {about['chance_error']:.4f}; the network's accuracy "
        f"{own.train_accuracy:.4f} in training, {own.val_accuracy:.4f} on unseen examples\n\n{table(streams)}"
    )


if __name__ == "__main__":
    main()
