"""Bounds on the error of one network on examples it was not trained on, as the commands answer them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.bounds import DELTA, architecture_bits
from analysis.bounds.tables import network_bounds

if TYPE_CHECKING:
    from trainables.evaluate import Scores
    from trainables.networks import LoadedNetwork


def error_bounds(
    loaded: LoadedNetwork, stream_bytes: int, decoded: Scores, delta: float = DELTA
) -> dict[str, float]:
    """What `analysis.network_bounds` says of a stream.

    Args:
        loaded: the network whose examples were trained on, drawn evenly from all it has.
        stream_bytes: length of the stream.
        decoded: what the network it decodes to gets right.
        delta: probability that the bounds do not hold.

    Raises:
        AnalysisError: delta is no probability.
    """
    model = loaded.model
    found = network_bounds(
        complexity_bytes=stream_bytes,
        train_accuracy=decoded.train_accuracy,
        val_accuracy=decoded.val_accuracy,
        training_examples=len(loaded.train),
        validation_examples=len(loaded.validation),
        classes=loaded.classes,
        replaced_labels=loaded.replaced_labels,
        told_bits=architecture_bits(
            model.width, model.depth, model.heads if model.kind == "transformer" else 1, model.hidden
        ),
        delta=delta,
    )
    return {name: float(value) for name, value in found.items()}


def sentence(bounds: dict[str, float], delta: float) -> str:
    """What the bound says, beside chance and a look-up table."""
    bound, chance = bounds["unseen_error_bound"], bounds["chance_error"]
    says = "below chance" if bound < chance else "which says nothing: guessing does as well"
    return (
        f"With probability {1 - delta:g} over the draw of the training examples at most {bound:.4f} of the answers "
        f"on unseen examples are wrong ({bounds['unseen_error']:.4f} are), {says}. Chance is {chance:.4f}, as is a "
        f"look-up table of the training labels, whose bound is {bounds['lookup_table_error_bound']:.4f}."
    )
