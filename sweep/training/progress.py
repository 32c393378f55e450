"""The progress of a sweep: counting, estimating the time left, and displaying both unobtrusively."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from analysis.words import plain

if TYPE_CHECKING:
    from sweep.results.cohort import Cohort

WINDOW_S = 60.0
"""Rates are averages over this most recent stretch of time."""

LIVE_EVERY_S = 0.25
PLAIN_EVERY_S = 10.0

LONGEST_BAR = 80

FULL_BUDGET_PRIOR = 4
"""The estimate of the time left adds this many trials that run to their full budget to those that have ended,
because trials that end early are the first to end."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a sweep. Trials from earlier runs are counted."""

    trials: int
    done: int
    running: int
    grokked: int
    """Trials whose grok step has been seen, including running ones."""
    stopped: int
    failed_cohorts: int
    trials_per_minute: float | None
    """None until a trial has ended in this run."""
    steps_per_s: float | None
    """Optimiser updates a second, summed over all trials that run; None until there is a result."""
    left_s: float | None
    """Estimated seconds until the last trial ends; None until there is a result."""

    def __str__(self) -> str:
        parts = [
            f"{self.done}/{self.trials} trials",
            f"{self.running} running",
            f"{self.grokked} grokked",
            f"{self.stopped} stopped",
        ]
        if self.failed_cohorts:
            parts.append(f"{self.failed_cohorts} cohorts failed")
        if self.trials_per_minute is not None:
            parts.append(f"{self.trials_per_minute:.1f} trials/min")
        if self.steps_per_s is not None:
            parts.append(f"{self.steps_per_s:,.0f} steps/s")
        if self.left_s is not None and self.done < self.trials:
            parts.append(f"{duration(self.left_s)} left")
        return " · ".join(parts)


