"""The decline rule: stop a trial once it is clear that its complexity will not fall within its budget.

One pure function, `stop_decision`, serves the lane loop, Tune's stopper and the replay of recorded results. It
looks only at a trial's own trajectory, so a trial's fate does not depend on the trials it runs with.

The defaults rest on 60 trial runs of 20,000 steps (addition modulo 59). 48 of them memorised and 33 of these
grokked, at 1.2 to 53 times their memorisation step, half by 7 times and nine tenths by 24 times. The decline of
complexity came with the rise of validation accuracy, not before it. The two clauses and the probability follow from
these figures alone, so the probability is an estimate for similar tasks; the audit share says how far it holds
elsewhere.

Write r for step / memorisation step, R for budget / memorisation step, pi for the share of memorised trials that
decline at all, and S for the survival function of the ratio at which they do, log-normal through the two
quantiles:

    memorised, no decline so far    P = pi (S(r) - S(R)) / (pi S(r) + 1 - pi)
    not memorised so far            P <= pi (1 - S(budget / step)), as if it memorised at this very step
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass, fields
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from analysis.errors import require_finite, require_shares
from analysis.events import Events, Thresholds, trajectory_events
from analysis.intervals import wilson
from analysis.trajectory import Trajectory

if TYPE_CHECKING:
    import pandas as pd

#: Share of memorised trials that declined at all: 33 of 48.
DECLINING_SHARE = 33 / 48
#: Observed median of decline step / memorisation step.
MEDIAN_RATIO = 7.0
#: Nine tenths had declined by this ratio.
NINE_TENTHS_RATIO = 24.0

_LOG_RATIO = NormalDist(
    math.log(MEDIAN_RATIO), math.log(NINE_TENTHS_RATIO / MEDIAN_RATIO) / NormalDist().inv_cdf(0.9)
)

_NAME = re.compile(r"decline-(\d+)\(((?:\w+=[\d.e+-]+(?:, )?)*)\)")

#: With fewer audited trials that the rule would have stopped, no error rate is stated: even without a single error
#: its 95 % interval would reach beyond 16 %.
AUDIT_MINIMUM = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class DeclineParameters:
    """Parameters of the decline rule."""

    version: ClassVar[int] = 1
    """Changes whenever the same parameters would decide differently."""

    patience: float = 30.0
    """A memorised trial is given this multiple of its own memorisation step to show a decline."""
    memorise_within: float = 0.5
    """A trial that has not memorised by this share of its budget may be stopped."""
    minimum_measurements: int = 3
    """Complexity measurements since memorisation (since the start, for the second clause) before any stop."""
    rise: float = 0.05
    """An accuracy this much above its best in the first half of the steps so far is rising, and saves the trial."""
    fall: float = 0.05
    """A complexity this share below its peak is declining, and saves the trial."""

    def __post_init__(self) -> None:
        require_finite(self, "patience", "minimum_measurements", prefix="decline.", at_least=1)
        require_shares(self, "memorise_within", "rise", "fall", prefix="decline.")


@dataclass(frozen=True, slots=True)
class Decision:
    """The rule's verdict at a step."""

    stop: bool
    reason: str
    """One sentence to show to people."""
    probability: float
    """Estimated probability that the trial will show the decline within its budget; 1 once it has."""


def stop_decision(
    history: Trajectory,
    budget_steps: int,
    parameters: DeclineParameters = DeclineParameters(),
    thresholds: Thresholds = Thresholds(),  # noqa: B008 (frozen)
    *,
    events: Events | None = None,
) -> Decision:
    """Decide whether a trial may be stopped at the last step of its history.

    A trial is never stopped if it has touched the grok threshold, if its complexity has declined or is declining,
    or if its validation accuracy is rising (before memorisation: its training accuracy, too).

    Args:
        history: the trial's evaluated steps so far.
        budget_steps: optimiser updates the trial is allowed.
        parameters: parameters of the rule.
        thresholds: what counts as memorised, grokked, declined.
        events: the events of the history, if they are known already.
    """
    events = trajectory_events(history, thresholds) if events is None else events
    step = int(history.step[-1]) if len(history) else 0
    probability = decline_probability(events, step, budget_steps)

    spared = spared_because(history, events, parameters, thresholds)
    if spared is not None:
        return Decision(False, spared, probability)
    if step >= budget_steps:
        return Decision(False, f"The budget of {budget_steps:,} steps is spent.", probability)
    if events.memorisation_step is None:
        return _not_memorised(history, step, budget_steps, parameters, probability)
    return _memorised(history, events, events.memorisation_step, step, parameters, probability)


