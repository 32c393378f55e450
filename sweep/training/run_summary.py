"""The result of a run, in numbers and in words."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analysis.stopping.certified import stopped_trials
from analysis.words import plain
from sweep.plan.plan import Plan, satisfies, stop_rule_of
from sweep.results.outcomes import Outcome
from sweep.results.store import Store
from sweep.specification.config import SweepConfig
from sweep.training.progress import Tally, duration

if TYPE_CHECKING:
    from trainables.config import TrialConfig

ENDED = {
    "grokked": "followed through the tail of their grok",
    "budget": "to the end of their budget",
    "stopped": "stopped by the rule",
    "diverged": "diverged",
}
"""The endings of trials, in words for a count of them."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """The result of a run."""

    results: str
    """The results folder."""
    trials: int
    """Number of requested trials."""
    ended: dict[str, int]
    """Ending -> number of requested trials, over all runs; without failed ones."""
    grokked: int
    """Number of requested trials whose grok step has been seen."""
    ended_here: int
    """Number of trials that ended in this run."""
    failed: dict[str, str] = field(default_factory=dict)
    """Cohort id -> why it failed for good in this run."""
    failed_trials: int = 0
    """Number of requested trials that have failed, over all runs."""
    stopped_by: signal.Signals | None = None
    """The signal that ended this run early."""
    problem: str | None = None
    """What ended this run early, if no signal did."""
    saved: bool = True
    """Whether these numbers were read from the results folder after the run. Otherwise it could not be read, and
    they are what the cohorts had reported."""
    parked: str | None = None
    """What the parking rule has saved, and what is certified of its losses; None without such a rule."""
    notes: tuple[str, ...] = ()
    """Information that may surprise."""
    wall_s: float = 0.0

    @property
    def done(self) -> int:
        """Number of requested trials that have ended."""
        return sum(self.ended.values())

    @property
    def missing(self) -> int:
        """Number of requested trials that have neither ended nor failed."""
        return self.trials - self.done - self.failed_trials

    @property
    def exit_code(self) -> int:
        """0 if all trials have ended, 128 + the signal's number after a signal (130 for Ctrl-C), else 1."""
        if self.stopped_by is not None:
            return 128 + self.stopped_by
        return 0 if self.done == self.trials else 1

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {ENDED[because]}" for because, count in sorted(self.ended.items()))
        why = f" ({counts})" if counts else ""
        lines = [f"{self.done} of {self.trials} trials are done{why}; {self.grokked} grokked."]
        if self.ended_here:
            lines.append(f"This run took {duration(self.wall_s)} for {self.ended_here} of them.")
        elif self.done == self.trials:
            lines.append("All of them had results already; nothing was run.")
        if self.parked is not None:
            lines.append(self.parked)
        lines += [f"Note: {note}." for note in self.notes]
        lines += [f"Cohort {cohort_id} failed: {reason}" for cohort_id, reason in self.failed.items()]
        if self.failed_trials:
            lines.append(f"{self.failed_trials} trials failed; try them again with --retry-failed.")
        if self.problem is not None:
            lines.append(f"The run ended early: {self.problem}.")
        if self.stopped_by is not None:
            lines.append(f"Interrupted ({self.stopped_by.name}).")
        if self.missing and self.saved:
            lines.append(f"{self.missing} trials are left; the same command resumes from here. Nothing is lost.")
        elif self.missing:
            lines.append(f"{self.missing} trials are left.")
        return plain("\n".join(lines))


def summary_as_heard(store: Store, decided: Plan, tally: Tally) -> RunSummary:
    """Summarise what cohorts have reported, for a results folder that cannot be read."""
    return RunSummary(
        results=store.path,
        trials=len(decided.trials),
        ended=dict(Counter(tally.ended.values())),
        grokked=tally.snapshot().grokked,
        ended_here=tally.ended_here,
        saved=False,
        notes=tuple(decided.notes),
    )


def summary_of(config: SweepConfig, store: Store, decided: Plan) -> RunSummary:
    """Summarise what now exists of the request, and how much of it did not exist when it was planned."""
    outcomes = store.outcomes()
    ended = ended_of(outcomes, decided.trials, stop_rule_of(config))
    requested = [trial.trial_id for trial in decided.trials]
    stopped = stopped_trials(store.path) if config.stop == "park" and ended else None
    return RunSummary(
        results=store.path,
        trials=len(requested),
        ended=dict(Counter(ended.values())),
        grokked=len(store.grokked().intersection(requested)),
        ended_here=len(ended.keys() & set(decided.to_run)),
        failed_trials=sum(outcomes[name].ended_because == "failed" for name in requested if name in outcomes),
        parked=None if stopped is None else stopped.sentences,
        notes=tuple(decided.notes),
    )


def ended_of(outcomes: Mapping[str, Outcome], trials: Sequence[TrialConfig], rule: str) -> dict[str, str]:
    """Return trial id -> ending, for trials that have ended as requested; a shorter earlier attempt does not count.

    Args:
        outcomes: outcomes of trials.
        trials: the requested trials.
        rule: name of the requested stopping rule.
    """
    there = ((trial, outcomes[trial.trial_id]) for trial in trials if trial.trial_id in outcomes)
    return {o.trial_id: o.ended_because for trial, o in there if satisfies(o, trial.steps, rule)}
