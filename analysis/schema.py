"""Every column of every table, once: name, type, unit, meaning. Writer, reader, docs and tests use this module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 3
"""Version 2 added a checksum to each file (`analysis.checks.tables`); version 3 the table `decisions`, compacted
files, and a file that says what columns mean."""

CHECKSUMS_SINCE = 2
"""The version from which on damage to a file is noticed in any case."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a results table."""

    name: str
    type: pa.DataType
    unit: str
    meaning: str
    nullable: bool = False


_ID = pa.dictionary(pa.int32(), pa.string())
_TEXT = pa.string()
_FLOAT = pa.float64()
_INT = pa.int64()

_TRIAL_ID = Column("trial_id", _ID, "-", "hash of everything that determines the trial's weights")
_STEP = Column("step", _INT, "step", "optimiser updates done")

#: The settings that determine a task's table of all examples.
TASK: tuple[Column, ...] = (
    Column("task_family", _ID, "-", "task family, e.g. addition"),
    Column(
        "task_source",
        _ID,
        "-",
        "hash of a registered task's source, or of the data of a task read from files",
        True,
    ),
    Column("modulus", _INT, "-", "modulus of the arithmetic"),
    Column("degree", _INT, "-", "permutations of this many things are composed; empty in older results", True),
    Column("bits", _INT, "bits", "bits of an example of sparse_parity; empty in older results", True),
    Column("relevant_bits", _INT, "bits", "number of bits that make the parity; empty in older results", True),
    Column("examples", _INT, "examples", "largest number in the table; empty: the family's own default", True),
)

#: A trial's settings, flattened; these columns are in `trials` and are joined to rows by `load`.
SETTINGS: tuple[Column, ...] = (
    *TASK,
    Column("task_data", _ID, "-", "path of the files that a task was read from; not part of the id", True),
    Column("model_kind", _ID, "-", "transformer, mlp or a registered network"),
    Column("model_source", _ID, "-", "hash of a registered network's source", True),
    Column("width", _INT, "-", "width of embeddings and residual stream"),
    Column("layers", _INT, "-", "number of layers"),
    Column("heads", _INT, "-", "attention heads"),
    Column("hidden_width", _INT, "-", "width of hidden layers"),
    Column("attention", _ID, "-", "softmax, or sum (the paper's public code)"),
    Column("initial_scale", _FLOAT, "-", "factor on the initial weights"),
    Column("data_fraction", _FLOAT, "share", "share of all examples that is trained on"),
    Column("label_noise", _FLOAT, "share", "share of training labels replaced"),
    Column("weight_decay", _FLOAT, "-", "decoupled weight decay of AdamW"),
    Column("spectral_entropy_weight", _FLOAT, "-", "lambda of the spectral penalty"),
    Column("spectral_floor", _FLOAT, "-", "floor tau on singular values in the penalty's gradient"),
    Column("spectral_every", _INT, "steps", "the penalty is applied every N steps, scaled by N"),
    Column(
        "spectral_start", _ID, "step", "steps before the penalty acts, rounded up to blocks of 32, or at_decline"
    ),
    Column("weight_noise", _FLOAT, "-", "standard deviation of the weight noise"),
    Column("learning_rate", _FLOAT, "-", "learning rate of AdamW"),
    Column("adam_beta1", _FLOAT, "-", "first beta of AdamW"),
    Column("adam_beta2", _FLOAT, "-", "second beta of AdamW"),
    Column("adam_epsilon", _FLOAT, "-", "epsilon of AdamW"),
    Column(
        "batch_size",
        _INT,
        "examples",
        "examples per step as requested; 0 full batch, empty the default",
        True,
    ),
    Column("drift", _ID, "-", "exchanges of the training set, `step: {differences}`; empty text without drift"),
    Column("seed", _INT, "-", "seed of every random stream"),
)

