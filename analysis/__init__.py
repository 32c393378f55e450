"""Reads the tables of a sweep and says what happened: events, phases, maps, when to stop.

    df = analysis.load("results/my-sweep")          # one row per (trial, evaluated step)
    events = analysis.events(df)                    # one row per trial
    analysis.grok_map(events, x="weight_decay", y="data_fraction")

Importing this package costs numpy and nothing more; pandas, pyarrow and matplotlib are imported where they
are first needed. `load`, `events`, `phases`, `predictors` and `decide` are functions that share their module's
name, so take other names out of those modules with `from analysis.events import Trajectory`.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