def spared_because(
    history: Trajectory, events: Events, parameters: DeclineParameters, thresholds: Thresholds
) -> str | None:
    """Return the reason why a trial must not be stopped now in any case: one sentence, or None without a reason.

    Args:
        history: the trial's evaluated steps so far.
        events: the events of that history.
        parameters: parameters of the rule.
        thresholds: what counts as grokked and declined.
    """
    if (history.val_accuracy >= thresholds.grokked_at).any():
        return f"Validation accuracy has reached {thresholds.grokked_at:.3g}."
    if events.decline_onset_step is not None:
        return f"Complexity has declined, since step {events.decline_onset_step:,}."
    # The threshold itself also spares the trial, in case `fall` is set above it.
    if events.decline is not None and events.decline >= min(parameters.fall, thresholds.decline_at):
        return f"Complexity is {events.decline:.1%} below its peak."
    if _rise(history, history.val_accuracy) >= parameters.rise:
        return f"Validation accuracy is rising, now {history.val_accuracy[-1]:.3f}."
    return None


def decline_probability(events: Events, step: int, budget_steps: int) -> float:
    """Estimate the probability that a trial shows the decline within its budget, see the head of this module.

    Args:
        events: the events of its trajectory so far; with a decline onset the probability is 1.
        step: last evaluated step.
        budget_steps: optimiser updates the trial is allowed.
    """
    if events.decline_onset_step is not None:
        return 1.0
    if events.memorisation_step is None:
        return DECLINING_SHARE * (1 - _survival(max(budget_steps, step) / max(step, 1)))
    # Times are ratios to the memorisation step, which is 0 where the first weights know the answers.
    memorised = max(events.memorisation_step, 1)
    step = max(step, memorised)
    later, beyond = _survival(step / memorised), _survival(max(budget_steps, step) / memorised)
    return DECLINING_SHARE * (later - beyond) / (DECLINING_SHARE * later + 1 - DECLINING_SHARE)


def first_stop(
    history: Trajectory,
    budget_steps: int,
    parameters: DeclineParameters = DeclineParameters(),
    thresholds: Thresholds = Thresholds(),  # noqa: B008 (frozen)
) -> int | None:
    """Return the first step at which the rule would have stopped a trial, None if never: the rule replayed.

    Args:
        history: evaluated steps of a trial that was not stopped, or not by this rule.
        budget_steps: optimiser updates the trial was allowed.
        parameters: parameters of the rule.
        thresholds: what counts as memorised, grokked, declined.
    """
    # Quadratic, and quick even so: evaluated steps are spaced geometrically, so a trial has some tens of them.
    for n in range(1, len(history) + 1):
        if stop_decision(history.prefix(n), budget_steps, parameters, thresholds).stop:
            return int(history.step[n - 1])
    return None


def rule_name(parameters: DeclineParameters) -> str:
    """Write name, version and parameters in canonical form: equal for equal rules only.

    `decline-1(patience=30, memorise_within=0.5, ...)`
    """
    numbers = {field.name: float(getattr(parameters, field.name)) for field in fields(parameters)}
    stated = ", ".join(
        f"{name}={int(number) if number.is_integer() else repr(number)}" for name, number in numbers.items()
    )
    return f"decline-{parameters.version}({stated})"


def rule_of(name: str) -> DeclineParameters | None:
    """Return the parameters in a rule's name, the inverse of `rule_name`; None for another kind or version of rule.

    Args:
        name: as in the column `stop_rule`.
    """
    stated = _NAME.fullmatch(name)
    if stated is None or int(stated[1]) != DeclineParameters.version:
        return None
    numbers = {key: float(value) for key, value in (part.split("=") for part in stated[2].split(", ") if part)}
    known: dict[str, Any] = {
        one.name: numbers[one.name] for one in fields(DeclineParameters) if one.name in numbers
    }
    return DeclineParameters(**known)


