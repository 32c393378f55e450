"""Counting trials, the time that is left, and a display that never gets in the way."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import pytest
from rich.console import Console

from sweep.plan.plan import group
from sweep.results.cohort import Cohort
from sweep.specification.config import SweepConfig
from sweep.specification.trials import trials
from sweep.training.progress import (
    PLAIN_EVERY_S,
    NoProgress,
    Snapshot,
    SteadyConsole,
    Tally,
    TerminalProgress,
    duration,
)
from tests.sweep.made_up import on_cores


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def cohorts() -> list[Cohort]:
    """Two cohorts of two trials with a budget of 1000 steps each."""
    config = SweepConfig(
        task={"modulus": 7}, model={"kind": "mlp", "width": 4}, weight_decay=[0.0, 1.0], seeds=2, steps=1000
    )
    [template, *_] = group(trials(config), config, sharing=on_cores(1))
    everything = trials(config)
    return [
        dataclasses.replace(template, cohort_id=f"c{index}", index=index, trials=tuple(everything[2 * index :][:2]))
        for index in range(2)
    ]


def result(
    trained: int, remaining: int, running: int = 2, grokked: tuple[str, ...] = (), **ended: tuple[str, int]
) -> dict[str, Any]:
    return {
        "trained_steps": trained,
        "remaining_steps": remaining,
        "running": running,
        "grokked": list(grokked),
        "ended": {trial_id: list(values) for trial_id, values in ended.items()},
        "note": None,
        "failure": None,
    }


def test_counting() -> None:
    first, second = cohorts()
    (a, b), (c, d) = first.trial_ids, second.trial_ids
    clock = Clock()
    earlier = {"earlier": "grokked", "not asked for": "grokked"}
    tally = Tally(["earlier", a, b, c, d], earlier, ["earlier", "not asked for"], [first, second], clock)
    empty = tally.snapshot()
    assert (empty.done, empty.trials, empty.running, empty.grokked) == (1, 5, 0, 1)
    assert (empty.trials_per_minute, empty.steps_per_s, empty.left_s) == (None, None, None)

    clock.now += 10
    tally.result("c0", result(200, 1800))
    tally.result("c1", result(200, 1800, grokked=(c, "not asked for either")))
    assert tally.snapshot().running == 4
    assert tally.snapshot().grokked == 2, "one of an earlier run, and one that still runs"
    assert tally.snapshot().steps_per_s == 40
    assert tally.snapshot().left_s == 3600 / 40

    clock.now += 10
    tally.result("c0", result(300, 600, running=1, **{a: ("stopped", 300)}))
    snapshot = tally.snapshot()
    assert (snapshot.done, snapshot.running, snapshot.stopped, snapshot.grokked) == (2, 3, 1, 2)
    assert snapshot.trials_per_minute == 3
    assert snapshot.left_s is not None
    # What is left of the budgets at this rate is more than is expected: one trial has ended early.
    assert 0 < snapshot.left_s < 2400 / (700 / 20)

    # A process is killed; the next one repeats what had not been reported. Nothing is counted twice.
    tally.stands_still("c0")
    assert tally.snapshot().running == 2
    tally.result("c0", result(300, 600, running=1, **{a: ("stopped", 300)}))
    assert tally.snapshot().done == 2

    tally.failed("c0")
    tally.result("c1", result(1600, 0, running=0, grokked=(c, d), **{c: ("budget", 1000), d: ("grokked", 800)}))
    snapshot = tally.snapshot()
    assert (snapshot.done, snapshot.running, snapshot.grokked, snapshot.failed_cohorts) == (4, 0, 3, 1)
    assert snapshot.left_s == 0
    assert b not in {a, c, d}


def test_rates_are_those_of_the_last_minute() -> None:
    first, _ = cohorts()
    clock = Clock()
    tally = Tally(first.trial_ids, {}, [], [first], clock)
    for _ in range(200):
        clock.now += 1
        tally.result("c0", result(10, 1000))
    for _ in range(100):
        clock.now += 1
        tally.result("c0", result(20, 1000))
    assert tally.snapshot().steps_per_s == pytest.approx(20, rel=0.05)


SNAPSHOT = Snapshot(
    trials=48,
    done=12,
    running=8,
    grokked=5,
    stopped=3,
    failed_cohorts=0,
    trials_per_minute=9.25,
    steps_per_s=12345.6,
    left_s=250.0,
)


def test_a_snapshot_in_words() -> None:
    assert str(SNAPSHOT) == (
        "12/48 trials · 8 running · 5 grokked · 3 stopped · 9.2 trials/min · 12,346 steps/s · 4 min left"
    )
    finished = dataclasses.replace(SNAPSHOT, done=48, running=0, failed_cohorts=1)
    assert "left" not in str(finished)
    assert "1 cohorts failed" in str(finished)


def test_plain_lines_where_there_is_no_terminal() -> None:
    clock, output = Clock(), io.StringIO()
    progress = TerminalProgress(Console(file=output, width=40), clock)
    for _ in range(100):
        progress.show(SNAPSHOT)
        clock.now += PLAIN_EVERY_S / 50
    progress.note("a cohort [1/2] starts again")
    progress.close()
    lines = output.getvalue().splitlines()
    assert lines == [str(SNAPSHOT), "a cohort [1/2] starts again", str(SNAPSHOT)]


def test_two_lines_on_a_terminal_whatever_its_width() -> None:
    for width in (20, 80, 200):
        clock, output = Clock(), io.StringIO()
        console = Console(file=output, width=width, height=10, force_terminal=True, color_system=None)
        progress = TerminalProgress(console, clock)
        progress.show(SNAPSHOT)
        shown = output.getvalue()
        assert "12/48 trials" in shown
        assert shown.count("\n") == 1
        progress.show(SNAPSHOT)
        assert output.getvalue() == shown  # not again within a quarter of a second
        clock.now += 1
        progress.show(dataclasses.replace(SNAPSHOT, done=13))
        assert "13/48 trials" in output.getvalue()
        progress.close()
        assert output.getvalue().endswith(str(dataclasses.replace(SNAPSHOT, done=13)) + "\n")


def test_a_broken_terminal_does_not_end_the_sweep() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    for force_terminal in (True, False):
        clock = Clock()
        progress = TerminalProgress(SteadyConsole(file=Broken(), force_terminal=force_terminal), clock)
        clock.now += 100
        progress.show(SNAPSHOT)
        progress.note("still here")
        progress.close()


def test_no_progress_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = NoProgress()
    progress.show(SNAPSHOT)
    progress.note("anything")
    progress.close()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "less than a minute"), (61, "1 min"), (3599, "1 h 0 min"), (7800, "2 h 10 min"), (100_000, "1 d 3 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
