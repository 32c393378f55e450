"""What a rule saved and lost on recorded trials, in numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from analysis.intervals import wilson
from analysis.replay.lanes import Fates, Rule, unstopped
from analysis.replay.recordings import Recording


@dataclass(frozen=True, slots=True)
class Score:
    """What a rule saved and lost; sums over trials, so that scores of several sweeps add up."""

    trials: int
    grokkers: int
    lost: tuple[str, ...]
    """Ids of trials that grokked and that the rule ended before the grok was confirmed."""
    all_steps: int
    """Steps of all trials without a rule."""
    saved_steps: int
    """Steps that the rule did not run."""
    oracle_steps: int
    """Steps of all failures: an oracle never starts them."""
    hard_oracle_steps: int
    """Steps of the failures that never came near: what can be known in time at best."""
    makespan_steps: int
    saved_makespan_steps: int

    @property
    def saved(self) -> float:
        """Share of all steps that the rule did not run."""
        return self.saved_steps / self.all_steps

    @property
    def of_oracle(self) -> float:
        """The saving as a share of the oracle's; NaN where there is nothing to save."""
        return self.saved_steps / self.oracle_steps if self.oracle_steps else float("nan")

    @property
    def of_hard_oracle(self) -> float:
        """The saving as a share of the hard oracle's; NaN where there is nothing to save."""
        return self.saved_steps / self.hard_oracle_steps if self.hard_oracle_steps else float("nan")

    @property
    def saved_makespan(self) -> float:
        """Share of the time from start to end that the rule saved."""
        return self.saved_makespan_steps / self.makespan_steps

    @property
    def lost_interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the share of grokkers that were lost."""
        return wilson(len(self.lost), self.grokkers)


class Scoring:
    """Scores rules on several sweeps, each in this number of lanes; what happens without a rule is computed once.

    Args:
        sweeps: name -> trials.
        lanes: lanes of each sweep.
    """

    def __init__(self, sweeps: Mapping[str, Sequence[Recording]], lanes: int) -> None:
        self._sweeps = sweeps
        self._lanes = lanes
        self._free = {name: unstopped(trials, lanes) for name, trials in sweeps.items()}

    def __call__(self, rule: Rule) -> dict[str, Score]:
        """Return sweep -> score of a rule."""
        return {
            name: score(trials, rule(trials, self._lanes), self._free[name])
            for name, trials in self._sweeps.items()
        }


def score(trials: Sequence[Recording], fates: Fates, free: Fates) -> Score:
    """Compare the fates of one sweep's trials under a rule with their fates without one.

    Args:
        trials: the trials of the sweep.
        fates: under the rule.
        free: without one, in as many lanes, from `analysis.replay.lanes.unstopped`.
    """
    lost = tuple(
        trial.trial_id
        for trial, steps in zip(trials, fates.steps.tolist(), strict=True)
        if trial.confirmed_at is not None and steps < trial.trajectory.step[trial.confirmed_at]
    )
    return Score(
        trials=len(trials),
        grokkers=sum(trial.grokked for trial in trials),
        lost=lost,
        all_steps=int(free.steps.sum()),
        saved_steps=int(free.steps.sum() - fates.steps.sum()),
        oracle_steps=sum(trial.steps for trial in trials if not trial.grokked),
        hard_oracle_steps=sum(trial.steps for trial in trials if trial.is_hard_failure),
        makespan_steps=free.makespan_steps,
        saved_makespan_steps=free.makespan_steps - fates.makespan_steps,
    )


def total(scores: Iterable[Score]) -> Score:
    """Add the scores of several sweeps, which run one after the other."""
    each = list(scores)
    return Score(
        trials=sum(one.trials for one in each),
        grokkers=sum(one.grokkers for one in each),
        lost=tuple(trial_id for one in each for trial_id in one.lost),
        all_steps=sum(one.all_steps for one in each),
        saved_steps=sum(one.saved_steps for one in each),
        oracle_steps=sum(one.oracle_steps for one in each),
        hard_oracle_steps=sum(one.hard_oracle_steps for one in each),
        makespan_steps=sum(one.makespan_steps for one in each),
        saved_makespan_steps=sum(one.saved_makespan_steps for one in each),
    )
