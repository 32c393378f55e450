"""The complexity measure on known networks: bytes and seconds, and what rivals make of the same integers.

    python benchmarks/complexity.py [--json] [--steps N]

Measured are the paper's two networks in tests/data and small ones trained here, modulo 23 as in the quickstart.
Rivals are given the rounded integers that our stream holds, a byte each (four where one is large), and no
header. Their lengths leave out steps, ranks and checksum, which ours includes.
"""

from __future__ import annotations

import argparse
import bz2
import json
import lzma
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
import zstandard
from torch import Tensor

from trainables import ModelConfig, TaskConfig, TrialConfig, train
from trainables.complexity import METHOD, decode, measure
from trainables.complexity.codes import Code, Direct, Factors, Integers
from trainables.complexity.entropy_coder import Encoder
from trainables.complexity.network_coder import code_network
from trainables.complexity.stream import ROUNDED, decode_codes
from trainables.evaluate import table_outcomes
from trainables.models import forward
from trainables.networks import load_network
from trainables.sizes import bzip2_bytes
from trainables.tasks import build_task
from trainables.tasks.split import split

DATA = Path(__file__).parents[1] / "tests" / "data"
EPSILONS = (1.0, 0.125)

#: What the paper's public code finds, bytes, with its search of one to three minutes.
PUBLIC_CODE = {
    ("addition_noise", 1.0): 23_292,
    ("addition_noise", 0.125): 42_547,
    ("addition_memorised", 1.0): 107_385,
    ("addition_memorised", 0.125): 127_005,
}

#: Weight decay and data fraction of the small networks.
SMALL = ((0.0, 0.5), (0.3, 0.7), (1.0, 0.7), (3.0, 0.5))

Loss = Callable[[Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True, slots=True)
class Row:
    """One network at one epsilon. Lengths in bytes, times in seconds of the process."""

    network: str
    epsilon: float
    complexity_bytes: int
    measure_s: float
    encode_s: float
    decode_s: float
    evaluations: int
    loss_increase: float
    entropy_bytes: float
    """Order-0 entropy of every tensor's or factor's integers by itself, tables and headers free."""
    lzma_bytes: int
    zstd_bytes: int
    bzip2_bytes: int
    public_code_bytes: int | None
    naive_bzip2_bytes: int


def networks(steps: int) -> Iterator[tuple[str, dict[str, Tensor], Loss]]:
    for name in ("addition_noise", "addition_memorised"):
        loaded = load_network(DATA / f"{name}.npz")

        def loss(parameters: Mapping[str, Tensor], loaded: object = loaded) -> Tensor:
            lanes = {key: tensor[None] for key, tensor in parameters.items()}
            logits = forward(loaded.model, lanes, loaded.train[:, :-1])[0]  # type: ignore[attr-defined]
            return functional.cross_entropy(logits, loaded.train[:, -1], reduction="none")  # type: ignore[attr-defined]

        yield name, loaded.parameters, loss
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
        task = build_task(trial.task)
        examples = split(task, trial.data_fraction, trial.label_noise, trial.seed)
        *_, last = train([trial])
        inputs, labels = task.inputs[examples.train], examples.targets[examples.train]

        def small_loss(
            parameters: Mapping[str, Tensor],
            model: ModelConfig = trial.model,
            inputs: Tensor = inputs,
            labels: Tensor = labels,
        ) -> Tensor:
            lanes = {key: tensor[None] for key, tensor in parameters.items()}
            return table_outcomes(model, lanes, inputs, labels[None])[0][0]

        yield f"modulo 23, weight decay {weight_decay:g}", dict(last.network or {}), small_loss


def integers(codes: Mapping[str, Code]) -> list[Integers]:
    found = []
    for name in sorted(codes):
        code = codes[name]
        if isinstance(code, Direct):
            found.append(code.integers)
        elif isinstance(code, Factors):
            found += [code.exponents, code.left.reshape(-1), code.right.reshape(-1)]
    return found


def entropy_bytes(values: Integers) -> float:
    counts = np.unique(values, return_counts=True)[1]
    return float(-(counts * np.log2(counts / values.size)).sum()) / 8


def plain_bytes(values: Integers) -> bytes:
    return values.astype(np.int8 if np.abs(values).max(initial=0) < 128 else "<i4").tobytes()


def row(name: str, parameters: dict[str, Tensor], loss: Loss, epsilon: float) -> Row:
    started = time.process_time()
    (result,) = measure(parameters, loss, [epsilon])
    measured = time.process_time()
    decode(result.bitstream, parameters)
    decoded = time.process_time()
    rounded = result.bitstream[0] == ROUNDED
    codes = decode_codes(result.bitstream[1:-4], parameters) if rounded else {}
    shapes = {key: tuple(tensor.shape) for key, tensor in parameters.items()}
    encoding = time.process_time()
    if rounded:
        encoder = Encoder()
        code_network(encoder, shapes, codes)
        encoder.finish()
    encoded = time.process_time()
    lists = integers(codes)
    plain = b"".join(plain_bytes(values) for values in lists)
    raw_lzma = [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 0, "pb": 0}]
    return Row(
        network=name,
        epsilon=epsilon,
        complexity_bytes=result.complexity_bytes,
        measure_s=measured - started,
        encode_s=encoded - encoding,
        decode_s=decoded - measured,
        evaluations=result.evaluations,
        loss_increase=result.loss_increase,
        entropy_bytes=sum(entropy_bytes(values) for values in lists),
        lzma_bytes=len(lzma.compress(plain, lzma.FORMAT_RAW, filters=raw_lzma)),
        zstd_bytes=len(zstandard.ZstdCompressor(level=19).compress(plain)),
        bzip2_bytes=len(bz2.compress(plain)),
        public_code_bytes=PUBLIC_CODE.get((name, epsilon)),
        naive_bzip2_bytes=bzip2_bytes(parameters),
    )


def table(rows: list[Row]) -> str:
    lines = [
        "| network | epsilon | ours | entropy | LZMA | zstd-19 | bzip2 | public code | raw weights, bzip2 "
        "| measure s | encode ms | decode ms |",
        "|---|" + "---:|" * 11,
    ]
    for r in rows:
        public = f"{r.public_code_bytes:,}" if r.public_code_bytes else ""
        lines.append(
            f"| {r.network} | {r.epsilon:g} | {r.complexity_bytes:,} | {r.entropy_bytes:,.0f} | {r.lzma_bytes:,} "
            f"| {r.zstd_bytes:,} | {r.bzip2_bytes:,} | {public} | {r.naive_bzip2_bytes:,} | {r.measure_s:.2f} "
            f"| {1000 * r.encode_s:.0f} | {1000 * r.decode_s:.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="The complexity measure on known networks, beside its rivals.")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--steps", type=int, default=1500, help="optimiser steps of the small networks")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, parameters, loss in networks(arguments.steps):
        rows += [row(name, parameters, loss, epsilon) for epsilon in EPSILONS]
    if arguments.json:
        machine = {"python": platform.python_version(), "machine": platform.machine(), "threads": 1}
        print(json.dumps({"method": METHOD, "machine": machine, "rows": [asdict(r) for r in rows]}, indent=2))
    else:
        print(table(rows))


if __name__ == "__main__":
    main()