ROWS: tuple[Column, ...] = (
    _TRIAL_ID,
    _STEP,
    Column("weight_decay", _FLOAT, "-", "decoupled weight decay of AdamW"),
    Column("data_fraction", _FLOAT, "share", "share of all examples that is trained on"),
    Column("spectral_entropy_weight", _FLOAT, "-", "lambda of the spectral penalty"),
    Column("seed", _INT, "-", "seed of every random stream"),
    Column("train_loss", _FLOAT, "nats/example", "training cross-entropy, without penalty"),
    Column("val_loss", _FLOAT, "nats/example", "validation cross-entropy, without penalty"),
    Column("train_accuracy", _FLOAT, "share", "training accuracy"),
    Column("val_accuracy", _FLOAT, "share", "validation accuracy"),
    Column("complexity_bytes", _INT, "bytes", "complexity at the primary epsilon; empty where not measured", True),
    Column(
        "description_length_bits",
        _FLOAT,
        "bits",
        "8 complexity_bytes + bits of the training labels given the decoded network; empty where not measured",
        True,
    ),
    Column("zstd_bytes", _INT, "bytes", "zstd of the raw float32 weights"),
    Column("l2_norm", _FLOAT, "-", "L2 norm of all weights"),
    Column("spectral_entropy", _FLOAT, "nats", "mean spectral entropy over all matrices"),
    Column("effective_rank", _FLOAT, "-", "mean over all matrices of exp(spectral entropy)"),
    Column("train_wall_s", _FLOAT, "s", "seconds of training so far, a lane's share of its blocks"),
    Column("measure_wall_s", _FLOAT, "s", "seconds of evaluating and measuring so far"),
    Column(
        "clean_train_accuracy",
        _FLOAT,
        "share",
        "accuracy on training examples whose label is right; empty if there are none",
        True,
    ),
    Column(
        "corrupted_train_accuracy",
        _FLOAT,
        "share",
        "share of replaced training labels that are answered (memorised); empty without label noise",
        True,
    ),
    Column(
        "recovered_train_accuracy",
        _FLOAT,
        "share",
        "share of replaced training labels answered correctly (generalised); empty without label noise",
        True,
    ),
    Column(
        "group_train_accuracy",
        _FLOAT,
        "share",
        "training accuracy on the task's sensitive or rare group; empty if there is none",
        True,
    ),
    Column(
        "group_val_accuracy",
        _FLOAT,
        "share",
        "validation accuracy on the task's sensitive or rare group; empty if there is none",
        True,
    ),
    Column("phase", _INT, "-", "exchanges of the training set before this step; 0 without drift"),
    Column("phase_start_step", _INT, "step", "steps done when the phase began"),
    Column("phase_end_step", _INT, "step", "steps done when the phase ends: at the next exchange, or the budget"),
    Column(
        "logit_scale",
        _FLOAT,
        "-",
        "mean Euclidean norm of the logits over training and validation examples; empty in older results",
        True,
    ),
)

COMPLEXITY: tuple[Column, ...] = (
    _TRIAL_ID,
    _STEP,
    Column("epsilon", _FLOAT, "nats/example", "distortion bound"),
    Column("complexity_bytes", _INT, "bytes", "length of the decodable bitstream"),
    Column("loss_increase", _FLOAT, "nats/example", "training loss of the decoded network minus the network's"),
    Column("train_loss", _FLOAT, "nats/example", "training loss of the decoded network"),
    Column("train_accuracy", _FLOAT, "share", "training accuracy of the decoded network"),
    Column("val_accuracy", _FLOAT, "share", "validation accuracy of the decoded network"),
    Column(
        "group_val_accuracy",
        _FLOAT,
        "share",
        "its validation accuracy on the task's sensitive or rare group; empty if there is none",
        True,
    ),
    Column("evaluations", _INT, "-", "candidates whose training loss was computed"),
    Column("method", _ID, "-", "complexity method and version"),
    Column("wall_s", _FLOAT, "s", "seconds this measurement took"),
)

MATRICES: tuple[Column, ...] = (
    _TRIAL_ID,
    _STEP,
    Column("matrix", _ID, "-", "name of the weight matrix"),
    Column("rows", _INT, "-", "rows of the matrix"),
    Column("columns", _INT, "-", "columns of the matrix"),
    Column("spectral_entropy", _FLOAT, "nats", "-sum p ln p of the normalised singular values"),
    Column("effective_rank", _FLOAT, "-", "exp(spectral entropy)"),
    Column("frobenius_norm", _FLOAT, "-", "Frobenius norm"),
)

TRIALS: tuple[Column, ...] = (
    _TRIAL_ID,
    Column("cohort_id", _ID, "-", "cohort that trained it"),
    *SETTINGS,
    Column("budget_steps", _INT, "step", "steps the trial was allowed"),
    Column("ended_because", _ID, "-", "grokked, budget, stopped, diverged or failed"),
    Column("ended_at_step", _INT, "step", "last evaluated step; 0 if it never reported"),
    Column("ended_reason", _TEXT, "-", "one sentence"),
    Column("spectral_started_at_step", _INT, "step", "where the penalty began to act; empty if it never did", True),
    Column(
        "stop_probability",
        _FLOAT,
        "share",
        "rule's probability that a stopped trial would have declined (decline) or grokked (park)",
        True,
    ),
    Column("audited", pa.bool_(), "-", "in the audit share: never stopped, only marked"),
    Column("marked_at_step", _INT, "step", "where the rule would have stopped an audited trial", True),
    Column("parked", pa.bool_(), "-", "ended while it was parked, so that a later run can continue it", True),
    Column("stop_rule", _ID, "-", "name, version and parameters of the stopping rule, or none"),
    Column("memorised_at", _FLOAT, "share", "training accuracy that counts as memorised"),
    Column("grokked_at", _FLOAT, "share", "validation accuracy that counts as grokked"),
    Column("epsilon", _FLOAT, "nats/example", "primary distortion bound"),
    Column("complexity_method", _ID, "-", "complexity method and version"),
    Column("parameters", _INT, "-", "number of weights"),
    Column("training_examples", _INT, "examples", "size of the training set"),
    Column("validation_examples", _INT, "examples", "size of the validation set"),
    Column("classes", _INT, "-", "number of classes of the task"),
    Column("bzip2_bytes", _INT, "bytes", "bzip2 of the raw float32 weights at the end", True),
    Column("train_wall_s", _FLOAT, "s", "seconds of training"),
    Column("measure_wall_s", _FLOAT, "s", "seconds of evaluating and measuring"),
    Column("device", _ID, "-", "device it was trained on"),
    Column("threads", _INT, "-", "CPU threads of the process"),
    Column(
        "reproducible",
        _ID,
        "-",
        "same bits in any company: across machines, here (this kind of processor) or no; empty in older results",
        True,
    ),
    Column("torch_version", _ID, "-", "version of torch"),
    Column("zstd_version", _ID, "-", "version of the zstd library"),
    Column("package_version", _ID, "-", "version of grokking-sweep"),
)

