"""One self-contained HTML file about a sweep, with its pictures and the cells of its map beside it.

The file opens from disk without a network: pictures are inline SVG, there is no script and no outside reference.
It is written for any state a sweep can be in; a part that cannot be shown says why.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.bounds import DELTA
from analysis.cells import (
    ENDINGS,
    Axes,
    cell,
    counted,
    listed,
    ordered,
    setting_name,
    setting_text,
    some_panels,
    sweep_map,
    value_text,
)
from analysis.decline import audit_report
from analysis.events import DECLINE_SUSTAINED, TAIL_MEASUREMENTS, TAIL_RATIO, Thresholds
from analysis.events import events as events_of
from analysis.load import complexity, load, status, trials
from analysis.maps import varying_settings
from analysis.regimes import PHASES, PhaseThresholds
from analysis.regimes import phases as phases_of
from analysis.report.summary import compute, result_sentence
from analysis.results_folder import open_filesystem
from analysis.schema import SETTINGS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Rows of a table in the report; the rest is in the files beside it, and the table says so.
ROWS_SHOWN = 100
#: Panels of the map in the report, spread evenly over all; every cell is in the file beside it.
PANELS_SHOWN = 12
#: A larger SVG is replaced by its pixels, so that the page stays below 3 MB.
INLINE_CHARACTERS = 900_000
#: Failed trials listed by name.
FAILURES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Where the parts of a report are: local paths or URIs; None for what could not be drawn yet."""

    report: str
    cells_csv: str
    map_png: str | None = None
    map_svg: str | None = None
    trajectories_png: str | None = None
    trajectories_svg: str | None = None


@dataclass(frozen=True, slots=True)
class _Table:
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    numbers: frozenset[int] = frozenset()
    """Columns set flush right."""
    note: str = ""
    total: bool = False
    """Whether the last row sums the others."""


@dataclass(frozen=True, slots=True)
class _Picture:
    caption: str = ""
    svg: Any = None
    """Markup, or None if there is nothing to draw, and then"""
    missing: str = ""
    """says why."""


@dataclass(slots=True)
class _Output:
    """A folder, local or in a bucket, into which whole files are put."""

    folder: str
    written: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, content: str | bytes) -> str:
        target = f"{self.folder.rstrip('/')}/{name}"
        filesystem, path = open_filesystem(target, None)
        filesystem.create_dir(path.rsplit("/", 1)[0], recursive=True)
        temporary = f"{path}.part"
        with filesystem.open_output_stream(temporary) as stream:
            stream.write(content if isinstance(content, bytes) else content.encode())
        filesystem.move(temporary, path)
        self.written[name] = target
        return target


def write_report(
    path: str | Path, output: str | Path | None = None, *, written_at: str | None = None
) -> ReportFiles:
    """Writes the report of a sweep: HTML, pictures as PNG and SVG, cells as CSV.

    Args:
        path: The results folder, local or `s3://...`.
        output: Folder to write into, local or `s3://...`; by default `report/` in the results folder.
        written_at: A date to print in the report. None by default, so that the same results give the same bytes.

    Returns:
        Where each file is.

    Raises:
        ResultsNotFound: the path holds no results.
        MixedMethods: complexities of several methods, which cannot be drawn on one axis.
    """
    out = _Output(str(output) if output is not None else f"{str(path).rstrip('/')}/report")
    name = str(path).rstrip("/").rsplit("/", 1)[-1]
    rows, planned, ended = load(path), status(path), trials(path)
    events = events_of(rows)
    page = _page(name, rows, events, planned, ended, complexity(path), out)
    if written_at is not None:
        page["notices"].append(f"Written {written_at}.")
    out.write("report.html", _render(page))
    found = out.written
    return ReportFiles(
        found["report.html"],
        found["cells.csv"],
        found.get("map.png"),
        found.get("map.svg"),
        found.get("trajectories.png"),
        found.get("trajectories.svg"),
    )