class Tally:
    """Counts trials from the results of their cohorts.

    Args:
        requested: ids of all requested trials.
        ended: trial id -> ending, for trials that have ended before.
        grokked: ids of trials that have grokked before.
        cohorts: the cohorts to run.
        clock: returns seconds, for rates.
    """

    def __init__(
        self,
        requested: Sequence[str],
        ended: Mapping[str, str],
        grokked: Collection[str],
        cohorts: Sequence[Cohort],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._requested = set(requested)
        self._ended = {trial_id: why for trial_id, why in ended.items() if trial_id in self._requested}
        self._stopped = list(self._ended.values()).count("stopped")
        self._grokked = self._requested & set(grokked)
        self._budgets = {trial.trial_id: trial.steps for cohort in cohorts for trial in cohort.trials}
        self._mean_budget = sum(self._budgets.values()) / max(len(self._budgets), 1)
        self._remaining = {
            cohort.cohort_id: sum(trial.steps for trial in cohort.trials if trial.trial_id not in ended)
            for cohort in cohorts
        }
        self._running = dict.fromkeys(self._remaining, 0)
        self._failed: set[str] = set()
        self._clock = clock
        self._trained_steps = 0
        self._ended_here: set[str] = set()
        self._used = 0
        """Steps trained by the trials that ended here."""
        self._budget = 0
        """Budgets of the trials that ended here, in steps."""
        self._past = deque([(clock(), 0, 0)])

    def result(self, cohort_id: str, result: Mapping[str, Any]) -> None:
        """Take in a result of `CohortTrainable`."""
        for trial_id, (because, step) in result["ended"].items():
            if trial_id in self._requested:
                self._stopped += (because == "stopped") - (self._ended.get(trial_id) == "stopped")
                self._ended[trial_id] = because
            if trial_id not in self._ended_here and trial_id in self._budgets:
                self._used += step
                self._budget += self._budgets[trial_id]
            self._ended_here.add(trial_id)
        self._grokked |= self._requested & set(result["grokked"])
        self._running[cohort_id] = result["running"]
        if result["remaining_steps"] is not None:
            self._remaining[cohort_id] = result["remaining_steps"]
        self._trained_steps += result["trained_steps"]
        now = self._clock()
        self._past.append((now, self._trained_steps, len(self._ended_here)))
        # The oldest one kept lies at the window's beginning or before it, so that the window is never shorter.
        while len(self._past) > 2 and self._past[1][0] <= now - WINDOW_S:
            self._past.popleft()

    def add(self, cohorts: Sequence[Cohort]) -> None:
        """Count cohorts that were added to the sweep; their trials have not ended any more."""
        for cohort in cohorts:
            for trial in cohort.trials:
                self._budgets[trial.trial_id] = trial.steps
                self._stopped -= self._ended.pop(trial.trial_id, None) == "stopped"
            self._remaining[cohort.cohort_id] = sum(trial.steps for trial in cohort.trials)
            self._running[cohort.cohort_id] = 0

    @property
    def missing(self) -> bool:
        """Whether a requested trial has not ended."""
        return len(self._ended) < len(self._requested)

    @property
    def ended(self) -> dict[str, str]:
        """Trial id -> ending of the requested trials that have ended so far."""
        return dict(self._ended)

    @property
    def ended_here(self) -> int:
        """Number of trials that have ended in this run."""
        return len(self._ended_here & self._requested)

    def stands_still(self, cohort_id: str) -> None:
        """Note that a cohort's process is gone; another one may take over."""
        self._running[cohort_id] = 0

    def failed(self, cohort_id: str) -> None:
        """Note that a cohort has failed for good: no more results will come from it."""
        self._running[cohort_id] = self._remaining[cohort_id] = 0
        self._failed.add(cohort_id)

    def snapshot(self) -> Snapshot:
        """Return the current state. Called ten times a second; its cost does not grow with the number of trials."""
        (then, steps_then, ended_then), now = self._past[0], self._clock()
        elapsed_s = now - then
        steps = self._trained_steps - steps_then
        steps_per_s = steps / elapsed_s if steps and elapsed_s > 0 else None
        ended = len(self._ended_here) - ended_then
        return Snapshot(
            trials=len(self._requested),
            done=len(self._ended),
            running=sum(self._running.values()),
            grokked=len(self._grokked),
            stopped=self._stopped,
            failed_cohorts=len(self._failed),
            trials_per_minute=60 * ended / elapsed_s if ended and elapsed_s > 0 else None,
            steps_per_s=steps_per_s,
            left_s=self._expected_steps() / steps_per_s if steps_per_s else None,
        )

    def _expected_steps(self) -> float:
        """Return the remaining budget, times the share of their budgets that ended trials have used."""
        prior = FULL_BUDGET_PRIOR * self._mean_budget
        return sum(self._remaining.values()) * (self._used + prior) / max(self._budget + prior, 1)


class Progress(Protocol):
    """A display for the progress of a sweep."""

    def show(self, snapshot: Snapshot) -> None:
        """Take in the newest snapshot; called often."""

    def note(self, text: str) -> None:
        """Show a message without interrupting the display."""

    def close(self) -> None:
        """Show the last snapshot and release the terminal."""


class NoProgress:
    """Shows nothing."""

    def show(self, snapshot: Snapshot) -> None:
        """Ignore the snapshot."""

    def note(self, text: str) -> None:
        """Ignore the text."""

    def close(self) -> None:
        """Do nothing."""


class OneLine:
    """One line on standard error that is overwritten again and again, for a call in a notebook."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = clock()
        self._text = ""
        self._width = 0

    def show(self, snapshot: Snapshot) -> None:
        """Take in the newest snapshot, and show it when it is time."""
        self._text = str(snapshot)
        if self._clock() >= self._next:
            self._next = self._clock() + LIVE_EVERY_S
            self._write(self._text)

    def note(self, text: str) -> None:
        """Print a line of its own above."""
        self._write(plain(text).ljust(self._width) + "\n")
        self._width = 0
        self._write(self._text)

    def close(self) -> None:
        """Leave the last snapshot visible."""
        if self._text:
            self._write(self._text.ljust(self._width) + "\n")

    def _write(self, text: str) -> None:
        """Overwrite the previous text, whatever its length."""
        # A ValueError says that somebody has closed the stream, as notebooks do with a cell's output.
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write("\r" + text.ljust(self._width))
            sys.stderr.flush()
        self._width = len(text.rstrip("\n"))


class SteadyConsole(Console):
    """A console that survives a broken pipe: rich would end the process and silence standard output."""

    def on_broken_pipe(self) -> None:
        """Stop printing."""
        self.quiet = True


class TerminalProgress:
    """Two lines that stay in place on a terminal; elsewhere, a line every ten seconds.

    Trouble with the terminal ends the display, never the sweep.

    Args:
        console: the console to write to; standard error by default, so that results on standard output stay clean.
        clock: returns seconds.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or SteadyConsole(stderr=True)
        self._clock = clock
        self._live = (
            Live(console=self._console, auto_refresh=False, transient=True) if self._console.is_terminal else None
        )
        self._last: Snapshot | None = None
        self._next = clock() if self._live else clock() + PLAIN_EVERY_S

    def show(self, snapshot: Snapshot) -> None:
        """Take in the newest snapshot, and show it when it is time."""
        self._last = snapshot
        now = self._clock()
        if now < self._next:
            return
        self._next = now + (LIVE_EVERY_S if self._live else PLAIN_EVERY_S)
        with self._at_your_own_risk():
            if self._live is None:
                self._say(str(snapshot))
            else:
                self._live.start()
                self._live.update(_two_lines(snapshot, self._console.width), refresh=True)

    def note(self, text: str) -> None:
        """Print a line of its own above the display."""
        with self._at_your_own_risk():
            self._say(text)

    def close(self) -> None:
        """Leave the last snapshot as a plain line."""
        with self._at_your_own_risk():
            if self._live is not None:
                self._live.stop()
            if self._last is not None:
                self._say(str(self._last))

    def _say(self, text: str) -> None:
        self._console.print(plain(text), soft_wrap=True, markup=False, highlight=False)

    @contextlib.contextmanager
    def _at_your_own_risk(self) -> Iterator[None]:
        with contextlib.suppress(Exception):
            yield


def duration(seconds: float) -> str:
    """Write a duration for people: `less than a minute`, `7 min`, `2 h 10 min`, `3 d 4 h`."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def _two_lines(snapshot: Snapshot, width: int) -> Text:
    length = min(width, LONGEST_BAR)
    filled = length * snapshot.done // max(snapshot.trials, 1)
    return Text.assemble(
        ("━" * filled, "green"),
        ("━" * (length - filled), "dim"),
        "\n",
        str(snapshot),
        no_wrap=True,
        overflow="ellipsis",
    )
