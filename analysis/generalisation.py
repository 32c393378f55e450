"""What the measured complexities of a sweep prove about examples that were not trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.bounds import (
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
    """Bounds on the error of every decoded network: at each measured step, for each epsilon.

        analysis.generalisation_bounds(analysis.complexity(path), analysis.trials(path))

    The network is the decoded one throughout. Its code is its stream, the number of its bytes and the architecture,
    see `analysis.bounds`. What the decoder does not need is free: weight decay and
    all else of the training, the step, epsilon, the search budget. So for one training set (one seed, one data
    fraction) all bounds on unseen examples hold together with probability 1 - delta, and the best row may be
    picked; for S seeds they do at delta / S.

    Args:
        measured: as `analysis.complexity` gives it; `trial_id`, `complexity_bytes`, `train_accuracy` and
            `val_accuracy` are needed, what else there is stays.
        trials: as `analysis.trials` gives it.
        delta: probability, over the draw of the training examples, that the bounds do not hold.

    Returns:
        The rows of `measured` in their order, with the columns of `analysis.schema.BOUNDS` appended, all of them
        float; NaN for trials that are not in `trials` because they have not ended. The looser bounds are for
        comparison: each holds with probability 1 - delta by itself.

    Raises:
        AnalysisError: a needed column is missing, or delta is no probability.
    """
    from analysis.schema import BOUNDS

    _require("what was measured", measured, _MEASURED)
    _require("the trials", trials, ("trial_id", "model_kind", *_FACTS))
    facts = trials[list(_FACTS)].astype(np.float64).set_axis(trials["trial_id"].astype("str"), axis=0)
    # An MLP has no heads to tell the decoder of.
    facts["heads"] = facts["heads"].where((trials["model_kind"] != "mlp").to_numpy(), 1.0)
    facts = facts.reindex(measured["trial_id"].astype("str"))
    known = facts.notna().all(axis=1).to_numpy()

    found = _bounds(
        *(measured[name].to_numpy(dtype=np.float64)[known] for name in _MEASURED[1:]),
        *(facts[name].to_numpy()[known] for name in _FACTS),
        delta=delta,
    )
    result = measured.copy()
    for column in BOUNDS:
        values = np.full(len(measured), np.nan)
        values[known] = found[column.name]
        result[column.name] = values
    return result


def _bounds(
    complexity_bytes: NDArray[np.float64],
    train_accuracy: NDArray[np.float64],
    val_accuracy: NDArray[np.float64],
    n: NDArray[np.float64],
    unseen: NDArray[np.float64],
    classes: NDArray[np.float64],
    label_noise: NDArray[np.float64],
    *architecture: NDArray[np.float64],
    delta: float,
) -> dict[str, NDArray[np.float64]]:
    """Column name -> values [R]."""
    told = architecture_bits(*architecture)
    bits = stream_bits(complexity_bytes, told)
    # A network that has learnt a replaced label counts as right there: at worst it has learnt them all.
    replaced = np.rint(label_noise * n)
    errors = np.minimum(np.rint((1 - train_accuracy) * n) + replaced, n)
    table_bits = lookup_table_bits(n, classes)
    return {
        "code_bits": bits,
        "training_errors": errors,
        "unseen_error_bound": unseen_error_bound(bits, errors, n, n + unseen, delta),
        "unseen_error": 1 - val_accuracy,
        "chance_error": chance_error(classes),
        "lookup_table_bits": table_bits,
        "lookup_table_error_bound": unseen_error_bound(table_bits, replaced, n, n + unseen, delta),
        "all_error_bound": all_error_bound(bits, errors, n, n + unseen, delta),
        "binary_kl_bound": binary_kl_bound(bits, errors, n, delta),
        "paper_bound": paper_bound(8 * complexity_bytes + told, errors, n, delta),
    }


def _require(what: str, frame: pd.DataFrame, names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise AnalysisError(
            f"bounds need of {what} the columns {', '.join(names)}; {', '.join(missing)} missing; load them too"
        )
