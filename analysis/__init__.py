"""Reads the tables of a sweep and says what happened: events, phases, maps, when to stop.

    df = analysis.load("results/my-sweep")          # one row per (trial, evaluated step)
    events = analysis.events(df)                    # one row per trial
    analysis.grok_map(events, x="weight_decay", y="data_fraction")

Importing this package costs numpy and nothing more; pandas, pyarrow and matplotlib are imported where they
are first needed. `load`, `events`, `phases` and `decide` are functions that share their module's name, so
take other names out of those modules with `from analysis.events import Trajectory`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from analysis.decide import decide
from analysis.decline import Decision, DeclineParameters
from analysis.errors import AnalysisError, MixedMethods, ResultsNotFound
from analysis.events import Events, Thresholds, Trajectory, events, trajectory_events
from analysis.load import complexity, load, matrices, networks, status, trials
from analysis.maps import grok_map
from analysis.phases import phases

if TYPE_CHECKING:
    from analysis.report import write_report

#: Names whose modules cost more than numpy, and where they live.
_LAZY = {"write_report": "analysis.report"}

__all__ = [
    "AnalysisError",
    "Decision",
    "DeclineParameters",
    "Events",
    "MixedMethods",
    "ResultsNotFound",
    "Thresholds",
    "Trajectory",
    "complexity",
    "decide",
    "events",
    "grok_map",
    "load",
    "matrices",
    "networks",
    "phases",
    "status",
    "trajectory_events",
    "trials",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
