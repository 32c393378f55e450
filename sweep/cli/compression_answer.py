"""The answer of `sweep compress`: what it wrote, and the accuracies before and after."""

from __future__ import annotations

import math
from typing import Any

from analysis.compression.advice import bound_words
from trainables.networks.keeping import KeptAccuracy
from trainables.networks.measure import DecodedNetwork
from trainables.scoring import Scores

_NAMES = {"train_accuracy": "training", "val_accuracy": "validation"}
"""Accuracies of the answer, and what people call them."""


def answer(
    file: str, file_bytes: int, original: Scores, decoded: DecodedNetwork, kept: KeptAccuracy | None
) -> dict[str, Any]:
    """Collect what is known about a compressed network; `kept` if an accuracy was to be kept.

    The length of the stream is the network's complexity only where the loss was bounded.
    """
    by_loss = decoded.bound == "loss"
    facts = {
        "file": file,
        "file_bytes": file_bytes,
        "stream_bytes": len(decoded.result.bitstream),
        "complexity_bytes": decoded.result.complexity_bytes if by_loss else None,
        "bound": decoded.bound,
        "epsilon": decoded.result.epsilon,
        "loss_increase": decoded.scores.train_loss - original.train_loss,
        "divergence": None if by_loss else decoded.result.loss_increase,
        **{name: getattr(decoded.scores, name) for name in _NAMES},
        **{f"original_{name}": getattr(original, name) for name in _NAMES},
    }
    if kept is not None:
        facts["kept"] = [word for word in _NAMES.values() if getattr(kept, word)]
    return facts


def text(facts: dict[str, Any], keep_accuracy: float | None) -> str:
    """Write the answer for people; `keep_accuracy` is the accuracy that was to be kept, if one was."""
    described = facts["file_bytes"] - facts["stream_bytes"]
    pairs = (
        f"{_share(facts[f'original_{name}'])} -> {_share(facts[name])} in {word}" for name, word in _NAMES.items()
    )
    lines = [
        f"{facts['file']}: {facts['file_bytes']:,} bytes, {described:,} of them to describe the network; its "
        f"training loss is {facts['loss_increase']:.4g} nats above the original's",
        f"accuracy {', '.join(pairs)}",
    ]
    if keep_accuracy is not None:
        lines.append(
            f"{bound_words(facts)} is the largest found that keeps {' and '.join(facts['kept'])} accuracy "
            f"at {keep_accuracy:g}; accuracy need not fall evenly with epsilon, so a larger one may keep it, too"
        )
    return "\n".join(lines)


def warning(network: str, facts: dict[str, Any]) -> str | None:
    """Say which accuracies fall and what to do, or return None."""
    falls = [
        f"{word} accuracy falls from {facts[f'original_{name}']:.4f} to {facts[name]:.4f}"
        for name, word in _NAMES.items()
        if facts[name] < facts[f"original_{name}"]
    ]
    if not falls:
        return None
    return (
        f"{network}: {' and '.join(falls)} at {bound_words(facts)}; instead of --epsilon, "
        "--keep-accuracy .99 finds the largest epsilon that keeps this accuracy"
    )


def _share(value: float) -> str:
    """Write a share; a dash where there are no examples to take it of."""
    return "–" if math.isnan(value) else f"{value:.4f}"
