"""A rule that can hardly act is said before anything is trained."""

from __future__ import annotations

from typing import Any

from sweep.plan.stopping_notes import stopping_notes
from sweep.specification.config import SweepConfig
from sweep.specification.trials import trials


def notes(**values: Any) -> list[str]:
    config = SweepConfig(**{"steps": 20_000, "seeds": 3, **values})
    return stopping_notes(config, trials(config))


def test_a_rule_that_can_act_gives_no_note() -> None:
    assert notes(stop="none", steps=100) == []
    assert notes(stop="decline") == []
    assert notes(stop="park") == []


def test_decline_needs_time_after_memorisation() -> None:
    (note,) = notes(stop="decline", steps=1_500)
    assert "memorise by step 50" in note
    assert "stop: park" in note


def test_parking_needs_measurements_and_other_seeds() -> None:
    (late,) = notes(stop="park", steps=1_000)
    assert "has by step 128 of 1,000" in late
    (alone,) = notes(stop="park", seeds=1)
    assert "one seed" in alone
    assert notes(stop="park", seeds=1, parking={"cells": False}) == []


def test_parts_that_are_about_another_rule_are_named() -> None:
    assert notes(stop="none", decline={"patience": 10}) == ["decline has no effect with stop: none"]
    assert notes(decline={"patience": 10}, parking={"alpha": 0.05}) == ["decline has no effect with stop: park"]
    both = notes(stop="decline", parking={"cells": False}, certify={"lost": 0.1})
    assert both == ["parking has no effect with stop: decline", "certify has no effect with stop: decline"]
