"""Files of other tools, recognised by their names and keys: one line says what a file is, not one for each key."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

HOW_HERE: Final = "here an axis is written as `weight_decay: [0, 1]` and a fixed value as `steps: 20000`"

_SUFFIXES: Final = {
    ".py": "a Python file",
    ".ipynb": "a notebook",
    ".sbatch": "a Slurm script",
    ".slurm": "a Slurm script",
    ".sh": "a shell script",
    ".csv": "a table",
    ".parquet": "a table",
}

_KEYS: Final = (
    ("a sweep of Weights & Biases", 2, {"method", "metric", "parameters", "program", "command", "early_terminate"}),
    ("a configuration of Hydra", 1, {"hydra", "defaults"}),
    ("a cluster file of Ray", 1, {"cluster_name", "available_node_types", "head_node_type"}),
    ("an experiment of Ray Tune", 1, {"param_space", "tune_config", "run_config", "num_samples"}),
    ("a study of Optuna", 1, {"study_name", "n_trials"}),
    (
        "a file of results",
        2,
        {
            "trial_id",
            "trials",
            "cohort_id",
            "schema_version",
            "training_iteration",
            "step",
            "train_loss",
            "val_loss",
            "val_accuracy",
        },
    ),
)
"""What a file is, and how many of which keys tell it. None is a key of a specification."""


def foreign_text(suffix: str, text: str) -> str | None:
    """Return what a file that is not YAML is, such as `a Slurm script`; None if it may be a specification.

    Args:
        suffix: the end of the file's name, with the dot.
        text: its text.
    """
    lines = text.splitlines()[:100]
    if any(line.startswith("#SBATCH") for line in lines):
        return "a Slurm script"
    if suffix.lower() in _SUFFIXES:
        return _SUFFIXES[suffix.lower()]
    if lines and lines[0].startswith("#!"):
        return "a Python file" if "python" in lines[0] else "a shell script"
    if any(line.startswith(("import ", "def ", "class ")) or _is_from_import(line) for line in lines):
        return "a Python file"
    if lines and lines[0].startswith("{") and len(lines) > 1 and lines[1].startswith("{"):
        return "a file of results"  # JSON lines, as Ray Tune writes them
    if lines and lines[0].startswith("["):
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return None
        return "a file of results"
    return None


def foreign_keys(keys: Iterable[str]) -> str | None:
    """Return which tool's file has these keys at its top; None if no known one does."""
    there = set(keys)
    return next((kind for kind, needed, known in _KEYS if len(known & there) >= needed), None)


def not_a_specification(kind: str, expected: str = "a specification") -> str:
    """Return the message about a file of another kind, and how a specification is written if it was expected."""
    how = f"; {HOW_HERE} (docs/specification.md)" if expected == "a specification" else ""
    return f"this is {kind}, not {expected}{how}"


def _is_from_import(line: str) -> bool:
    return line.startswith("from ") and " import " in line