def _page(
    name: str,
    rows: pd.DataFrame,
    events: pd.DataFrame,
    planned: pd.DataFrame,
    ended: pd.DataFrame,
    measured: pd.DataFrame,
    out: _Output,
) -> dict[str, Any]:
    """Everything the template needs; pictures and the cells are written on the way."""
    grid = sweep_map(events, planned)
    out.write("cells.csv", grid.to_csv(index=False))
    asked = max(len(planned), events["trial_id"].nunique())
    return {
        "name": name,
        "sentence": result_sentence(events, planned=asked),
        "notices": _notices(planned, events),
        "map": _map_picture(grid, out),
        "trajectories": _trajectories_picture(rows, events, out),
        "curves": _curves_picture(rows, events),
        "bounds": _bounds_picture(measured, ended, events),
        "overview": _overview(planned, events, phases_of(rows)),
        "failures": _failures(planned),
        "cells": _cells(grid),
        "audit": _audit_sentence(ended, events),
        "compute": _compute(events, rows),
        "settings": _settings(planned, ended),
        "limits": _limits(ended),
    }


def _render(page: dict[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("analysis.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("report.html.jinja").render(page)


def _notices(planned: pd.DataFrame, events: pd.DataFrame) -> list[str]:
    notices = []
    waiting = int(planned["status"].isin(["planned", "unfinished"]).sum())
    if waiting:
        notices.append(
            f"This sweep is not finished: {waiting:,} of {counted(len(planned), 'trial')} "
            f"{'has' if waiting == 1 else 'have'} not ended, so numbers will change. "
            "The command sweep run goes on with it, sweep report writes this page again."
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


# ------------------------------------------------------------------------------------------------ pictures

_NO_ROWS = (
    "No trial has reported yet, so there is nothing to draw. The first rows come after the first block of steps."
)


def _map_picture(grid: pd.DataFrame, out: _Output) -> _Picture:
    from analysis.pictures import cell_titles, map_figure

    if grid.empty:
        return _Picture(missing=_NO_ROWS)
    shown, count = some_panels(grid, PANELS_SHOWN)
    names = Axes.of(shown)
    facets = f", a panel for each {listed([setting_name(facet) for facet in names.facets])}" if names.facets else ""
    caption = (
        f"{setting_name(names.x).capitalize()} across, {setting_name(names.y)} upwards{facets}. "
        "Point at a cell for how its trials ended. Darker is sooner, and more of the trials."
    )
    if count > PANELS_SHOWN:
        caption = (
            f"Showing {PANELS_SHOWN} of {count:,} panels, spread evenly; all cells are in cells.csv. {caption}"
        )
    return _draw("map", map_figure(shown), caption, out, titles=cell_titles(shown))


def _trajectories_picture(rows: pd.DataFrame, events: pd.DataFrame, out: _Output) -> _Picture:
    from analysis.pictures import representative_trials, trajectory_figure

    if events.empty:
        return _Picture(missing=_NO_ROWS)
    chosen = representative_trials(events)
    caption = (
        f"Showing {len(chosen)} of {counted(len(events), 'trial')}: one for each fate that occurred. The one that "
        "grokked has the median delay of those that did; the others are the longest of their kind, or of median "
        f"length if stopped. Trials {listed(chosen)}, as in the column trial_id."
    )
    return _draw("trajectories", trajectory_figure(rows, chosen, events=events), caption, out)


def _curves_picture(rows: pd.DataFrame, events: pd.DataFrame) -> _Picture:
    from analysis.pictures import curves_figure
    from analysis.pictures.curves import CURVES_SHOWN

    if len(events) < 2:
        return _Picture()
    caption = f"At most {CURVES_SHOWN} curves in a column, sampled evenly; the numbers above say of how many."
    return _draw("curves", curves_figure(rows, events=events), caption, None)


def _bounds_picture(measured: pd.DataFrame, ended: pd.DataFrame, events: pd.DataFrame) -> _Picture:
    from analysis.bounds.pictures import best_bound, bounds_figure, bounds_sentence, joint_bounds

    bounds, draws = joint_bounds(measured, ended)
    sentence = bounds_sentence(bounds, draws)
    if best_bound(bounds) is None:
        return _Picture(missing=sentence)
    return _draw("bounds", bounds_figure(bounds, events), sentence, None)


def _draw(
    name: str, figure: Figure, caption: str, out: _Output | None, *, titles: dict[str, str] | None = None
) -> _Picture:
    from markupsafe import Markup

    from analysis.pictures import png, svg

    drawing, pixels = svg(figure, titles=titles), png(figure)
    if out is not None:
        out.write(f"{name}.svg", drawing)
        out.write(f"{name}.png", pixels)
    part = _inline(drawing, name)
    if len(part) > INLINE_CHARACTERS:
        part = f'<img alt="{name}" src="data:image/png;base64,{b64encode(pixels).decode()}">'
        caption += " Drawn as pixels, because there is much to draw."
    return _Picture(caption, Markup(part))  # drawn here from numbers; its words were escaped by matplotlib


def _inline(drawing: str, prefix: str) -> str:
    """An SVG document as a part of a page: no declarations or namespaces, and ids that are the picture's own."""
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'\s(?:xmlns(?::\w+)?|version)="[^"]*"', "", drawing)
    drawing = drawing.replace("xlink:href=", "href=")
    drawing = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', drawing)
    return re.sub(r'(href="|url\()#', rf"\1#{prefix}-", drawing)


# ------------------------------------------------------------------------------------------------ tables


def _overview(planned: pd.DataFrame, events: pd.DataFrame, phases: pd.DataFrame) -> _Table:
    """Trials by ending and by phase."""
    stands = planned.assign(trial_id=planned["trial_id"].astype("str"))[["trial_id", "status"]]
    phases = phases.assign(trial_id=phases["trial_id"].astype("str"))
    rows: list[list[str]] = []
    parts = _training_phases(phases)
    for where, own in parts:
        both = stands.merge(own[["trial_id", "phase"]], on="trial_id", how="left")
        found = [(words, both[both["status"].eq(ending)]) for ending, words in ENDINGS.items()]
        rows += [[f"{words}{where}", *_by_phase(frame)] for words, frame in found if len(frame)]
        rows.append([f"all{where}", *_by_phase(both)])
    heads = ["ending", *PHASES, "not determined", "trials"]
    return _Table(
        heads,
        rows,
        frozenset(range(1, len(heads))),
        f"{_reached(events)} The phases are defined below; not determined: not followed to the end.",
        total=len(parts) == 1,
    )


def _reached(events: pd.DataFrame) -> str:
    sentences = []
    for phase, own in events.groupby("phase") if len(events) else [(0, events)]:
        counts = [int(own[name].notna().sum()) for name in ("memorisation_step", "grok_step")]
        sentences.append(
            f"Of {counted(len(own), 'trial')} that reported{_on(phase, events['phase'])}, {counts[0]:,} reached "
            f"the memorisation step and {counts[1]:,} the grok step."
        )
    return " ".join(sentences)


def _on(phase: Any, phases: pd.Series[Any]) -> str:
    """Which training set is spoken of, where there is more than one."""
    return f" on training set {phase}" if phases.nunique() > 1 else ""


def _training_phases(phases: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The trials on each training set, and words to tell these apart."""
    if "training_phase" not in phases.columns:
        return [("", phases)]
    return [(_on(phase, phases["training_phase"]), own) for phase, own in phases.groupby("training_phase")]


def _by_phase(trials: pd.DataFrame) -> list[str]:
    counts = [int(trials["phase"].eq(name).sum()) for name in PHASES]
    return [f"{count:,}" for count in (*counts, int(trials["phase"].isna().sum()), len(trials))]


def _failures(planned: pd.DataFrame) -> _Table:
    failed = planned[planned["status"].eq("failed")]
    settings = varying_settings(planned)
    rows = [
        [
            str(row["trial_id"]),
            ", ".join(setting_text(name, row[name]) for name in [*settings, "seed"]),
            "–" if pd.isna(row["last_step"]) else f"{row['last_step']:,.0f}",
            str(row["ended_reason"]),
        ]
        for row in failed.head(FAILURES_SHOWN).to_dict("records")
    ]
    note = f"Showing {len(rows)} of {len(failed):,}; analysis.status lists all." if len(failed) > len(rows) else ""
    return _Table(["trial", "setting", "last step", "reason"], rows, frozenset({2}), note)


def _cells(grid: pd.DataFrame) -> _Table:
    if grid.empty:
        return _Table(note=_NO_ROWS)
    names = Axes.of(grid)
    settings = [*names.facets, names.y, names.x]
    rows = []
    for row in grid.head(ROWS_SHOWN).to_dict("records"):
        one = cell(row)
        rows.append(
            [
                *(value_text(row[name]) for name in settings),
                one.when,
                one.count,
                f"{one.share:.0%}",
                f"{one.share_low:.0%} to {one.share_high:.0%}",
                one.endings,
            ]
        )
    note = (
        "The interval is the 95 % Wilson interval; where trials were not followed to the end it holds whatever "
        "became of them. All columns are in cells.csv."
    )
    if len(grid) > len(rows):
        note = f"Showing {len(rows):,} of {len(grid):,} cells; all are in cells.csv. {note}"
    return _Table(
        [*(setting_name(name) for name in settings), "median grok step", "grokked", "share", "interval", "trials"],
        rows,
        frozenset(range(len(settings) + 4)),
        note,
    )


def _audit_sentence(ended: pd.DataFrame, events: pd.DataFrame) -> str:
    if ended.empty:
        return "No trial has ended yet, so nothing can be said about the stopping rule."
    rules = sorted(set(ended["stop_rule"].astype(str)))
    if rules == ["none"]:
        return "No stopping rule was used: every trial had its whole budget, or ended by itself."
    words = "Stopping rules" if len(rules) > 1 else "Stopping rule"
    return f"{words}: {listed(rules)}. {audit_report(ended, events).sentence}"


def _compute(events: pd.DataFrame, rows: pd.DataFrame) -> _Table:
    if events.empty:
        return _Table(note="No compute has been recorded yet.")
    spent = compute(events, rows)
    seconds = spent.train_s + spent.measure_s
    return _Table(
        ["", "steps", "lane-seconds"],
        [
            ["training", f"{spent.steps_run:,}", f"{spent.train_s:,.0f}"],
            ["evaluating and measuring", "–", f"{spent.measure_s:,.0f}"],
            ["spent in all", f"{spent.steps_run:,}", f"{seconds:,.0f}"],
            [
                f"not run, {counted(spent.stopped, 'trial')} stopped by the rule",
                f"{spent.steps_saved:,}",
                f"{spent.seconds_saved:,.0f}",
            ],
            [
                "share not run",
                f"{spent.share_of_steps_saved:.0%}",
                f"{spent.seconds_saved / (spent.seconds_saved + seconds):.0%}" if seconds else "–",
            ],
        ],
        frozenset({1, 2}),
        "A lane-second is a trial's share of a second of its process. What was not run is an upper bound, for a "
        "trial that groks ends before its budget does; its seconds are at each stopped trial's own pace.",
    )


_FACTS = (
    ("budget_steps", "budget, steps"),
    ("epsilon", "epsilon, nats per example"),
    ("memorised_at", "memorised at, training accuracy"),
    ("grokked_at", "grokked at, validation accuracy"),
    ("complexity_method", "complexity method"),
    ("stop_rule", "stopping rule"),
    ("parameters", "weights in a network"),
    ("device", "device"),
    ("threads", "CPU threads of a process"),
    ("package_version", "grokking-sweep"),
    ("torch_version", "torch"),
    ("zstd_version", "zstd"),
)


def _settings(planned: pd.DataFrame, ended: pd.DataFrame) -> _Table:
    meanings = {column.name: column.meaning for column in SETTINGS}
    rows = [
        [setting_name(name), _values(planned[name]), meaning]
        for name, meaning in meanings.items()
        if planned["cohort_id"].notna().any()
    ]
    rows += [[words, _values(ended[name]), ""] for name, words in _FACTS if len(ended)]
    note = "" if len(ended) else "Budgets, thresholds, methods and versions appear once a trial has ended."
    return _Table(["setting", "values", "meaning"], rows, frozenset(), note)


def _values(column: pd.Series[Any], most: int = 12) -> str:
    values = ordered(column.astype("object") if column.dtype == "category" else column)
    shown = ", ".join(value_text(value) for value in values[:most])
    return shown if len(values) <= most else f"{shown} … ({len(values):,} values)"


def _limits(ended: pd.DataFrame) -> dict[str, Any]:
    """The numbers in the definitions, which stand in the template."""
    usual = Thresholds()
    return {
        "memorised_at": _values(ended["memorised_at"]) if len(ended) else f"{usual.memorised_at:g}",
        "grokked_at": _values(ended["grokked_at"]) if len(ended) else f"{usual.grokked_at:g}",
        "sustained": usual.sustained,
        "delta": f"{DELTA:g}",
        "decline_at": f"{usual.decline_at:g}",
        "decline_sustained": DECLINE_SUSTAINED,
        "tail_ratio": TAIL_RATIO,
        "tail_measurements": TAIL_MEASUREMENTS,
        "above": f"{PhaseThresholds().above:.0%}",
        "gap_steps": f"{PhaseThresholds().gap_steps:,}",
    }