def is_audited(trial_id: str, share: float) -> bool:
    """Check whether a trial is in the audit share, which the rule never stops, only marks.

    The hash is made for this purpose only, so it is independent of other uses of the id; a trial in one share is in
    every larger one.

    Args:
        trial_id: the trial's id.
        share: the audit share of all trials, in [0, 1].
    """
    digest = hashlib.sha256(f"audit:{trial_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def _survival(ratio: float) -> float:
    return 1 - _LOG_RATIO.cdf(math.log(ratio))


def _memorised(
    history: Trajectory,
    events: Events,
    memorised: int,
    step: int,
    parameters: DeclineParameters,
    probability: float,
) -> Decision:
    patience_ends = parameters.patience * max(memorised, 1)
    measurements = int((~np.isnan(history.complexity_bytes) & (history.step >= memorised)).sum())
    if step < patience_ends:
        return Decision(
            False, f"Memorised at step {memorised:,}; patience lasts to step {patience_ends:,.0f}.", probability
        )
    if measurements < parameters.minimum_measurements:
        return Decision(
            False, f"Only {measurements} complexity measurements since memorisation at {memorised:,}.", probability
        )
    return Decision(
        True,
        f"Memorised at step {memorised:,} and no decline of complexity in {step / max(memorised, 1):.0f} times as "
        f"many steps ({events.decline or 0:.1%} below its peak of {events.complexity_peak_bytes or 0:,.0f} bytes); "
        f"the chance of one within the budget is about {probability:.0%}.",
        probability,
    )


def _not_memorised(
    history: Trajectory, step: int, budget_steps: int, parameters: DeclineParameters, probability: float
) -> Decision:
    accuracy = float(history.train_accuracy[-1]) if len(history) else 0.0
    measurements = int((~np.isnan(history.complexity_bytes)).sum())
    if step < parameters.memorise_within * budget_steps:
        return Decision(False, f"Not memorised yet, training accuracy {accuracy:.3f}; it is early.", probability)
    if _rise(history, history.train_accuracy) >= parameters.rise:
        return Decision(
            False, f"Not memorised yet, but training accuracy is rising, now {accuracy:.3f}.", probability
        )
    if measurements < parameters.minimum_measurements:
        return Decision(False, f"Not memorised yet, only {measurements} complexity measurements.", probability)
    return Decision(
        True,
        f"Not memorised in {step:,} of {budget_steps:,} steps, training accuracy {accuracy:.3f} and not rising; "
        f"the chance of a decline within the budget is at most about {probability:.0%}.",
        probability,
    )


def _rise(history: Trajectory, accuracy: np.ndarray) -> float:
    """Return the last accuracy minus the best in the first half of the steps so far; 0 without a first half."""
    early = accuracy[history.step <= history.step[-1] / 2] if len(history) else accuracy
    early = early[~np.isnan(early)]
    return float(accuracy[-1] - early.max()) if len(early) else 0.0


@dataclass(frozen=True, slots=True)
class AuditReport:
    """How often the rule would have been wrong, judged by the audited trials, which it never stops."""

    audited: int
    """Trials in the audit share that have ended."""
    marked: int
    """Number of these that the rule would have stopped and that were followed to a grok or to the budget's end."""
    grokked: int
    """Number of marked trials that grokked after all; each is an error of the rule."""
    share_low: float
    """Lower end of the 95 % Wilson interval of grokked / marked."""
    share_high: float
    """Upper end of the 95 % Wilson interval of grokked / marked."""

    @property
    def enough(self) -> bool:
        """Whether there are enough marked trials, `AUDIT_MINIMUM`, to state an error rate."""
        return self.marked >= AUDIT_MINIMUM

    @property
    def sentence(self) -> str:
        """One sentence to show to people."""
        if not self.audited:
            return "No audited trial has ended, so it is not known how often the stopping rule is wrong."
        counts = (
            f"Of {self.audited} audited trials the rule would have stopped {self.marked}, "
            f"and {self.grokked} of these grokked"
        )
        if not self.enough:
            return f"{counts}: too few to say how often the rule is wrong (at least {AUDIT_MINIMUM} are needed)."
        return (
            f"{counts}: {self.grokked / self.marked:.0%} "
            f"(95 % interval {self.share_low:.0%} to {self.share_high:.0%}, n = {self.marked})."
        )


def audit_report(trials: pd.DataFrame, events: pd.DataFrame) -> AuditReport:
    """Count the audited trials that the rule would have stopped, and those of them that grokked.

    Args:
        trials: the table `trials`, one row per ended trial.
        events: one row per trial, from `analysis.events`.
    """
    audited = trials[trials["audited"].astype(bool)]
    followed = audited["ended_because"].isin(["grokked", "budget", "diverged"])
    marked = audited.loc[followed & audited["marked_at_step"].notna(), ["trial_id", "marked_at_step"]]
    marked_at = dict(zip(marked["trial_id"].astype(str), marked["marked_at_step"], strict=True))
    # The phase in which the trial was marked is the last one that had begun before the mark.
    at = events["trial_id"].astype(str).map(marked_at).astype(float)
    began = events[at > events["phase_start_step"]].sort_values("phase_start_step", kind="stable")
    in_phase = began.groupby(began["trial_id"].astype(str)).tail(1)
    grokked = int(in_phase["grok_step"].notna().sum())
    low, high = wilson(grokked, len(marked_at))
    return AuditReport(len(audited), len(marked_at), grokked, low, high)
