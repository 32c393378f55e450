"""Reads the tables of a sweep and derives results: events, regimes, maps, and when to stop.

    df = analysis.load("results/my-sweep")          # one row per (trial, evaluated step)
    events = analysis.events(df)                    # one row per trial
    analysis.grok_map(events, x="weight_decay", y="data_fraction")

Importing this package costs only numpy; pandas, pyarrow and matplotlib are imported where they are first needed.
`load`, `events`, `regimes`, `predictors` and `decide` are functions with the names of their modules, so import
other names from those modules directly: `from analysis.events import by_phase`.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
