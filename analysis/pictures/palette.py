"""Colours, hatches and type sizes of all pictures, each defined once.

Colours are Okabe and Ito's, told apart by people with any colour vision; every difference is also carried by
a line style, a marker, a hatch or a word, so that a picture survives a grey-scale printer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#1f2328"
MUTED = "#66707a"
GRID = "#e3e6ea"
PAPER = "#ffffff"

TRAIN = "#b35900"
VALIDATION = "#0072b2"
COMPLEXITY = "#1f2328"
EVENT = "#66707a"
STOP = "#b3261e"

#: Fill of a map's cells whose median is not a number: a colour that is not on the scale, and hatched.
CENSORED_FILL = "#f1f2f4"
CENSORED_HATCH = "#b3bac2"

TITLE_POINTS = 10.0
TEXT_POINTS = 8.5
SMALL_POINTS = 7.5

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": TEXT_POINTS,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.titlesize": TITLE_POINTS,
    "axes.labelsize": TEXT_POINTS,
    "axes.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": SMALL_POINTS,
    "ytick.labelsize": SMALL_POINTS,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": SMALL_POINTS,
    # Names of tasks and settings are the user's: a `$` in them is a character, not the start of a formula.
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "grokking-sweep",
    "pdf.fonttype": 42,
}


@contextmanager
def style() -> Iterator[None]:
    """Make everything drawn or saved inside look the same on every machine, whatever the user's settings."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def new_figure(width_inches: float, height_inches: float) -> Figure:
    """Create a figure outside pyplot: no window, and no global list to close."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inches, height_inches))
    FigureCanvasAgg(figure)
    return figure
