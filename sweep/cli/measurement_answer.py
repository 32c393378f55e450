"""The answer of `sweep measure`, as JSON and as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from analysis.bounds import DELTA
from sweep.cli.error_bounds import error_bounds
from trainables.complexity import METHOD
from trainables.networks import LoadedNetwork
from trainables.networks.measure import DecodedNetwork, scores
from trainables.sizes import bzip2_bytes

#: A training loss above this share of the loss of guessing suggests that the network was run as another one.
NEARLY_GUESSING = 0.8


def answer(
    name: str, loaded: LoadedNetwork, decoded: Sequence[DecodedNetwork], files: Sequence[str | None]
) -> dict[str, Any]:
    """Collect all facts about a network and its streams; `files` are the paths of the streams, if written."""
    own = scores(loaded, loaded.parameters)
    return {
        "network": name,
        "method": METHOD,
        "attention": loaded.model.attention if loaded.model.kind == "transformer" else None,
        "parameters": sum(weight.numel() for weight in loaded.parameters.values()),
        "naive_bzip2_bytes": bzip2_bytes(loaded.parameters),
        "train_loss": own.train_loss,
        "train_accuracy": own.train_accuracy,
        "val_loss": own.val_loss,
        "val_accuracy": own.val_accuracy,
        "delta": DELTA,
        "measurements": [
            _measurement(entry, file) | error_bounds(loaded, entry.result.complexity_bytes, entry.scores)
            for entry, file in zip(decoded, files, strict=True)
        ],
    }


def doubt(loaded: LoadedNetwork, train_loss: float) -> str | None:
    """Say why the numbers may belong to another function than the trained one, or return None."""
    classes = loaded.classes
    if loaded.model.kind != "transformer" or train_loss <= NEARLY_GUESSING * math.log(classes):
        return None
    return (
        f"the training loss is {train_loss:.3g} nats, about that of guessing one of {classes} classes; if the "
        f"network has learnt more, it was trained with another attention than {loaded.model.attention!r}: see "
        "--attention"
    )


def table(known: dict[str, Any]) -> str:
    """Write the answer as a table for people."""
    lines = [
        f"{known['network']}: {known['parameters']:,} weights, {known['naive_bzip2_bytes']:,} bytes under bzip2",
        f"training loss {known['train_loss']:.4g} nats; accuracy {known['train_accuracy']:.4f} in training, "
        f"{_share(known['val_accuracy'])} in validation",
        "",
        " epsilon  complexity  bzip2 over      loss   training  validation  unseen error",
        "    nats       bytes        ours  increase   accuracy    accuracy       at most   seconds",
    ]
    for entry in known["measurements"]:
        size = entry["complexity_bytes"]
        lines.append(
            f"{entry['epsilon']:>8g}{size:>12,}{known['naive_bzip2_bytes'] / size:>12.1f}"
            f"{entry['loss_increase']:>10.4f}{entry['train_accuracy']:>11.4f}{_share(entry['val_accuracy']):>12}"
            f"{_share(entry['unseen_error_bound']):>14}{entry['wall_s']:>10.2f}"
        )
    files = [entry["bitstream"] for entry in known["measurements"] if entry["bitstream"] is not None]
    return "\n".join([*lines, *(["", *files] if files else [])])


def _share(value: float) -> str:
    """Write a share; a dash where there are no examples to take it of."""
    return "–" if math.isnan(value) else f"{value:.4f}"


def _measurement(entry: DecodedNetwork, file: str | None) -> dict[str, Any]:
    result = entry.result
    return {
        "epsilon": result.epsilon,
        "complexity_bytes": result.complexity_bytes,
        "bitstream": file,
        "loss_increase": result.loss_increase,
        "train_loss": entry.scores.train_loss,
        "train_accuracy": entry.scores.train_accuracy,
        "val_accuracy": entry.scores.val_accuracy,
        "evaluations": result.evaluations,
        "wall_s": result.wall_s,
        "bytes_by_tensor": dict(result.bytes_by_tensor),
    }
