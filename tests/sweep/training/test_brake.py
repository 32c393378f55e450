"""The parking rule is suspended once audited trials show that it errs too often."""

from __future__ import annotations

from pathlib import Path

from analysis.stopping.alarm import Alarm
from analysis.stopping.certificate import drawing_order
from sweep.results.evidence import EvidenceBook
from sweep.training.brake import Brake

TRIALS = [f"trial-{number}" for number in range(6)]
RULE = "park-2(patience=0.4)"
ALARM = Alarm(alpha=0.01)


def result(*, ended: str, grokked: bool, marked: bool) -> dict[str, object]:
    return {
        "ended": {ended: ("grokked" if grokked else "budget", 100)},
        "confirmed": [ended] if grokked else [],
        "marked": {ended: 50} if marked else {},
    }


def test_it_acts_once_when_too_many_audited_grokkers_would_have_been_lost(tmp_path: Path) -> None:
    book = EvidenceBook(str(tmp_path))
    brake, order = Brake(RULE, TRIALS, ALARM, book), drawing_order(TRIALS)
    assert brake.result(result(ended=order[0], grokked=True, marked=True)) is None
    assert not book.is_suspended(RULE)
    said = brake.result(result(ended=order[1], grokked=True, marked=True))
    assert said is not None
    assert said.startswith(
        "The parking rule would have lost 2 of 2 audited trials that grokked, more than the 1.0%"
    )
    assert book.is_suspended(RULE)
    assert not book.is_suspended("another rule")
    assert brake.result(result(ended=order[2], grokked=True, marked=True)) is None


def test_trials_that_do_not_grok_or_are_not_audited_say_nothing(tmp_path: Path) -> None:
    book = EvidenceBook(str(tmp_path))
    brake = Brake(RULE, TRIALS, ALARM, book)
    for trial_id in (*TRIALS, "another"):
        assert brake.result(result(ended=trial_id, grokked=trial_id == "another", marked=True)) is None
    assert not book.is_suspended(RULE)


def test_early_grokkers_wait_for_those_before_them_in_the_order(tmp_path: Path) -> None:
    brake, order = Brake(RULE, TRIALS, ALARM, EvidenceBook(str(tmp_path))), drawing_order(TRIALS)
    assert brake.result(result(ended=order[2], grokked=True, marked=True)) is None
    assert brake.result(result(ended=order[1], grokked=True, marked=True)) is None
    assert brake.result(result(ended=order[0], grokked=False, marked=True)) is not None


def test_what_was_known_before_counts(tmp_path: Path) -> None:
    brake, order = Brake(RULE, TRIALS, ALARM, EvidenceBook(str(tmp_path))), drawing_order(TRIALS)
    brake.know(order[0], grokked=True, marked=True)
    assert brake.result(result(ended=order[1], grokked=True, marked=True)) is not None
