"""Checkpoints altered at random: each must be refused by `CheckpointError` in one line, and nothing else happens.

    python benchmarks/mutated_checkpoints.py [--count 2000] [--seed 0]

Half of them are checkpoints of today, which must all be refused; half were written without a checksum, by the
version before. Of those some alterations of weights cannot be noticed; such a run must resume and train.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from safetensors.torch import load, save

from trainables import ModelConfig, TaskConfig, TrialConfig
from trainables.errors import CheckpointError
from trainables.lanes import LaneRun
from trainables.schedule import MeasuringConfig

MEASURING = MeasuringConfig(measure_ratio=1e6)

UNLIKELY = (None, True, -1, 0, 1, 2**40, -(10**30), 1.5, float("nan"), 1e308, "", "x" * 300, [], {}, [[]], {"a": 1})
"""Values put in the place of others."""


def trials() -> list[TrialConfig]:
    """Make three trials that fit into milliseconds."""
    return [
        TrialConfig(
            task=TaskConfig(modulus=7), model=ModelConfig(kind="mlp", width=4, layers=1), steps=96, seed=seed
        )
        for seed in range(3)
    ]


def checkpoint() -> bytes:
    """Return the checkpoint of a run of these trials in which two are running."""
    run = LaneRun(trials(), lanes=2, measuring=MEASURING)
    run.advance(1)
    return run.save()


def without_checksum(data: bytes) -> bytes:
    """Return a checkpoint as the version before wrote it."""
    tensors = load(data)
    return with_state(tensors, {**state_of(tensors), "format_version": 4})


def state_of(tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Read the JSON part."""
    state: dict[str, Any] = json.loads(tensors["state"].numpy().tobytes())
    return state


def with_state(tensors: dict[str, torch.Tensor], state: Any) -> bytes:
    """Write the tensors with another JSON part, without a checksum."""
    text = json.dumps(state).encode()
    data: bytes = save({**tensors, "state": torch.frombuffer(bytearray(text), dtype=torch.uint8)})
    return data


def mutated(data: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Alter a checkpoint in `count` ways; yield the kind of alteration and the bytes, which differ from `data`."""
    draw = random.Random(seed)
    kinds = (_bytes_altered, _bytes_at_the_front, _cut, _grown, _value_replaced, _tensor_replaced)
    made = 0
    while made < count:
        kind = kinds[made % len(kinds)]
        other = kind(data, draw)
        if other != data:
            made += 1
            yield kind.__name__[1:], other


def _bytes_altered(data: bytes, draw: random.Random) -> bytes:
    altered = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 8))):
        altered[draw.randrange(len(altered))] ^= 1 << draw.randrange(8)
    return bytes(altered)


def _bytes_at_the_front(data: bytes, draw: random.Random) -> bytes:
    altered = bytearray(data)
    altered[draw.randrange(400)] = draw.randrange(256)
    return bytes(altered)


def _cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def _grown(data: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(data))
    return data[:place] + draw.randbytes(draw.randrange(1, 20)) + data[place:]


def _value_replaced(data: bytes, draw: random.Random) -> bytes:
    """Replace a value of the JSON part, at any depth."""
    tensors = load(data)
    holder: Any = {"state": state_of(tensors)}
    root, key = holder, "state"
    while isinstance(holder[key], (dict, list)) and holder[key] and (key == "state" or draw.random() < 0.9):
        holder = holder[key]
        key = draw.choice(list(holder)) if isinstance(holder, dict) else draw.randrange(len(holder))
    if draw.random() < 0.2 and holder is not root:
        del holder[key]
    else:
        holder[key] = draw.choice(UNLIKELY)
    return with_state(tensors, root["state"])


def _tensor_replaced(data: bytes, draw: random.Random) -> bytes:
    """Give a tensor another shape, type or name, or remove it."""
    tensors = load(data)
    name = draw.choice(list(tensors))
    tensor = tensors.pop(name)
    other = draw.choice((name, name, name, f"{name}x", None))
    if other is not None:
        tensors[other] = draw.choice(
            (
                tensor[1:].contiguous(),
                tensor.flatten(),
                tensor.double(),
                tensor.to(torch.int8),
                tensor.bfloat16(),
                tensor[None].clone(),
                torch.empty(0),
            )
        )
    return save(tensors)  # type: ignore[no-any-return]


def outcome(data: bytes) -> str:
    """Restore a checkpoint and train a block; return `refused` or `resumed`, and let no other error pass."""
    try:
        run = LaneRun.restore(data, trials(), measuring=MEASURING)
    except CheckpointError as error:
        if "\n" in str(error) or len(str(error)) > 1000:
            raise AssertionError(f"an error must be one short line, got {error}") from error
        return "refused"
    run.advance(1)
    return "resumed"


def main() -> None:
    """Print the number of outcomes of each kind of alteration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    today = checkpoint()
    for name, data in (("today", today), ("without checksum", without_checksum(today))):
        counts: Counter[tuple[str, str]] = Counter()
        for kind, altered in mutated(data, options.count // 2, options.seed):
            counts[kind, outcome(altered)] += 1
        for (kind, what), number in sorted(counts.items()):
            print(f"{name:17} {kind:20} {what:8} {number:5}")


if __name__ == "__main__":
    main()
