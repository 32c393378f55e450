"""Generalisation bounds that the measured complexities of a sweep prove for unseen examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.bounds.formulas import (
    DELTA,
    all_error_bound,
    architecture_bits,
    binary_kl_bound,
    chance_error,
    lookup_table_bits,
    paper_bound,
    stream_bits,
    unseen_error_bound,
)
from analysis.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

_MEASURED = ("trial_id", "complexity_bytes", "train_accuracy", "val_accuracy")
_ARCHITECTURE = ("width", "layers", "heads", "hidden_width")
_FACTS = ("training_examples", "validation_examples", "classes", "label_noise", *_ARCHITECTURE)


def generalisation_bounds(measured: pd.DataFrame, trials: pd.DataFrame, delta: float = DELTA) -> pd.DataFrame:
    """Bound the error of every decoded network, at each measured step and for each epsilon.

        analysis.generalisation_bounds(analysis.complexity(path), analysis.trials(path))

    The bounds are about the decoded networks. The code of a network is its stream, the number of its bytes and the
    architecture, see `analysis.bounds`. Whatever the decoder does not need costs nothing: weight decay and all
    other settings of the training, the step, epsilon, the search budget. So for one training set (one seed, one
    data fraction) all bounds on unseen examples hold together with probability 1 - delta, and the best row may be
    picked; for S seeds they hold together at delta / S each.

    Args:
        measured: a frame from `analysis.complexity`; `trial_id`, `complexity_bytes`, `train_accuracy` and
            `val_accuracy` are needed, other columns are kept.
        trials: a frame from `analysis.trials`.
        delta: probability, over the draw of the training examples, that the bounds do not hold.

    Returns:
        The rows of `measured` in their order, with the columns of `analysis.schema.BOUNDS` appended, all of them
        float; NaN for trials that are not in `trials` because they have not ended. The looser bounds are for
        comparison: each holds with probability 1 - delta by itself.

    Raises:
        AnalysisError: a needed column is missing, or delta is not a probability.
    """
    from analysis.schema import BOUNDS

    _require("what was measured", measured, _MEASURED)
    _require("the trials", trials, ("trial_id", "model_kind", *_FACTS))
    facts = trials[list(_FACTS)].astype(np.float64).set_axis(trials["trial_id"].astype("str"), axis=0)
    # An MLP has no heads that the decoder must be told.
    facts["heads"] = facts["heads"].where((trials["model_kind"] != "mlp").to_numpy(), 1.0)
    facts = facts.reindex(measured["trial_id"].astype("str"))
    known = facts.notna().all(axis=1).to_numpy()

    of_trials = {name: facts[name].to_numpy()[known] for name in _FACTS}
    label_noise = of_trials.pop("label_noise")
    bounds_of = network_bounds(
        **{name: measured[name].to_numpy(dtype=np.float64)[known] for name in _MEASURED[1:]},
        told_bits=architecture_bits(**{name: of_trials.pop(name) for name in _ARCHITECTURE}),
        # The same rounding as in `trainables`, which replaces this share of the labels.
        replaced_labels=np.rint(label_noise * of_trials["training_examples"]),
        **of_trials,
        delta=delta,
    )
    result = measured.copy()
    for column in BOUNDS:
        values = np.full(len(measured), np.nan)
        values[known] = bounds_of[column.name]
        result[column.name] = values
    return result


def network_bounds(
    *,
    complexity_bytes: ArrayLike,
    train_accuracy: ArrayLike,
    val_accuracy: ArrayLike,
    training_examples: ArrayLike,
    validation_examples: ArrayLike,
    classes: ArrayLike,
    replaced_labels: ArrayLike,
    told_bits: ArrayLike,
    delta: float = DELTA,
) -> dict[str, NDArray[np.float64]]:
    """Compute the columns of `analysis.schema.BOUNDS` for networks outside the tables of a sweep.

    Args:
        complexity_bytes: length of the stream; all arguments but `delta` broadcast against each other.
        train_accuracy: accuracy of the decoded network on the labels trained on, a share.
        val_accuracy: accuracy of the decoded network on the other examples, a share.
        training_examples: number of examples trained on, drawn evenly from all.
        validation_examples: number of the other examples.
        classes: number of the task's classes.
        replaced_labels: number of training examples whose label is not the right one.
        told_bits: bits that the decoder needs besides the stream, see `analysis.bounds.architecture_bits`.
        delta: probability, over the draw, that the bounds do not hold.

    Raises:
        AnalysisError: impossible numbers, see `analysis.bounds`.
    """
    size, accuracy, n, unseen, replaced, told = (
        np.asarray(values, dtype=np.float64)
        for values in (
            complexity_bytes,
            train_accuracy,
            training_examples,
            validation_examples,
            replaced_labels,
            told_bits,
        )
    )
    bits = stream_bits(size, told)
    # A wrong label that the network has learnt counts as correct there; in the worst case it has learnt all of
    # them.
    errors = np.minimum(np.rint((1 - accuracy) * n) + replaced, n)
    table_bits = lookup_table_bits(n, classes)
    return {
        "code_bits": bits,
        "training_errors": errors,
        "unseen_error_bound": unseen_error_bound(bits, errors, n, n + unseen, delta),
        "unseen_error": 1 - np.asarray(val_accuracy, dtype=np.float64),
        "chance_error": chance_error(classes),
        "lookup_table_bits": table_bits,
        "lookup_table_error_bound": unseen_error_bound(table_bits, replaced, n, n + unseen, delta),
        "all_error_bound": all_error_bound(bits, errors, n, n + unseen, delta),
        "lookup_table_all_error": unseen / (n + unseen) * chance_error(classes),
        "binary_kl_bound": binary_kl_bound(bits, errors, n, delta),
        "paper_bound": paper_bound(8 * size + told, errors, n, delta),
    }


def _require(what: str, frame: pd.DataFrame, names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise AnalysisError(
            f"bounds need the columns {', '.join(names)} of {what}; {', '.join(missing)} missing; load them too"
        )
