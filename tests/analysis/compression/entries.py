"""Entries of a record of compressions that no network stands behind."""

from __future__ import annotations

from typing import Any


def entry(trial_id: str, step: int, **changes: Any) -> dict[str, Any]:
    """An entry whose behaviour is within all limits."""
    pair = {"original": 1.0, "decoded": 0.995}
    usual: dict[str, Any] = {
        "trial_id": trial_id,
        "step": step,
        "bound": "loss",
        "epsilon": 1.0,
        "raw_bytes": 4000,
        "zstd_bytes": 3600,
        "file_bytes": 700,
        "stream_bytes": 500,
        "behaviour": {
            "examples": 100,
            "accuracy": pair,
            "worst_accuracy": pair,
            "worst_part": "class 3",
            "largest_fall": 0.005,
            "largest_fall_part": "class 3",
            "changed": 0.01,
            "calibration_error": {"original": 0.1, "decoded": 0.12},
            "parts": [{"name": "class 3", "examples": 100, **pair}],
        },
        "exceeded": [],
        "passing": None,
        "cost": None,
    }
    return {**usual, **changes}


def flagged(trial_id: str, step: int, **changes: Any) -> dict[str, Any]:
    """An entry whose behaviour changes too much."""
    return entry(trial_id, step, exceeded=["accuracy falls from 1.0000 to 0.6000, by more than 0.01"], **changes)
