"""What is known of a trial's cell from its other seeds."""

from __future__ import annotations

from typing import Literal, NamedTuple

EvidenceKind = Literal["a grok", "nothing", "one hard failure", "two or more hard failures"]
"""What the parking rule tells apart."""

Fate = Literal["grokked", "failed"]
"""`failed`: ended or given up without a grok, and far from one."""

Fates = dict[str, dict[str, Fate]]
"""Cell id -> trial id -> fate."""


class Evidence(NamedTuple):
    """What is known of a trial's cell from its other seeds."""

    grokked: int
    """Number of trials whose grok has been confirmed."""
    failed: int
    """Number of hard failures."""

    @property
    def kind(self) -> EvidenceKind:
        """What the parking rule makes of it: a grok outweighs every failure."""
        if self.grokked:
            return "a grok"
        kinds: tuple[EvidenceKind, ...] = ("nothing", "one hard failure", "two or more hard failures")
        return kinds[min(self.failed, 2)]
