"""Reads the tables of a sweep and says what happened: events, phases, maps, when to stop.

    df = analysis.load("results/my-sweep")          # one row per (trial, evaluated step)
    events = analysis.events(df)                    # one row per trial
    analysis.grok_map(events, x="weight_decay", y="data_fraction")

Importing this package costs numpy and nothing more; pandas, pyarrow and matplotlib are imported where they
are first needed. `load`, `events`, `phases`, `predictors` and `decide` are functions that share their module's
name, so take other names out of those modules with `from analysis.events import Trajectory`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from analysis.bounds.tables import generalisation_bounds, network_bounds
from analysis.comparisons.arms import paired_arms
from analysis.comparisons.pairs import paired_accuracy
from analysis.comparisons.predictors import predictors
from analysis.decide import decide
from analysis.decline import Decision, DeclineParameters
from analysis.errors import AnalysisError, MixedMethods, ResultsNotFound
from analysis.events import Events, Thresholds, Trajectory, events, trajectory_events
from analysis.load import complexity, load, matrices, networks, status, trials
from analysis.maps import grok_map
from analysis.regimes import phases

if TYPE_CHECKING:
    from analysis.bounds.pictures import bounds_figure, joint_bounds
    from analysis.cells import sweep_map
    from analysis.pictures import curves_figure, map_figure, settings_figure, trajectory_figure
    from analysis.report import ReportFiles, write_report
    from analysis.report.summary import result_sentence, text_map

#: Names whose modules cost more than numpy, and where they live.
_LAZY = {
    "ReportFiles": "analysis.report",
    "bounds_figure": "analysis.bounds.pictures",
    "curves_figure": "analysis.pictures",
    "joint_bounds": "analysis.bounds.pictures",
    "map_figure": "analysis.pictures",
    "result_sentence": "analysis.report.summary",
    "settings_figure": "analysis.pictures",
    "sweep_map": "analysis.cells",
    "text_map": "analysis.report.summary",
    "trajectory_figure": "analysis.pictures",
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
