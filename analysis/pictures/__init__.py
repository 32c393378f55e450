"""The pictures: accuracy and complexity along training, and the map of when and whether a network groks.

Drawn without pyplot, so there is no window and nothing to close; matplotlib is imported when the first picture is
drawn. `svg` and `png` turn a figure into a file's content, the same for the same data.
"""

from analysis.pictures.curves import curves_figure, settings_figure, trajectory_figure
from analysis.pictures.files import png, svg
from analysis.pictures.heat_map import cell_titles, map_figure

__all__ = [
    "cell_titles",
    "curves_figure",
    "map_figure",
    "png",
    "settings_figure",
    "svg",
    "trajectory_figure",
]
