"""What a run has come to, in numbers and in words."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sweep.plan.plan import Plan, satisfies, stop_rule_of
from sweep.results.store import Outcome, Store
from sweep.specification.config import SweepConfig
from sweep.training.progress import duration

if TYPE_CHECKING:
    from trainables.config import TrialConfig

ENDED = {
    "grokked": "followed through the tail of their grok",
    "budget": "to the end of their budget",
    "stopped": "stopped by the rule",
    "diverged": "diverged",
}
"""Why a trial ended, in words for a count of them."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What a run has come to."""

    results: str
    """The results folder."""
    trials: int
    """Trials asked for."""
    ended: dict[str, int]
    """Why -> how many of them, over all runs; without failed ones."""
    grokked: int
    """Trials asked for whose grok step has been seen."""
    ended_here: int
    """Trials that this run has ended."""
    failed: dict[str, str] = field(default_factory=dict)
    """Cohort id -> why it failed for good in this run."""
    failed_trials: int = 0
    """Trials asked for that have failed, over all runs."""
    stopped_by: signal.Signals | None = None
    """The signal that ended this run early."""
    problem: str | None = None
    """What ended this run early, if no signal did."""
    notes: tuple[str, ...] = ()
    """What may surprise."""
    wall_s: float = 0.0

    @property
    def done(self) -> int:
        """Trials asked for that have ended."""
        return sum(self.ended.values())

    @property
    def missing(self) -> int:
        """Trials asked for that have neither ended nor failed."""
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
            lines.append("All of them were there already; nothing was run.")
        lines += [f"Note: {note}." for note in self.notes]
        lines += [f"Cohort {cohort_id} failed: {reason}" for cohort_id, reason in self.failed.items()]
        if self.failed_trials:
            lines.append(f"{self.failed_trials} trials failed; try them again with --retry-failed.")
        if self.problem is not None:
            lines.append(f"The run ended early: {self.problem}")
        if self.stopped_by is not None:
            lines.append(f"Interrupted ({self.stopped_by.name}).")
        if self.missing:
            lines.append(f"{self.missing} trials are left; the same command goes on from here. Nothing is lost.")
        return "\n".join(lines)


def summary_of(config: SweepConfig, store: Store, decided: Plan) -> RunSummary:
    """What there is now of what was asked for, and how much of it was not there when it was planned."""
    outcomes = store.outcomes()
    ended = ended_of(outcomes, decided.trials, stop_rule_of(config))
    requested = [trial.trial_id for trial in decided.trials]
    return RunSummary(
        results=store.path,
        trials=len(requested),
        ended=dict(Counter(ended.values())),
        grokked=len(store.grokked().intersection(requested)),
        ended_here=len(ended.keys() & set(decided.to_run)),
        failed_trials=sum(outcomes[name].ended_because == "failed" for name in requested if name in outcomes),
        notes=tuple(decided.notes),
    )


def ended_of(outcomes: Mapping[str, Outcome], trials: Sequence[TrialConfig], rule: str) -> dict[str, str]:
    """Trial id -> why, of those that have ended as asked for; a shorter attempt before is no end of a longer one.

    Args:
        outcomes: What became of trials.
        trials: What is asked for.
        rule: Name of the stopping rule asked for.
    """
    there = ((trial, outcomes[trial.trial_id]) for trial in trials if trial.trial_id in outcomes)
    return {o.trial_id: o.ended_because for trial, o in there if satisfies(o, trial.steps, rule)}
