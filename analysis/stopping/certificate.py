"""Certify, when a sweep is done, how many of the trials that would have grokked were stopped.

Of M stopped trials m are drawn by hash, resumed and followed to a grok or to the end of their budget; k of them
grok. The draws are random, so the number of grokkers among the rest is bounded exactly (hypergeometric). With u for
this bound and G for the grokkers that are known, at most the share u / (u + G) of all that would have grokked
remains stopped.

Drawing until the bound looks good is a sequential test. So the bound is looked at after numbers of draws that are
fixed before the first one, from M and G alone, and the j-th look has the share 2^-j of the error that is allowed
in all. The j-th look comes as soon as the bound asked for can be met with j - 1 groks among the draws; the last
one when all stopped trials were followed, and nothing is left to be bounded.

Trials whose budget was cut off never count, grokked or not: else early grokkers would be over-represented. Hence
draws count in their order, up to the first whose fate is not known.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

import numpy as np

from analysis.errors import AnalysisError
from analysis.hypergeometric import largest_unseen_errors

LOOKS = 8
"""Most looks before the last one, at which everything has been followed."""

Fate = TypeVar("Fate")


@dataclass(frozen=True, kw_only=True, slots=True)
class Certify:
    """What a certificate is to say."""

    lost: float = 0.05
    """Largest share of the trials that would have grokked that may remain stopped."""
    confidence: float = 0.95
    """Probability with which a certificate holds, whenever drawing ends."""
    allowance: float = 0.5
    """Share of the steps that stopping has saved that may be spent on following stopped trials."""

    def __post_init__(self) -> None:
        for name in ("lost", "confidence"):
            if not 0 < getattr(self, name) < 1:
                raise AnalysisError(f"certify.{name} is a share and must lie in (0, 1), got {getattr(self, name)}")
        if not 0 < self.allowance <= 1:
            raise AnalysisError(f"certify.allowance is a share and must lie in (0, 1], got {self.allowance}")


def drawing_order(trial_ids: Iterable[str]) -> list[str]:
    """Return the order in which stopped trials are drawn.

    The hash is made for this purpose only, so the order is independent of settings, outcomes and the audit share.
    """
    return sorted(trial_ids, key=lambda one: (hashlib.sha256(f"certify:{one}".encode()).digest(), one))


def known_fates(order: Sequence[str], fates: Mapping[str, Fate]) -> list[Fate]:
    """Return the fates of the first trials of an order, up to the first one whose fate is not known.

    A trial that grokked early is known early. To count it while others drawn before it still run, or were cut off,
    would favour early grokkers.

    Args:
        order: trial ids, in an order that does not depend on outcomes.
        fates: trial id -> fate, of trials that grokked or used up their full budget.
    """
    known = []
    for trial_id in order:
        if trial_id not in fates:
            break
        known.append(fates[trial_id])
    return known


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is known of the stopped trials after some of them were followed."""

    asked: Certify
    lost: float
    """At most this share of the trials that would have grokked remains stopped."""
    audited: int
    """Number of stopped trials that were followed."""
    grokked: int
    """How many of them grokked."""
    needs: int
    """How many more must be followed at least, if none of them groks; 0 if the bound is met."""

    @property
    def met(self) -> bool:
        """Whether the bound that was asked for is met."""
        return self.lost <= self.asked.lost

    @property
    def sentence(self) -> str:
        """One line to show to people."""
        if not self.met:
            return f"not certified: needs {self.needs} more"
        # Rounded to the safe side; the 1e-9 keeps an error in the last bit from adding a whole tenth.
        percent = math.ceil(1000 * self.lost - 1e-9) / 10
        return (
            f"certified: at most {percent:g} % of the trials that would have grokked were stopped "
            f"({self.audited} audited)"
        )


