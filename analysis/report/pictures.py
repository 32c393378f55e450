"""The pictures of a report: inline in its page, and as files beside it."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING

import pandas as pd

from analysis.cells import Axes, some_panels
from analysis.fates import representative_trials
from analysis.report.output import Output
from analysis.report.parts import NO_ROWS, Picture
from analysis.words import counted, listed, setting_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Number of panels of the map in the report, spread evenly; every cell is in the file beside it.
PANELS_SHOWN = 12

#: An SVG with fewer characters is shorter than any PNG of such a figure in base64, which then need not be drawn.
SHORT_CHARACTERS = 150_000

HOVER = "Point at a cell to see how its trials ended."
"""A sentence of the map's caption, which holds for an SVG only."""


def map_picture(grid: pd.DataFrame, out: Output) -> Picture:
    """Draw the map of median grok steps, a panel for each combination of facets."""
    from analysis.pictures import cell_titles, map_figure

    if grid.empty:
        return Picture(missing=NO_ROWS)
    shown, count = some_panels(grid, PANELS_SHOWN)
    names = Axes.of(shown)
    facets = f", a panel for each {listed([setting_name(facet) for facet in names.facets])}" if names.facets else ""
    caption = (
        f"{setting_name(names.x).capitalize()} across, {setting_name(names.y)} upwards{facets}. "
        f"{HOVER} Darker is sooner, or more of the trials."
    )
    if count > PANELS_SHOWN:
        caption = (
            f"Showing {PANELS_SHOWN} of {count:,} panels, spread evenly; all cells are in cells.csv. {caption}"
        )
    return _draw("map", map_figure(shown), caption, out, titles=cell_titles(shown))


def trajectories_picture(rows: pd.DataFrame, events: pd.DataFrame, out: Output) -> Picture:
    """Draw one trial for each fate that occurred."""
    from analysis.pictures import trajectory_figure

    if events.empty:
        return Picture(missing=NO_ROWS)
    chosen = representative_trials(events)
    caption = (
        f"Showing {len(chosen)} of {counted(len(events), 'trial')}: one for each fate that occurred. The one that "
        "grokked has the median delay of those that did; the others are the longest of their kind, or of median "
        f"length if stopped. Trials {listed(chosen)}, as in the column trial_id."
    )
    return _draw("trajectories", trajectory_figure(rows, chosen, events=events), caption, out)


def curves_picture(rows: pd.DataFrame, events: pd.DataFrame) -> Picture:
    """Draw the curves of all trials, sampled, one column for each fate."""
    from analysis.pictures import curves_figure
    from analysis.pictures.curves import CURVES_SHOWN

    if len(events) < 2:
        return Picture()
    caption = f"At most {CURVES_SHOWN} curves in a column, sampled evenly; the numbers above are the totals."
    return _draw("curves", curves_figure(rows, events=events), caption, None)


def bounds_picture(measured: pd.DataFrame, ended: pd.DataFrame, events: pd.DataFrame) -> Picture:
    """Draw what compressed networks prove about examples that were not trained on."""
    from analysis.bounds.pictures import best_bound, bounds_figure, bounds_sentence, joint_bounds

    bounds, draws = joint_bounds(measured, ended)
    sentence = bounds_sentence(bounds, draws)
    if best_bound(bounds) is None:
        return Picture(missing=sentence)
    return _draw("bounds", bounds_figure(bounds, events), sentence, None)


def _draw(
    name: str, figure: Figure, caption: str, out: Output | None, *, titles: dict[str, str] | None = None
) -> Picture:
    from markupsafe import Markup

    from analysis.pictures import png, svg

    drawing = svg(figure, titles=titles)
    part = _inline(drawing, name)
    pixels = png(figure) if out is not None or len(part) > SHORT_CHARACTERS else None
    if out is not None and pixels is not None:
        out.write(f"{name}.svg", drawing)
        out.write(f"{name}.png", pixels)
    # The shorter of both, so that the page stays small however much is drawn.
    if pixels is not None and 4 * len(pixels) / 3 < len(part):
        part = f'<img alt="{name}" src="data:image/png;base64,{b64encode(pixels).decode()}">'
        caption = f"{caption.replace(f'{HOVER} ', '')} Drawn as pixels, because there is much to draw."
    return Picture(caption, Markup(part))  # safe: drawn here from numbers, and matplotlib escapes its words


def _inline(drawing: str, prefix: str) -> str:
    """Turn an SVG document into a part of a page: no declarations or namespaces, and ids of its own."""
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'\s(?:xmlns(?::\w+)?|version)="[^"]*"', "", drawing)
    drawing = drawing.replace("xlink:href=", "href=")
    drawing = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', drawing)
    return re.sub(r'(href="|url\()#', rf"\1#{prefix}-", drawing)
