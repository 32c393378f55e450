"""A figure as the content of a file, the same for the same data."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from analysis.pictures import palette
from analysis.words import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Resolution of the PNGs, dots per inch.
PNG_DPI = 160


def png(figure: Figure) -> bytes:
    """Render the figure as a PNG; the same figure always gives the same bytes."""
    with palette.style():
        buffer = io.BytesIO()
        # matplotlib writes its version into each file, and the date into an SVG, unless told not to.
        figure.savefig(buffer, format="png", dpi=PNG_DPI, metadata={"Software": None})
        return buffer.getvalue()


def svg(figure: Figure, *, titles: Mapping[str, str] | None = None) -> str:
    """Render the figure as an SVG document whose words are text; the same figure always gives the same characters.

    Args:
        figure: a figure from one of the functions of `analysis.pictures`.
        titles: hover text by the id of a part of the picture.
    """
    with palette.style():
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    # Prefer the font of the layout, then one of the same widths, then any sans-serif font.
    text = buffer.getvalue().replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    hover = titles or {}

    def titled(match: re.Match[str]) -> str:
        title = hover.get(match[1])
        return match[0] if title is None else f"{match[0]}<title>{escape(title)}</title>"

    # A control character in a name would make the document invalid.
    return plain(re.sub(r'<g id="([^"]+)">', titled, text))
