"""One self-contained HTML file about a sweep, with its pictures and the cells of its map in files beside it.

The file opens from disk without a network: pictures are inline SVG, there is no script and no outside reference.
It is written for any state of a sweep; a part that cannot be shown says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.cells import sweep_map
from analysis.compression.record import read_record
from analysis.events import events as events_of
from analysis.load import complexity, status_and_rows, trials
from analysis.regimes import regimes as regimes_of
from analysis.report import pictures, tables
from analysis.report.ahead import ahead
from analysis.report.compressed import compressed
from analysis.report.effects import effects_table
from analysis.report.output import Output
from analysis.report.summary import result_sentence
from analysis.results_folder import opened
from analysis.stopping.certified import StoppedTrials, stopped_trials
from analysis.stopping.decline import audit_report
from analysis.stopping.forecasts import forecasts
from analysis.survival.audits import audits
from analysis.words import counted, listed, plain


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """The places of a report's parts: local paths or URIs; None for what could not be drawn yet."""

    report: str
    cells_csv: str
    map_png: str | None = None
    map_svg: str | None = None
    trajectories_png: str | None = None
    trajectories_svg: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A report that was written, and what it was made from."""

    files: ReportFiles
    events: pd.DataFrame
    """The result of `analysis.events`."""
    planned: pd.DataFrame
    """The result of `analysis.status`."""
    audits: pd.DataFrame
    """The result of `analysis.audits`."""


def write_report(
    path: str | Path, output: str | Path | None = None, *, written_at: str | None = None
) -> ReportFiles:
    """Write the report of a sweep: HTML, pictures as PNG and SVG, cells as CSV.

    Args:
        path: the results folder, local or `s3://...`.
        output: folder to write into, local or `s3://...`; by default `report/` in the results folder.
        written_at: a date to print in the report. None by default, so that the same results give the same bytes.

    Returns:
        The places of the files.

    Raises:
        ResultsNotFound: the path holds no results.
        AnalysisError: the report cannot be written there.
        MixedMethods: there are complexities of several methods, which cannot be drawn on one axis.
    """
    return report_of(path, output, written_at=written_at).files


def report_of(path: str | Path, output: str | Path | None = None, *, written_at: str | None = None) -> Report:
    """Write the report of a sweep as `write_report` does, and return what it was made from as well."""
    out = Output(str(path), "report") if output is None else Output(str(output))
    name = str(path).rstrip("/").rsplit("/", 1)[-1]
    # Opened once, so that all parts tell of one state of the sweep, and nothing is read twice.
    folder = opened(path)
    planned, rows, price = status_and_rows(folder)
    events = events_of(rows)
    audited = audits(folder)
    page = _page(
        name, rows, events, planned, trials(folder), complexity(folder), stopped_trials(folder), audited, out
    )
    page["compressed"] = compressed(read_record(path))
    page["ahead"] = ahead(forecasts(rows, price_per_hour=price, phases=events))
    if written_at is not None:
        page["notices"].append(f"Written {written_at}.")
    out.write("report.html", _render(page))
    written = out.written
    files = ReportFiles(
        written["report.html"],
        written["cells.csv"],
        written.get("map.png"),
        written.get("map.svg"),
        written.get("trajectories.png"),
        written.get("trajectories.svg"),
    )
    return Report(files, events, planned, audited)


def _page(
    name: str,
    rows: pd.DataFrame,
    events: pd.DataFrame,
    planned: pd.DataFrame,
    ended: pd.DataFrame,
    measured: pd.DataFrame,
    stopped: StoppedTrials | None,
    audited: pd.DataFrame,
    out: Output,
) -> dict[str, Any]:
    """Collect everything the template needs; pictures and the cells are written meanwhile."""
    grid = sweep_map(events, planned, audited)
    out.write("cells.csv", grid.to_csv(index=False))
    asked = max(len(planned), events["trial_id"].nunique())
    return {
        "name": name,
        "sentence": result_sentence(events, planned=asked),
        "notices": _notices(planned, events),
        "map": pictures.map_picture(grid, out),
        "trajectories": pictures.trajectories_picture(rows, events, out),
        "curves": pictures.curves_picture(rows, events),
        "bounds": pictures.bounds_picture(measured, ended, events),
        "overview": tables.overview(planned, events, regimes_of(rows)),
        "failures": tables.failures(planned),
        "cells": tables.cells(grid),
        "effects": effects_table(events, audited),
        "audit": _audit_sentence(ended, events, stopped),
        "compute": tables.spending(events, rows),
        "settings": tables.settings_table(planned, ended),
        "limits": tables.limits(ended),
    }


def _render(page: dict[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("analysis.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return plain(environment.get_template("report.html.jinja").render(page))


def _notices(planned: pd.DataFrame, events: pd.DataFrame) -> list[str]:
    notices = []
    waiting = int(planned["status"].isin(["planned", "unfinished"]).sum())
    if waiting:
        notices.append(
            f"This sweep is not finished: {waiting:,} of {counted(len(planned), 'trial')} "
            f"{'has' if waiting == 1 else 'have'} not ended, so numbers will change. "
            "The command sweep run continues it, sweep report writes this page again."
        )
    failed = int(planned["status"].eq("failed").sum())
    if failed:
        notices.append(
            f"{counted(failed, 'trial')} failed; sweep run with --retry-failed runs failed trials again."
        )
    more = events["trial_id"].nunique() - int(planned["last_step"].notna().sum())
    if more > 0:
        notices.append(f"{counted(more, 'trial')} of earlier requests in the same folder are included.")
    return notices


def _audit_sentence(ended: pd.DataFrame, events: pd.DataFrame, stopped: StoppedTrials | None) -> str:
    if ended.empty:
        return "No trial has ended yet, so nothing can be said about the stopping rule."
    rules = sorted(set(ended["stop_rule"].astype(str)))
    if rules == ["none"]:
        return "No stopping rule was used: every trial had its whole budget, or ended by itself."
    words = "Stopping rules" if len(rules) > 1 else "Stopping rule"
    certified = "" if stopped is None else f" {stopped.sentences}"
    return f"{words}: {listed(rules)}. {audit_report(ended, events).sentence}{certified}"
