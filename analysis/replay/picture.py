"""The picture of a replay: what each rule saved against what it lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.pictures import palette
from analysis.replay.table import Line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MARKERS = "osD^vPX*<>"


def saved_against_lost(lines: Sequence[Line]) -> Figure:
    """Draw the share of steps that each rule saved against the share of grokkers that it lost.

    A rule that was calibrated at several levels is one curve; bars are 95 % intervals of the lost share. The dashed
    lines are what an oracle would save, and one that knows hard failures only.

    Args:
        lines: the lines of a replay, at least one.
    """
    rules = list(dict.fromkeys(line.rule for line in lines))
    with palette.style():
        figure = palette.new_figure(6.6, 4.4)
        axes = figure.add_subplot()
        for place, rule in enumerate(rules):
            scores = [line.score for line in lines if line.rule == rule]
            lost = [100 * len(one.lost) / max(one.grokkers, 1) for one in scores]
            saved = [100 * one.saved for one in scores]
            ends = [[100 * end for end in one.lost_interval] for one in scores]
            below = [max(at - low, 0.0) for at, (low, _) in zip(lost, ends, strict=True)]
            above = [max(high - at, 0.0) for at, (_, high) in zip(lost, ends, strict=True)]
            axes.errorbar(
                lost,
                saved,
                xerr=(below, above),
                label=rule,
                color=_COLOURS[place % len(_COLOURS)],
                marker=_MARKERS[place % len(_MARKERS)],
                markersize=4,
                linewidth=1,
                elinewidth=0.5,
                linestyle="-" if len(scores) > 1 else "none",
            )
        one = lines[0].score
        for name, steps in (("oracle", one.oracle_steps), ("oracle of hard failures", one.hard_oracle_steps)):
            height = 100 * steps / one.all_steps
            axes.axhline(height, color=palette.MUTED, linewidth=0.7, linestyle="--")
            axes.annotate(
                name,
                (1, height),
                xycoords=("axes fraction", "data"),
                xytext=(-2, 2),
                textcoords="offset points",
                ha="right",
                fontsize=palette.SMALL_POINTS,
                color=palette.MUTED,
            )
        axes.set_xlabel("grokkers lost (%)")
        axes.set_ylabel("steps saved (%)")
        axes.set_xlim(left=-1)
        axes.set_ylim(bottom=0)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        figure.tight_layout()
    return figure
