from __future__ import annotations

from analysis.pictures import svg
from analysis.replay.picture import saved_against_lost
from analysis.replay.rules import named_rule
from analysis.replay.table import replay
from tests.analysis.replay.test_table import made


def test_each_rule_is_named_and_drawn_where_it_belongs() -> None:
    done = replay(made(), [named_rule("stall"), named_rule("decline")], alphas=(0.1, 0.2))
    figure = saved_against_lost(done.lines)
    axes = figure.axes[0]
    drawn = [container.lines[0].get_xydata().tolist() for container in axes.containers]  # type: ignore[attr-defined]
    scores = [line.score for line in done.lines]
    expected = [[100 * len(one.lost) / one.grokkers, 100 * one.saved] for one in scores]
    assert drawn == [expected[:2], expected[2:]]
    words = svg(figure)
    for word in ("stall", "decline", "oracle", "oracle of hard failures", "grokkers lost (%)", "steps saved (%)"):
        assert f">{word}</text>" in words
