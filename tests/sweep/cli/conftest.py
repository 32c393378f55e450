"""A sweep that tests of commands look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.specification.config import load_specification
from tests.sweep.made_up import end_trials, new_sweep


@pytest.fixture
def results(tmp_path: Path) -> str:
    """A finished sweep, but for one trial that failed."""
    config = load_specification("tiny", results=str(tmp_path / "results"))
    store, (done, broken) = new_sweep(config, 2)
    end_trials(store, done, dict.fromkeys(done.trial_ids, "budget"))
    end_trials(store, broken, {broken.trial_ids[0]: "grokked"})
    store.mark_failed(broken.cohort_id, "no memory")
    return config.results_path
