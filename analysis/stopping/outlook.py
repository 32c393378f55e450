"""What forecasts say of a sweep as a whole: how many trials will grok, which are next, how long to wait."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.stopping.forecast import LIKELY
from analysis.words import counted

if TYPE_CHECKING:
    import pandas as pd

NEXT_SHOWN = 3
"""Number of trials that are named as the next ones."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """The trials of a sweep that run or wait and have not grokked."""

    running: int
    """Number of trials that run or were interrupted."""
    parked: int
    memorised: int
    """Number of both that have memorised, and so have a forecast."""
    likely: int
    """Number of these that grok within their budget with a probability of at least `LIKELY`."""
    expected_groks: float
    """Sum of the chances of all that have a forecast."""
    next: pd.DataFrame
    """Rows of `analysis.forecasts` of running trials that have a half to wait for, those with the fewest steps to
    it first, at most `NEXT_SHOWN`."""

    @property
    def sentence(self) -> str:
        """One or two sentences to show to people; empty if no trial runs or waits without a grok."""
        if not self.running + self.parked:
            return ""
        these = " and ".join(
            f"{n:,} {state}" for n, state in ((self.running, "running"), (self.parked, "parked")) if n
        )
        one = self.running + self.parked == 1
        text = f"{these} {'trial has' if one else 'trials have'} not grokked"
        if not self.memorised:
            return f"{text}, nor memorised, so nothing can be forecast yet."
        young = self.running + self.parked - self.memorised
        likely = f"{self.likely:,}" if self.likely else "none"
        likely += f" {'is' if self.likely <= 1 else 'are'} likely to grok within the budget"
        text += f": {likely}, and about {counted(round(self.expected_groks), 'grok')} can be expected in all."
        if young:
            has = "has" if young == 1 else "have"
            text += f" {young:,} of them {has} not memorised and {has} no forecast."
        return text


def outlook(forecasts: pd.DataFrame) -> Outlook:
    """Sum up the forecasts of the trials that run or wait; those that the rule has stopped are left out.

    Args:
        forecasts: a frame from `analysis.forecasts`.
    """
    alive = forecasts[forecasts["state"].ne("stopped")]
    running = alive[alive["state"].eq("unfinished")]
    soon = running[running["half_step"].notna()].sort_values(["further_steps", "trial_id"]).head(NEXT_SHOWN)
    return Outlook(
        running=len(running),
        parked=len(alive) - len(running),
        memorised=int(alive["chance"].notna().sum()),
        likely=int(alive["chance"].ge(LIKELY).sum()),
        expected_groks=float(alive["chance"].sum()),
        next=soon,
    )
