"""The certificate of a sweep that parks trials: what was stopped, what was followed then, and what that proves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from analysis.errors import AnalysisError
from analysis.events import grokked_trials
from analysis.load import Results
from analysis.results_folder import opened
from analysis.stopping.certificate import Audit, Certificate, Certify, drawing_order, known_fates
from analysis.stopping.parking import PREFIX
from analysis.words import counted

_FOLLOWED = ("grokked", "budget", "diverged")
"""Endings after which the fate of a trial is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoppedTrials:
    """The trials of a sweep that its parking rule has stopped, those drawn and followed afterwards included."""

    asked: Certify
    """What the certificate is to say."""
    order: list[str]
    """Their ids in the order of drawing."""
    drawn: dict[str, int]
    """Ids of those that were drawn -> the step at which they had been stopped."""
    fates: dict[str, bool]
    """Ids of drawn trials that were followed to their end -> whether they grokked."""
    grokkers: int
    """Number of known grokkers that are not among them."""
    saved_steps: int
    """Steps that stopping has saved, before any were drawn."""
    audit_steps: int
    """Steps that drawn trials have been trained since they were stopped."""
    remaining_steps: dict[str, int]
    """Ids of the trials that are not drawn -> steps to the end of their budget."""

    @property
    def audit(self) -> Audit:
        """The plan of draws."""
        return Audit(len(self.order), self.grokkers, self.asked)

    @property
    def certificate(self) -> Certificate:
        """What the draws so far prove."""
        return self.audit.certificate(known_fates(self.order, self.fates))

    def next_draws(self) -> list[str]:
        """Return the trials to be followed now: up to the next look, if the steps that were saved pay for it."""
        draws = [one for one in self.audit.to_follow(self.order, self.fates) if one not in self.drawn]
        cost = sum(self.remaining_steps[trial_id] for trial_id in draws)
        return draws if self.audit_steps + cost <= self.asked.allowance * self.saved_steps else []

    @property
    def sentences(self) -> str:
        """What was saved, what the audit has cost, and what it proves, to show to people."""
        text = f"The rule stopped {counted(len(self.order), 'trial')}, which saved {self.saved_steps:,} steps"
        if self.drawn:
            grokked = sum(self.fates.values())
            text += (
                f"; {len(self.drawn):,} of them {'was' if len(self.drawn) == 1 else 'were'} drawn and followed for "
                f"{self.audit_steps:,} steps, and {grokked:,} grokked"
            )
        return f"{text}. {self.certificate.sentence[0].upper()}{self.certificate.sentence[1:]}."


def stopped_trials(path: Results) -> StoppedTrials | None:
    """Return what the parking rule has stopped in a sweep; None if no requested trial was under such a rule.

    Args:
        path: the results folder, local or `s3://...`, or one that is opened.

    Raises:
        AnalysisError: the folder cannot be read.
    """
    folder = opened(path)
    requested = set(folder.request())
    homes = {name: home for name, home in folder.cohort_of_trials().items() if name in requested}
    names = ["trial_id", "ended_because", "ended_at_step", "stop_rule"]
    ended = {row["trial_id"]: row for row in folder.table("trials", names).to_pylist() if row["trial_id"] in homes}
    # What counts is the cohort that a trial counts in: a draw that was recorded and not begun is none.
    drawn = {name: step for name, home in homes.items() if (step := _drawn_at(home.stated, name)) is not None}
    parked = {name: row for name, row in ended.items() if str(row["stop_rule"]).startswith(PREFIX)}
    if not (parked or drawn):
        return None
    since = {
        name: row["ended_at_step"] for name, row in parked.items() if row["ended_because"] == "stopped"
    } | drawn
    budgets = {name: homes[name].configs[name]["steps"] for name in since}
    grokked = grokked_trials(folder, in_last_phase=True) & homes.keys()
    followed = {name: ended[name] for name in drawn if name in ended}
    return StoppedTrials(
        asked=_asked(folder.specification.get("certify")),
        order=drawing_order(since),
        drawn=drawn,
        fates={name: name in grokked for name, row in followed.items() if row["ended_because"] in _FOLLOWED},
        grokkers=len(grokked - since.keys()),
        saved_steps=sum(budgets[name] - step for name, step in since.items()),
        audit_steps=sum(row["ended_at_step"] - drawn[name] for name, row in followed.items()),
        remaining_steps={name: budgets[name] - step for name, step in since.items() if name not in drawn},
    )


def _drawn_at(stated: dict[str, Any], trial_id: str) -> int | None:
    """Return the step at which a trial had been stopped that a cohort follows to its end; None if it does not."""
    certifies = stated.get("certifies")
    step = certifies.get(trial_id) if isinstance(certifies, dict) else None
    return step if type(step) is int else None


def _asked(stated: object) -> Certify:
    """Return what a specification asks of the certificate; the defaults if it asks nothing."""
    try:
        return Certify(**stated) if isinstance(stated, dict) else Certify()
    except (TypeError, AnalysisError):
        return Certify()
