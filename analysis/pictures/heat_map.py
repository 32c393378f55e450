"""The map as a picture: when and whether each cell groks."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from analysis.cells import NOT_IN, OPEN, UNDER_HALF_IN, Axes, Cell, Kind, Panel, panels
from analysis.pictures import palette
from analysis.words import setting_name, setting_text, value_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes as PlotAxes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

#: Width of the widest map, inches; facets that do not fit beside each other go below.
MAP_WIDTH = 11.5
#: With more columns or rows than this, the cells of a panel have colour, hatch and hover text, but no words.
WORDED_COLUMNS = 14
WORDED_ROWS = 20


_LAYERS = 2

_CHARACTER = 0.082
"""Width of a bold character in a cell, inches."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """One question that a map answers: the colours of its cells and the words in them."""

    title: str
    value: Callable[[Cell], float]
    words: Callable[[Cell], tuple[str, str]]
    hatches: dict[Kind, str]
    colours: Colormap
    norm: Normalize
    ticks: Sequence[float]
    """Ticks on the colour bar; without ticks there is no bar."""
    tick_labels: Sequence[str]


def map_figure(map_frame: pd.DataFrame, *, x: str | None = None, y: str | None = None) -> Figure:
    """Draw heat maps of when (median grok step) and whether (share) each cell groks, a panel per facet.

    Cells without a median are grey and hatched and say `not in 4,000`, `<½ in 4,000` or `open`, so they
    cannot be mistaken for a colour of the scale. `?` marks cells where late and never cannot be told apart. The
    cells carry ids from which `svg` makes hover texts.

    Args:
        map_frame: a frame from `analysis.sweep_map`, which has estimates, or from `analysis.grok_map`, one row per
            cell.
        x: setting along the columns; by default the last setting of the frame before the cell's own columns.
        y: setting along the rows; by default the one before `x`. All other settings are facets.

    Raises:
        ValueError: the map has no cells, so there is nothing to draw.
    """
    if map_frame.empty:
        raise ValueError(
            "a map needs at least one cell, got none; wait until a trial has reported, then draw again"
        )
    axes_names = Axes.of(map_frame, x, y)
    grids = panels(map_frame, axes_names)
    with palette.style():
        return _draw_map(grids, [_when_layer(grids), _whether_layer()], axes_names)


_ROUND_STEPS = [digit * 10**power for power in range(9) for digit in (1, 2, 5)]


def _when_layer(grids: Sequence[Panel]) -> _Layer:
    import matplotlib as mpl
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    steps = [cell.step for grid in grids for row in grid.cells for cell in row if cell.kind is Kind.MEDIAN]
    low, high = min(steps, default=1.0), max(steps, default=1.0)
    if high < 2 * low:
        low, high = low / 1.5, high * 1.5
    low = max(low, 1.0)
    shades = mpl.colormaps["YlGnBu_r"](np.linspace(0.08, 0.86, 256))
    ticks: list[float] = [tick for tick in _ROUND_STEPS if low <= tick <= high] or steps[:1]
    ticks = ticks if steps else []
    return _Layer(
        "When: median grok step",
        lambda cell: max(cell.step, 1.0),  # step 0 has no logarithm; NaN stays NaN
        _when_words,
        _HATCHES,
        LinearSegmentedColormap.from_list("when", shades),
        LogNorm(low, high),
        ticks,
        [f"{tick:,.0f}" for tick in ticks],
    )


def _when_words(cell: Cell) -> tuple[str, str]:
    count, mark = cell.count.replace(", ", "\n"), "?" if cell.late_or_never else ""
    for words in (NOT_IN, UNDER_HALF_IN):
        if cell.when.startswith(words):
            return words, f"{cell.when.removeprefix(words).strip()} ({count}){mark}"
    return cell.when, f"{count}{mark}"


def _share_words(cell: Cell) -> tuple[str, str]:
    if cell.kind is Kind.EMPTY:
        return cell.when, ""
    share = OPEN if math.isnan(cell.share) else f"{cell.share:.0%}"
    return share, f"{100 * cell.share_low:.0f}–{cell.share_high:.0%}"


def _whether_layer() -> _Layer:
    import matplotlib as mpl
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    shades = mpl.colormaps["Blues"](np.linspace(0.0, 0.9, 256))
    return _Layer(
        "Whether: share that grokked (95% interval)",
        lambda cell: cell.share,
        _share_words,
        {Kind.LATER: _HATCHES[Kind.LATER]},
        LinearSegmentedColormap.from_list("whether", shades),
        Normalize(0, 1),
        [0, 0.25, 0.5, 0.75, 1],
        ["0%", "", "50%", "", "100%"],
    )


@dataclass(frozen=True, slots=True)
class _Layout:
    """The sizes of a map, inches."""

    columns: int
    rows: int
    across: int
    """Number of facets beside each other."""
    bands: int
    """Number of facets below each other."""
    cell_width: float
    cell_height: float
    left: float
    facet_label: float
    worded: bool
    side_by_side: bool
    """Whether a map with one facet shows the two questions side by side instead of one below the other."""

    right: ClassVar[float] = 0.8
    gap: ClassVar[float] = 0.24
    title: ClassVar[float] = 0.42
    axis: ClassVar[float] = 0.52

    @classmethod
    def of(cls, grids: Sequence[Panel], names: Axes) -> _Layout:
        columns, rows = len(grids[0].x_values), len(grids[0].y_values)
        worded = columns <= WORDED_COLUMNS and rows <= WORDED_ROWS
        longest = max(len(_when_words(cell)[0]) for grid in grids for row in grid.cells for cell in row)
        worded_width = max(0.72 if columns <= 8 else 0.66, 0.12 + _CHARACTER * longest)
        cell_width = worded_width if worded else max(0.1, min(0.3, 4.6 / columns))
        cell_height = 0.5 if worded else max(0.1, min(0.3, 4.0 / rows))
        if columns == 1:
            cell_width = max(cell_width, 1.1)
        label_lines = len(_upright(names.y, rows * cell_height).split("\n"))
        left = 0.62 + 0.15 * label_lines + 0.055 * max(0, max(len(value_text(v)) for v in grids[0].y_values) - 4)
        panel = columns * cell_width
        most = max(1, min(len(grids), int((MAP_WIDTH - left - cls.right + cls.gap) // (panel + cls.gap))))
        bands = math.ceil(len(grids) / most)
        side_by_side = len(grids) == 1 and 2 * (left + panel + cls.right) <= MAP_WIDTH
        return cls(
            columns, rows, math.ceil(len(grids) / bands), bands, cell_width, cell_height, left,
            0.24 if names.facets else 0.0, worded, side_by_side,
        )  # fmt: skip

    @property
    def panel(self) -> tuple[float, float]:
        return self.columns * self.cell_width, self.rows * self.cell_height

    @property
    def layer(self) -> tuple[float, float]:
        """Width and height of one question with all its facets."""
        width, height = self.panel
        band = self.facet_label + height + self.axis
        across = self.left + self.across * width + (self.across - 1) * self.gap + self.right
        # Leave room for the title, which may be wider than a single cell.
        return max(across, self.left + 3.65), self.title + self.bands * band


def cell_titles(map_frame: pd.DataFrame, *, x: str | None = None, y: str | None = None) -> dict[str, str]:
    """Return the hover texts of a map's cells by their ids in the picture, for `svg`.

    Args:
        map_frame: a frame from `analysis.grok_map`.
        x: the x given to `map_figure`.
        y: the y given to `map_figure`.
    """
    names = Axes.of(map_frame, x, y)
    titles = {}
    for index, grid in enumerate(panels(map_frame, names)):
        for j, row in enumerate(grid.cells):
            for i, cell in enumerate(row):
                place = [setting_text(names.x, grid.x_values[i]), setting_text(names.y, grid.y_values[j])]
                text = f"{', '.join([*([grid.label] if grid.label else []), *place])}: {cell.text} ({cell.endings})"
                text += _estimate_words(cell)
                titles.update({f"cell-{layer}-{index}-{i}-{j}": text for layer in range(_LAYERS)})
    return titles


def _estimate_words(cell: Cell) -> str:
    """Say what the estimates of a cell add to its counts; empty without estimates."""
    if not cell.when_interval:
        return ""
    share = "share open" if math.isnan(cell.share) else f"share {cell.share:.0%}"
    words = [f"{share}, interval {100 * cell.share_low:.0f}–{cell.share_high:.0%}"]
    words.append(f"interval of the median step: {cell.when_interval}")
    if cell.late_or_never:
        words.append("cannot tell late from never")
    if cell.settle:
        words.append(f"to settle it: {cell.settle}")
    return "; " + "; ".join(words)


def _draw_map(grids: Sequence[Panel], layers: Sequence[_Layer], names: Axes) -> Figure:
    layout = _Layout.of(grids, names)
    panel_width, panel_height = layout.panel
    layer_width, layer_height = layout.layer
    legend = _map_legend(grids)
    legend_height = 0.16 + 0.19 * len(legend)
    width = layer_width * (len(layers) if layout.side_by_side else 1)
    width = max(width, 6.9 if legend else 0)
    height = layer_height * (1 if layout.side_by_side else len(layers)) + legend_height
    figure = palette.new_figure(width, height)
    for number, layer in enumerate(layers):
        start = number * layer_width if layout.side_by_side else 0.0
        top = height if layout.side_by_side else height - number * layer_height
        figure.text(
            (start + layout.left) / width, (top - 0.27) / height, layer.title, fontsize=palette.TITLE_POINTS,
            fontweight="bold", va="center",
        )  # fmt: skip
        for index, grid in enumerate(grids):
            band, place = divmod(index, layout.across)
            x = start + layout.left + place * (panel_width + layout.gap)
            above = layout.title + band * (layout.facet_label + panel_height + layout.axis) + layout.facet_label
            y = top - above - panel_height
            axes = figure.add_axes((x / width, y / height, panel_width / width, panel_height / height))
            _draw_panel(axes, grid, layer, layout, gid=f"cell-{number}-{index}")
            axes.set_xlabel(setting_name(names.x), labelpad=3)
            if place == 0:
                axes.set_ylabel(_upright(names.y, panel_height), labelpad=6)
            else:
                axes.tick_params(labelleft=False)
            if names.facets:
                axes.set_title(grid.label, fontsize=palette.TEXT_POINTS, loc="left", pad=4)
            if band == 0 and place == layout.across - 1 and layer.ticks:
                _draw_bar(figure, layer, (x + panel_width + 0.1, y, panel_height), (width, height))
    if legend:
        figure.legend(
            handles=legend, loc="lower left", bbox_to_anchor=(layout.left / width, 0.0), ncols=1,
            borderaxespad=0.4, borderpad=0.0, labelspacing=0.5, handlelength=2.2, handleheight=1.1,
        )  # fmt: skip
    return figure


def _upright(name: str, height: float) -> str:
    """Break the name of the vertical axis into lines that fit the height in inches."""
    return str(textwrap.fill(setting_name(name), max(8, int(height / 0.068)), break_long_words=False))


def _draw_panel(axes: PlotAxes, grid: Panel, layer: _Layer, layout: _Layout, *, gid: str) -> None:
    from matplotlib.patches import Rectangle

    columns, rows = layout.columns, layout.rows
    for j, row in enumerate(grid.cells):
        for i, cell in enumerate(row):
            value = layer.value(cell)
            known = math.isfinite(value)
            fill = layer.colours(layer.norm(value)) if known else palette.CENSORED_FILL
            if cell.kind is Kind.EMPTY:
                fill = palette.PAPER
            hatch = layer.hatches.get(cell.kind)
            patch = Rectangle(
                (i, j), 1, 1, facecolor=fill, edgecolor=palette.CENSORED_HATCH if hatch else palette.PAPER,
                hatch=hatch, linewidth=0,
            )  # fmt: skip
            patch.set_gid(f"{gid}-{i}-{j}")
            # Not add_patch, which would recompute the limits for each of what may be thousands of cells.
            axes.add_artist(patch)
            if layout.worded:
                _write_cell(axes, (i + 0.5, j + 0.5), layer.words(cell), fill, hatched=hatch is not None)
    line = 1.2 if layout.worded else 0.4
    for i in range(1, columns):
        axes.axvline(i, color=palette.PAPER, linewidth=line)
    for j in range(1, rows):
        axes.axhline(j, color=palette.PAPER, linewidth=line)
    axes.set_xlim(0, columns)
    axes.set_ylim(0, rows)
    axes.spines[:].set_visible(True)
    axes.tick_params(length=0)
    every_x = max(1, math.ceil(0.34 / layout.cell_width))
    every_y = max(1, math.ceil(0.16 / layout.cell_height))
    axes.set_xticks(
        [i + 0.5 for i in range(0, columns, every_x)], [value_text(v) for v in grid.x_values[::every_x]]
    )
    axes.set_yticks([j + 0.5 for j in range(0, rows, every_y)], [value_text(v) for v in grid.y_values[::every_y]])


_HATCHES = {Kind.NOT_WITHIN: "xxxx", Kind.UNDER_HALF: "xx", Kind.LATER: "////"}


def _write_cell(
    axes: PlotAxes, middle: tuple[float, float], words: tuple[str, str], fill: Any, *, hatched: bool
) -> None:
    from matplotlib.colors import to_rgb

    x, y = middle
    main, small = words
    red, green, blue = to_rgb(fill)
    ink = palette.INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.55 else palette.PAPER
    if not small:
        axes.text(x, y, main, ha="center", va="center", color=palette.MUTED)
        return
    box = {"facecolor": fill, "edgecolor": "none", "pad": 1.0} if hatched else None
    axes.text(x, y - 0.2, small, ha="center", va="center", color=ink, fontsize=palette.SMALL_POINTS, bbox=box)
    axes.text(x, y + 0.18, main, ha="center", va="center", color=ink, fontweight="bold", bbox=box)


def _draw_bar(figure: Figure, layer: _Layer, place: tuple[float, float, float], size: tuple[float, float]) -> None:
    from matplotlib.cm import ScalarMappable

    x, y, bar_height = place
    width, height = size
    axes = figure.add_axes((x / width, y / height, 0.1 / width, bar_height / height))
    bar = figure.colorbar(ScalarMappable(layer.norm, layer.colours), cax=axes)
    bar.outline.set_visible(False)
    bar.ax.minorticks_off()
    bar.set_ticks(list(layer.ticks), labels=list(layer.tick_labels))
    bar.ax.tick_params(length=2, labelsize=palette.SMALL_POINTS - 0.5)


def _map_legend(grids: Sequence[Panel]) -> list[Patch]:
    from matplotlib.patches import Patch

    cells = [cell for grid in grids for row in grid.cells for cell in row]
    kinds = {cell.kind for cell in cells}
    words = {
        Kind.NOT_WITHIN: "not in n: none grokked within n steps, all followed to the end of their budget",
        Kind.UNDER_HALF: "<½ in n: fewer than half of the networks grok within n steps",
        Kind.LATER: "open, >n, ≥n: not known yet, or later than step n if at all; others were followed no further",
        Kind.EMPTY: "–: no trial has reported yet",
    }
    patches = [
        Patch(
            facecolor=palette.CENSORED_FILL if kind in _HATCHES else palette.PAPER,
            edgecolor=palette.CENSORED_HATCH, hatch=_HATCHES.get(kind), label=text, linewidth=0.6,
        )
        for kind, text in words.items()
        if kind in kinds
    ]  # fmt: skip
    if any(cell.late_or_never for cell in cells):
        late = "?: it cannot be told whether the networks without a grok are late or never grok"
        patches.append(Patch(facecolor=palette.PAPER, edgecolor=palette.PAPER, label=late))
    return patches
