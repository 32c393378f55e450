"""What is known of each trial's time to grok: an interval, the end of follow-up, and what the stopping rule did."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.errors import AnalysisError
from analysis.maps import ungrokked_until
from analysis.stopping.certificate import drawing_order, known_fates

if TYPE_CHECKING:
    import pandas as pd

_NEEDED = ("trial_id", "grok_step", "grok_after_step", "last_step", "ended_because", "budget_steps")


@dataclass(frozen=True, slots=True)
class Observed:
    """Trials, or phases of trials: all arrays have shape [n]. Steps are those of the trial."""

    after: NDArray[np.float64]
    """The grok is later than this evaluated step: the one before the grok step, or the last one without a grok."""
    at: NDArray[np.float64]
    """The grok step; infinite if no grok was seen."""
    over: NDArray[np.bool_]
    """Whether the trial diverged without a grok, after which none can come."""
    stopped: NDArray[np.bool_]
    """Whether the rule has stopped it, and its fate is not known."""
    marked: NDArray[np.bool_]
    """Whether the rule would have stopped it, and it was followed all the same."""
    mark: NDArray[np.float64]
    """Where the rule stopped it, or would have; NaN if it never would have."""
    followed_probability: NDArray[np.float64]
    """Probability with which a trial that the rule would stop is followed, where `stopped` or `marked`, else 1."""

    @property
    def grokked(self) -> NDArray[np.bool_]:
        """Whether a grok was seen."""
        return np.isfinite(self.at)

    def __len__(self) -> int:
        return len(self.at)

    def since(self, began: NDArray[np.float64]) -> Observed:
        """Return the trials with steps counted from the start of their phase.

        Args:
            began: steps at which the phases began, [n].
        """
        return replace(self, after=self.after - began, at=self.at - began, mark=self.mark - began)

    def of(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Observed:
        """Return some of the trials.

        Args:
            chosen: a mask, or indexes.
        """
        return Observed(*(getattr(self, name)[chosen] for name in Observed.__slots__))


def observed(events: pd.DataFrame, audits: pd.DataFrame | None = None) -> Observed:
    """Collect what is known of each trial's time to grok.

    A trial that was drawn after the rule had stopped it counts as followed only if all drawn before it have ended,
    see `analysis.stopping.certificate`; until then it counts as stopped.

    Args:
        events: one row per trial, or phase, from `analysis.events`.
        audits: from `analysis.audits`. Without it no trial counts as marked, and the fates of stopped ones are
            open.

    Raises:
        AnalysisError: a needed column is missing.
    """
    missing = [name for name in _NEEDED if name not in events.columns]
    if missing:
        raise AnalysisError(f"estimates need the columns {', '.join(missing)} of analysis.events; load them too")
    at = events["grok_step"].to_numpy(np.float64)
    seen = ~np.isnan(at)
    last = events["last_step"].to_numpy(np.float64)
    before = events["grok_after_step"].to_numpy(np.float64)
    # A grok at the first evaluated step of a phase came at or before it.
    after = np.where(seen, np.where(np.isnan(before), at - 1, before), ungrokked_until(events))
    because = events["ended_because"].astype("object").to_numpy()
    stopped = ~seen & (because == "stopped")
    began = events["phase_start_step"].to_numpy(np.float64) if "phase_start_step" in events else np.zeros(len(at))
    mark, probability, withheld = _marks(events, audits)
    # A mark belongs to the phase in which it lies; a grok before it was none that the rule would have lost.
    marked = ~stopped & (mark > began) & (mark <= np.fmax(last, at)) & ~(seen & (at <= mark)) & ~np.isnan(mark)
    held = marked & withheld
    stopped |= held
    return Observed(
        after=np.where(held, mark, after),
        at=np.where(seen & ~held, at, np.inf),
        over=~seen & (because == "diverged"),
        stopped=stopped,
        marked=marked & ~held,
        mark=np.where(stopped & ~held, last, np.where(marked, mark, np.nan)),
        followed_probability=np.where(stopped | marked, probability, 1.0),
    )


def _marks(
    events: pd.DataFrame, audits: pd.DataFrame | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return the mark of each row of events, its probability to be followed, and whether its fate is withheld."""
    count = len(events)
    if audits is None:
        return np.full(count, np.nan), np.zeros(count), np.zeros(count, dtype=bool)
    ids = events["trial_id"].astype("str").to_numpy()
    # Trials without a line are under no rule.
    of_trials = audits.assign(trial_id=audits["trial_id"].astype("str")).set_index("trial_id").reindex(ids)
    drawn = of_trials["drawn"].eq(True).to_numpy()
    share = of_trials["audit_share"].fillna(0.0).to_numpy(np.float64)
    stopped = events["ended_because"].eq("stopped").to_numpy() & events["grok_step"].isna().to_numpy()
    order = drawing_order(set(ids[drawn | stopped]))
    ends = set(ids[drawn & events["ended_because"].isin(["grokked", "budget", "diverged"]).to_numpy()])
    known = len(known_fates(order, dict.fromkeys(ends, True)))
    counted = set(order[:known])
    # Followed by the audit, or else stopped and then drawn: `known` of all that were stopped.
    later = known / len(order) if order else 0.0
    withheld = np.array([drew and one not in counted for one, drew in zip(ids, drawn, strict=True)], dtype=bool)
    mark = of_trials["marked_at_step"].to_numpy(np.float64)
    return mark, share + (1 - share) * later, withheld
