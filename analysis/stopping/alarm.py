"""Suspend a stopping rule while a sweep runs, once it is seen to lose more grokkers than it promised.

Audited trials are never stopped, only marked. Each of them that groks is a test of the rule: would it have been
lost? Write lost_i for 1 or 0. If the rule keeps its level alpha, the product of 1 + eta (lost_i - alpha), with
0 < eta < 1 / alpha, is a bet that gains nothing on average, at any time. By Ville's inequality it ever reaches
1 / delta with probability delta at most. So the rule may be judged after each trial, for as long as one likes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.errors import AnalysisError
from analysis.stopping.calibration import ALPHA
from analysis.words import counted

AuditedFate = Literal["kept", "lost", "no grok"]
"""How an audited trial ended: it grokked and the rule would have kept or lost it, or it did not grok."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """A test of a rule's level that may be looked at after each audited grokker."""

    alpha: float = ALPHA
    """The level of the rule: the share of grokkers that it may lose."""
    false_alarm: float = 0.05
    """Delta, the largest probability that a rule that keeps its level is ever suspended."""
    bet: float = 0.1
    """Eta times alpha, in (0, 1): a large bet finds gross errors sooner and small ones later."""

    def __post_init__(self) -> None:
        for name in ("alpha", "false_alarm", "bet"):
            if not 0 < getattr(self, name) < 1:
                raise AnalysisError(f"alarm.{name} is a share and must lie in (0, 1), got {getattr(self, name)}")

    def log_evidence(self, lost: ArrayLike) -> NDArray[np.float64]:
        """Return the logarithm of the product after each audited grokker.

        Args:
            lost: whether the rule would have lost each audited grokker, shape [..., n], in an order that does not
                depend on outcomes: that of `certificate.known_fates` over the audited trials. The order of groks
                would put early grokkers first, which are lost less often.

        Returns:
            Shape [..., n].
        """
        # In logarithms: over hundreds of grokkers the product itself would leave the range of a float.
        eta = self.bet / self.alpha
        return np.cumsum(np.log1p(eta * (np.asarray(lost, dtype=np.float64) - self.alpha)), axis=-1)

    def raised_after(self, lost: ArrayLike) -> int | None:
        """Return the number of audited grokkers after which the rule is suspended for good; None if it is not.

        Args:
            lost: whether the rule would have lost each audited grokker, shape [n], ordered as for `log_evidence`.
        """
        reached = np.flatnonzero(self.log_evidence(lost) >= -math.log(self.false_alarm))
        return int(reached[0]) + 1 if len(reached) else None

    def suspends(self, fates: Iterable[AuditedFate]) -> str | None:
        """Return a sentence for people if the rule must be suspended, None if it may continue.

        Args:
            fates: those of the audited trials, ordered as for `log_evidence`.
        """
        lost = [fate == "lost" for fate in fates if fate != "no grok"]
        if self.raised_after(lost) is None:
            return None
        return (
            f"The parking rule would have lost {sum(lost)} of {counted(len(lost), 'audited trial')} that grokked, "
            f"more than the {self.alpha:.1%} that it may. It is suspended: from now on trials are only "
            "marked, and parked ones continue"
        )
