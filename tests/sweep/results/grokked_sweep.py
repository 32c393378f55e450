"""A sweep of two trials, one of which has grokked as far as its low threshold asks, trained in seconds."""

from __future__ import annotations

from pathlib import Path

import sweep

SETTINGS = {
    "task": {"family": "addition", "modulus": 7},
    "model": {"kind": "transformer", "width": 16, "heads": 2},
    "weight_decay": 0,
    "seeds": 2,
    "data_fraction": 0.6,
    "steps": 128,
    "learning_rate": 1e-2,
    "epsilon": 0.003,
    "grokked_at": 0.3,
    "stop": "none",
}


def grokked_sweep(folder: Path) -> str:
    """Train the sweep and return its results folder."""
    from sweep.specification.config import SweepConfig

    summary = sweep.run_here(SweepConfig(name="few", results=str(folder), **SETTINGS))  # type: ignore[arg-type]
    return summary.results
