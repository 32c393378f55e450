"""The table of what settings do: the model's numbers as text, and words where there is no model."""

from __future__ import annotations

import numpy as np
import pandas as pd

import analysis
from analysis.report.effects import MOST_CELLS, effects_table

AUDITS = analysis.audits([])


def events(seeds: int = 6, decays: int = 2, *, groks: bool = True) -> pd.DataFrame:
    """Weight decay 1 groks in half the steps of weight decay 0; a third of the trials never groks."""
    step = [[256 * 2 ** (1 - min(decay, 1)) + 32 * seed for seed in range(seeds)] for decay in range(decays)]
    grok_step = np.where(np.arange(seeds * decays) % 3 == 2, np.nan, np.ravel(step)) if groks else np.nan
    frame = pd.DataFrame(
        {
            "trial_id": [f"t{n}" for n in range(seeds * decays)],
            "weight_decay": np.repeat(np.arange(decays, dtype=float), seeds),
            "data_fraction": 0.5,
            "seed": np.tile(np.arange(seeds), decays),
            "budget_steps": 1_024,
            "grok_step": grok_step,
        }
    )
    ended = np.where(frame["grok_step"].isna(), "budget", "grokked")
    return frame.assign(grok_after_step=frame["grok_step"] - 32, last_step=1_024.0, ended_because=ended)


def test_the_rows_are_the_models() -> None:
    table = effects_table(events(), AUDITS)
    (row,) = table.rows
    (fitted,) = analysis.effects(events(), AUDITS).to_dict("records")
    assert row[:3] == ["weight decay", "1", "0"]
    assert float(row[3]) == float(f"{fitted['time_ratio']:.2g}")
    assert 0.4 < fitted["time_ratio"] < 0.8
    low, high = row[4].split(" to ")
    assert float(low) < float(row[3]) < float(high)


def test_without_groks_or_settings_that_vary_there_is_a_sentence() -> None:
    for frame in (events(groks=False), events(decays=1)):
        table = effects_table(frame, AUDITS)
        assert not table.rows
        assert table.note.startswith("What settings do is told once")


def test_a_large_sweep_is_left_to_pandas() -> None:
    table = effects_table(events(seeds=1, decays=MOST_CELLS + 1), AUDITS)
    assert not table.rows
    assert "A model of 301 settings takes long" in table.note