@dataclass(frozen=True, slots=True)
class Audit:
    """A plan of draws, made before the first one."""

    stopped: int
    """M, the number of trials that were stopped when the sweep ended, those drawn since included."""
    grokkers: int
    """Number of grokkers that were known then: those among the draws are not included."""
    certify: Certify = field(default_factory=Certify)
    """What is asked for."""

    def __post_init__(self) -> None:
        for name in ("stopped", "grokkers"):
            if getattr(self, name) < 0:
                raise AnalysisError(f"audit.{name} is a number of trials and must be at least 0")

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of draws after which the bound is looked at, rising, the last of them M; empty if M is 0."""
        return _looks(self)

    def certificate(self, fates: Sequence[bool]) -> Certificate:
        """Return what the draws so far prove.

        Args:
            fates: whether each drawn trial grokked, in the order of drawing, as `known_fates` returns them.
        """
        if len(fates) > self.stopped:
            raise AnalysisError(f"at most {self.stopped} stopped trials can be drawn, got {len(fates)} fates")
        lost = self._lost(fates)
        needs = 0
        if lost > self.certify.lost:
            further = (look - len(fates) for look in self.looks if look > len(fates))
            needs = next(more for more in further if self._lost([*fates, *[False] * more]) <= self.certify.lost)
        return Certificate(self.certify, lost, len(fates), sum(fates), needs)

    def next_draw(self, fates: Sequence[bool]) -> int:
        """Return how many more stopped trials must be followed now, which is up to the next look; 0 if none.

        Args:
            fates: whether each drawn trial grokked, in the order of drawing, as `known_fates` returns them.
        """
        if self.certificate(fates).met:
            return 0
        return min(look for look in self.looks if look > len(fates)) - len(fates)

    def to_follow(self, order: Sequence[str], fates: Mapping[str, bool]) -> list[str]:
        """Return the stopped trials that must be resumed now and followed to their end; none if the bound is met.

        Args:
            order: all stopped trials, those drawn since included, as `drawing_order` returns them.
            fates: trial id -> whether it grokked, of drawn trials that grokked or used up their full budget.
        """
        known = known_fates(order, fates)
        return [one for one in order[: len(known) + self.next_draw(known)] if one not in fates]

    def _lost(self, fates: Sequence[bool]) -> float:
        """Return the bound on the share lost: every look so far bounds the rest, less what was drawn since."""
        grokked = sum(fates)
        rest = self.stopped - len(fates)
        for j, look in enumerate(self.looks, 1):
            # The last look is after all M: nothing is left then, and there is nothing to bound.
            if look <= min(len(fates), self.stopped - 1):
                before = sum(fates[:look])
                unseen = _unseen(before, look, self.stopped, self._log_error(j))
                rest = min(rest, max(unseen - (grokked - before), 0))
        return rest / (rest + self.grokkers + grokked) if rest else 0.0

    def _log_error(self, j: int) -> float:
        """Return the logarithm of the error that is allowed at the j-th look."""
        return math.log(1 - self.certify.confidence) - j * math.log(2)


@lru_cache(maxsize=64)
def _looks(audit: Audit) -> tuple[int, ...]:
    looks: list[int] = []
    draws = np.arange(1, audit.stopped)
    for j in range(1, LOOKS + 1):
        grokked = j - 1
        known = audit.grokkers + grokked
        later = draws[draws > max(looks[-1] if looks else 0, grokked)]
        if not len(later):
            break
        unseen = largest_unseen_errors(
            np.full(len(later), grokked),
            later,
            np.full(len(later), audit.stopped),
            np.full(len(later), audit._log_error(j)),
        )
        passes = np.flatnonzero((unseen == 0) | (unseen <= audit.certify.lost * (unseen + known)))
        if not len(passes):
            break
        looks.append(int(later[passes[0]]))
    return (*looks, audit.stopped) if audit.stopped else ()


@lru_cache(maxsize=4096)
def _unseen(grokked: int, draws: int, stopped: int, log_error: float) -> int:
    """Return the largest number of grokkers among the trials not drawn that the draws do not rule out."""
    return int(
        largest_unseen_errors(np.array([grokked]), np.array([draws]), np.array([stopped]), np.array([log_error]))[0]
    )
