"""Reads the tables of a sweep and derives results: events, phases, maps, and when to stop.

    df = analysis.load("results/my-sweep")          # one row per (trial, evaluated step)
    events = analysis.events(df)                    # one row per trial
    analysis.grok_map(events, x="weight_decay", y="data_fraction")

Importing this package costs only numpy; pandas, pyarrow and matplotlib are imported where they are first needed.
`load`, `events`, `phases`, `predictors` and `decide` are functions with the names of their modules, so import other
names from those modules directly: `from analysis.events import Trajectory`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from analysis.arms import paired_arms
from analysis.decide import decide
from analysis.decline import Decision, DeclineParameters
from analysis.errors import AnalysisError, MixedMethods, ResultsNotFound
from analysis.events import Events, Thresholds, Trajectory, events, trajectory_events
from analysis.generalisation import generalisation_bounds, network_bounds
from analysis.load import complexity, load, matrices, networks, status, trials
from analysis.maps import grok_map
from analysis.pairs import paired_accuracy
from analysis.phases import phases
from analysis.predictors import predictors

if TYPE_CHECKING:
    from analysis.cells import sweep_map
    from analysis.plots import curves_figure, map_figure, settings_figure, trajectory_figure
    from analysis.proven import bounds_figure, joint_bounds
    from analysis.report import ReportFiles, write_report
    from analysis.summary import result_sentence, text_map

#: Names whose modules need more than numpy, and the modules that define them.
_LAZY = {
    "ReportFiles": "analysis.report",
    "bounds_figure": "analysis.proven",
    "curves_figure": "analysis.plots",
    "joint_bounds": "analysis.proven",
    "map_figure": "analysis.plots",
    "result_sentence": "analysis.summary",
    "settings_figure": "analysis.plots",
    "sweep_map": "analysis.cells",
    "text_map": "analysis.summary",
    "trajectory_figure": "analysis.plots",
    "write_report": "analysis.report",
}

__all__ = [
    "AnalysisError",
    "Decision",
    "DeclineParameters",
    "Events",
    "MixedMethods",
    "ReportFiles",
    "ResultsNotFound",
    "Thresholds",
    "Trajectory",
    "bounds_figure",
    "complexity",
    "curves_figure",
    "decide",
    "events",
    "generalisation_bounds",
    "grok_map",
    "joint_bounds",
    "load",
    "map_figure",
    "matrices",
    "network_bounds",
    "networks",
    "paired_accuracy",
    "paired_arms",
    "phases",
    "predictors",
    "result_sentence",
    "settings_figure",
    "status",
    "sweep_map",
    "text_map",
    "trajectory_events",
    "trajectory_figure",
    "trials",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
