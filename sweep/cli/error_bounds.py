"""Bounds on the error of one network on unseen examples, as printed by the commands."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from analysis.bounds import DELTA, architecture_bits
from analysis.bounds.tables import network_bounds
from analysis.schema import BOUNDS

if TYPE_CHECKING:
    from trainables.networks import LoadedNetwork
    from trainables.scoring import Scores


def error_bounds(
    loaded: LoadedNetwork, stream_bytes: int, decoded: Scores, delta: float = DELTA
) -> dict[str, float]:
    """Compute `analysis.network_bounds` for a stream; NaN where there are no unseen examples.

    Args:
        loaded: the network with its training examples, drawn evenly from all its examples.
        stream_bytes: length of the stream.
        decoded: losses and accuracies of the decoded network.
        delta: probability that the bounds do not hold.

    Raises:
        AnalysisError: delta is not a probability.
    """
    if not len(loaded.validation):
        return {column.name: math.nan for column in BOUNDS}
    model = loaded.model
    bounds = network_bounds(
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
    return {name: float(value) for name, value in bounds.items()}


def sentence(bounds: dict[str, float], delta: float) -> str:
    """Say what the bound means, next to chance and a look-up table."""
    bound, chance = bounds["unseen_error_bound"], bounds["chance_error"]
    if math.isnan(bound):
        return "There are no examples that were not trained on, so nothing about them is to be proved."
    says = "below chance" if bound < chance else "which says nothing: guessing does as well"
    return (
        f"With probability {1 - delta:g} over the draw of the training examples at most {bound:.4f} of the answers "
        f"on unseen examples are wrong ({bounds['unseen_error']:.4f} are), {says}. Chance is {chance:.4f}, as is a "
        f"look-up table of the training labels, whose bound is {bounds['lookup_table_error_bound']:.4f}."
    )
