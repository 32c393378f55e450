"""The brake on the parking rule: it only marks trials once audited ones show that it errs more than it may.

Audited trials are never parked. Each of them that groks tells whether the rule would have lost it, and
`analysis.stopping.alarm` tells when too many would have been.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from analysis.stopping.alarm import Alarm, AuditedFate
from analysis.stopping.certificate import drawing_order, known_fates
from sweep.results.evidence import EvidenceBook


class Brake:
    """Judges a sweep's parking rule by its audited trials while it runs, and suspends it for all cohorts.

    Args:
        rule: name of the rule.
        audited: ids of the audited trials of the request.
        alarm: the test.
        book: where cohorts read that the rule is suspended.
    """

    def __init__(self, rule: str, audited: Iterable[str], alarm: Alarm, book: EvidenceBook) -> None:
        self._rule = rule
        self._audited = frozenset(audited)
        self._order = drawing_order(self._audited)
        self._alarm, self._book = alarm, book
        self._fates: dict[str, AuditedFate] = {}
        self._marked: set[str] = set()
        self._suspended = False

    def know(self, trial_id: str, *, grokked: bool, marked: bool) -> None:
        """Take in how an audited trial has ended."""
        self._fates[trial_id] = ("lost" if marked else "kept") if grokked else "no grok"

    def result(self, result: Mapping[str, Any]) -> str | None:
        """Take in a result of `CohortTraining.step`; return a sentence for people if the rule is suspended now.

        Raises:
            OSError: that could not be recorded; it is tried again with the next result.
        """
        self._marked |= result["marked"].keys()
        ended = [trial_id for trial_id in result["ended"] if trial_id in self._audited]
        for trial_id in ended:
            self.know(trial_id, grokked=trial_id in result["confirmed"], marked=trial_id in self._marked)
        return self.judge() if ended else None

    def judge(self) -> str | None:
        """Return a sentence for people, after suspending the rule, if it is seen now that it errs too often."""
        if self._suspended:
            return None
        sentence = self._alarm.suspends(known_fates(self._order, self._fates))
        if sentence is None:
            return None
        self._book.suspend(self._rule)
        self._suspended = True
        return sentence
