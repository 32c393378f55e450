from __future__ import annotations

import pytest

from analysis.events import Thresholds
from analysis.stopping.lapses import Lapse, lapses, recovery
from analysis.trajectory import Trajectory


def path(*accuracy: float) -> Trajectory:
    n = len(accuracy)
    return Trajectory.of([10 * at for at in range(n)], [1.0] * n, accuracy, [None] * n)


def test_lapses_are_the_times_below_after_the_grok() -> None:
    known = lapses(
        (name, one, Thresholds())
        for name, one in {
            "kept": path(0.2, 1, 1, 1, 1),
            "none": path(0.2, 1, 0.5, 1, 0.2),
            "back": path(0.2, 1, 1, 1, 0.9, 0.9, 1),
            "twice": path(1, 1, 1, 0.9, 1, 0.9, 0.8),
        }.items()
    )
    assert known == {
        "back": [Lapse(40, 60, 20)],
        "twice": [Lapse(30, 40, 10), Lapse(50, None, 10)],
    }


def test_recovery_compares_with_lapses_that_lasted_as_long() -> None:
    mine = Lapse(100, None, 20)
    others = [Lapse(0, 10, 10), Lapse(0, 20, 20), Lapse(0, 50, 50), Lapse(0, None, 20), Lapse(0, None, 90)]
    told = recovery(mine, others)
    assert (told.lapses, told.recovered, told.further_steps) == (3, 2, 0)
    assert told.chance == pytest.approx(2.5 / 4)
    assert told.sentence == "Of 3 lapses of other trials that lasted as long 2 recovered."
    none = recovery(mine, others[-1:])
    assert (none.recovered, none.further_steps, none.chance) == (0, None, 0.25)
    assert none.sentence == "Of 1 lapse of other trials that lasted as long none recovered."
    assert recovery(mine, []).chance == 0.5
