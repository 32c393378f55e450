"""Axes of steps and of complexity, the same in every picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.pictures import palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes as PlotAxes


def robust_top(complexity: pd.Series[Any]) -> float:
    """Return the upper end of the complexity axis, bytes: the largest, unless outliers would flatten the rest."""
    values = complexity.dropna().to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    if not len(values):
        return 1000.0
    largest, usual = float(values.max()), float(np.quantile(values, 0.99))
    return 1.1 * (largest if largest <= 3 * usual else usual)


def log_steps(axes: PlotAxes, last_step: int) -> None:
    """Set a logarithmic axis with step 0 on it: linear from 0 to 1, then decades."""
    axes.set_xscale("symlog", linthresh=1.0, linscale=0.3)
    decades = [10**power for power in range(int(math.log10(last_step)) + 1)]
    # Longer labels would touch those of the next panel.
    labels = [f"{decade:,}" if decade < 10_000 else f"{decade // 1000}k" for decade in decades]
    axes.set_xticks([0, *decades], ["0", *labels])
    minor = [decade * digit for decade in decades for digit in range(2, 10) if decade * digit <= last_step]
    axes.set_xticks(minor, minor=True)
    axes.tick_params(axis="x", which="minor", length=1.5, color=palette.MUTED)
    axes.set_xlim(-0.15, last_step * 1.25)


def linear_steps(axes: PlotAxes, last_step: int) -> None:
    """Set an axis of equal steps: a logarithmic one would hide what follows an exchange."""
    axes.locator_params(axis="x", nbins=4)
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}" if step < 10_000 else f"{step / 1000:g}k")
    axes.set_xlim(-0.02 * last_step, last_step * 1.02)