DECISIONS: tuple[Column, ...] = (
    _TRIAL_ID,
    _STEP,
    Column("decision", _ID, "-", "parked, given up (parked, its patience over), resumed, or marked (audited)"),
    Column("stalled_since_step", _INT, "step", "first of the evaluations in a row without progress", True),
    Column("loss_change", _FLOAT, "share", "change of validation loss over its last factor of steps", True),
    Column("complexity_change", _FLOAT, "share", "change of complexity over its last factor of steps", True),
    Column("cell_grokked", _INT, "trials", "other seeds of the setting known to have grokked"),
    Column("cell_failed", _INT, "trials", "other seeds of the setting known to have failed by far"),
    Column("patience", _FLOAT, "share", "share of the budget after which it is given up, by this evidence"),
)

NETWORKS: tuple[Column, ...] = (
    _TRIAL_ID,
    _STEP,
    Column("safetensors", pa.large_binary(), "bytes", "the weights as a safetensors file"),
)

TABLES: dict[str, tuple[Column, ...]] = {
    "rows": ROWS,
    "complexity": COMPLEXITY,
    "matrices": MATRICES,
    "trials": TRIALS,
    "decisions": DECISIONS,
    "networks": NETWORKS,
}

#: The columns that `generalisation_bounds` adds to the table `complexity`; computed on request and never stored.
BOUNDS: tuple[Column, ...] = (
    Column(
        "code_bits", _FLOAT, "bits", "prefix-free code of the decoded network: stream, its length, architecture"
    ),
    Column("training_errors", _FLOAT, "examples", "its wrong training answers, and all replaced training labels"),
    Column("unseen_error_bound", _FLOAT, "share", "bound on its error on the examples not trained on"),
    Column("unseen_error", _FLOAT, "share", "its real error on those examples, 1 - val_accuracy"),
    Column("chance_error", _FLOAT, "share", "error of guessing, and of a look-up table on unseen examples"),
    Column("lookup_table_bits", _FLOAT, "bits", "a look-up table of the training labels"),
    Column("lookup_table_error_bound", _FLOAT, "share", "unseen_error_bound of that look-up table"),
    Column("all_error_bound", _FLOAT, "share", "bound on its error on all examples, trained on or not"),
    Column("lookup_table_all_error", _FLOAT, "share", "real error of the look-up table on all examples"),
    Column("binary_kl_bound", _FLOAT, "share", "bound on its error on all examples by the binary KL inverse"),
    Column("paper_bound", _FLOAT, "share", "bound on its error on all examples as in arXiv 2412.09810"),
)


def arrow_schema(table: str) -> pa.Schema:
    """Return the Arrow schema of a table.

    Raises:
        KeyError: no table has that name; the names are the keys of `TABLES`.
    """
    return pa.schema(
        [pa.field(column.name, column.type, nullable=column.nullable) for column in TABLES[table]],
        metadata={"schema_version": str(SCHEMA_VERSION), "table": table},
    )


def meanings() -> dict[str, dict[str, dict[str, str]]]:
    """Return table -> column -> its unit and its meaning, which a results folder has beside its tables."""
    return {
        table: {column.name: {"unit": column.unit, "meaning": column.meaning} for column in columns}
        for table, columns in TABLES.items()
    }


class Texts(dict[str, str]):
    """Words by column, in the `attrs` of a frame, of which pandas makes a deep copy for each column taken."""

    def __deepcopy__(self, _memo: dict[int, Any]) -> Texts:
        """Return a copy; its texts cannot change, and so are not copied."""
        return Texts(self)


def described(frame: pd.DataFrame, *tables: str) -> pd.DataFrame:
    """Say in the frame's `attrs` what its columns mean: `units` and `meanings`, by column.

    Args:
        frame: columns that the schema does not have are left out.
        tables: the tables whose columns it has; for a column of several of them the last one counts.
    """
    known = {column.name: column for table in tables for column in TABLES[table] if column.name in frame.columns}
    frame.attrs["units"] = Texts((name, column.unit) for name, column in known.items())
    frame.attrs["meanings"] = Texts((name, column.meaning) for name, column in known.items())
    return frame
