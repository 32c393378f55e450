from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.stopping.alarm import Alarm
from analysis.stopping.certificate import Audit, Certify, drawing_order, known_fates
from analysis.stopping.decline import is_audited


def test_the_bound_is_the_known_table() -> None:
    """A hundred stopped trials, none of m groks: at most 12, 8, 4, 2 of the others would (one look, 95 %)."""
    from analysis.stopping.certificate import _unseen

    bounds = [_unseen(0, draws, 100, math.log(0.05)) for draws in (20, 30, 50, 75)]
    assert bounds == [12, 8, 4, 2]


def simulated(would_grok: int, audit: Audit, sweeps: int, random: np.random.Generator) -> tuple[float, float]:
    """Return how often a certificate was wrong, and the mean share of the stopped trials that was followed."""
    wrong = followed = 0.0
    for _ in range(sweeps):
        population = random.permutation(np.arange(audit.stopped) < would_grok).tolist()
        drawn = 0
        while more := audit.next_draw(population[:drawn]):
            drawn += more
        certificate = audit.certificate(population[:drawn])
        assert certificate.met
        left = sum(population[drawn:])
        all_grokkers = left + audit.grokkers + certificate.grokked
        wrong += (left / all_grokkers if left else 0.0) > certificate.lost
        followed += drawn / audit.stopped
    return wrong / sweeps, followed / sweeps


@pytest.mark.parametrize("would_grok", [4, 6, 10])
def test_the_confidence_holds_for_the_whole_procedure(would_grok: int) -> None:
    """Simulate 1,000 sweeps in which drawing continues until the bound is met."""
    audit = Audit(stopped=100, grokkers=60)
    wrong, followed = simulated(would_grok, audit, 1000, np.random.default_rng(would_grok))
    assert 0 < wrong <= 0.05
    assert followed < 0.96


def test_nothing_to_find_is_certified_at_the_first_look() -> None:
    assert simulated(0, Audit(stopped=100, grokkers=60), 1, np.random.default_rng(0)) == (0.0, 0.6)


def test_looking_after_each_draw_would_break_the_confidence() -> None:
    """Show that the simulation can fail: the same bound, looked at after each draw with the whole error."""
    from analysis.stopping.certificate import _unseen

    random = np.random.default_rng(0)
    stopped, grokkers, would_grok, sweeps = 400, 400, 24, 300
    wrong = 0
    for _ in range(sweeps):
        groks = np.cumsum(random.permutation(np.arange(stopped) < would_grok)).tolist()
        for drawn in range(1, stopped):
            unseen = _unseen(groks[drawn - 1], drawn, stopped, math.log(0.05))
            if unseen <= 0.05 * (unseen + grokkers + groks[drawn - 1]):
                wrong += would_grok - groks[drawn - 1] > unseen
                break
    assert wrong / sweeps > 0.07


def test_the_trials_to_be_followed_are_those_up_to_the_next_look_whose_fate_is_not_known() -> None:
    audit = Audit(stopped=50, grokkers=60)
    order = drawing_order(f"t{n}" for n in range(50))
    first, second = audit.looks[:2]
    assert audit.to_follow(order, {}) == order[:first]
    # The second one still runs; those after it that have grokked already are not run again, and do not count.
    fates = {one: place == 5 for place, one in enumerate(order[:first]) if place != 1}
    assert audit.to_follow(order, fates) == [order[1]]
    assert audit.to_follow(order, {**fates, order[1]: False}) == order[first:second]
    assert audit.to_follow(order, dict.fromkeys(order[:first], False)) == []


def test_the_first_look_needs_fewer_draws_when_more_grokkers_are_known() -> None:
    first = [Audit(stopped=200, grokkers=known).looks[0] for known in (20, 100, 500)]
    assert first == sorted(first, reverse=True)
    assert first[0] > first[-1]


@settings(max_examples=40)
@given(st.integers(0, 25), st.integers(0, 60), st.floats(0.01, 0.9), st.data())
def test_draws_end_and_the_numbers_agree(stopped: int, grokkers: int, lost: float, data: st.DataObject) -> None:
    audit = Audit(stopped, grokkers, Certify(lost=lost))
    assert list(audit.looks) == sorted(set(audit.looks))
    assert audit.looks[-1:] == ((stopped,) if stopped else ())
    population = data.draw(st.lists(st.booleans(), min_size=stopped, max_size=stopped))
    for drawn in range(stopped + 1):
        certificate = audit.certificate(population[:drawn])
        more = audit.next_draw(population[:drawn])
        assert certificate.met == (more == 0) == (certificate.needs == 0)
        assert more <= certificate.needs <= stopped - drawn
        if not certificate.met:
            kept = [*population[:drawn], *[False] * certificate.needs]
            assert audit.certificate(kept).met
    assert certificate.met
    assert certificate.lost == 0


def test_sentences() -> None:
    audit = Audit(stopped=100, grokkers=60)
    first = audit.looks[0]
    assert audit.certificate([]).sentence == f"not certified: needs {first} more"
    certificate = audit.certificate([False] * first)
    assert certificate.sentence == (
        f"certified: at most {math.ceil(1000 * certificate.lost) / 10:g} % of the trials that would have grokked "
        f"were stopped ({first} audited)"
    )
    assert 0 < certificate.lost <= 0.05
    assert Audit(0, 5).certificate([]).sentence == (
        "certified: at most 0 % of the trials that would have grokked were stopped (0 audited)"
    )


def test_the_drawing_order_depends_on_ids_only_and_not_on_the_audit_share() -> None:
    ids = [f"trial{n}" for n in range(2000)]
    order = drawing_order(ids)
    assert order == drawing_order(reversed(ids))
    assert order != sorted(ids)
    first = sum(is_audited(one, 0.1) for one in order[:1000])
    assert 70 < first < 130


def test_trials_whose_budget_was_cut_off_never_count() -> None:
    """Plant the trap: all trials are cut off half way, when only early grokkers are known."""
    random = np.random.default_rng(0)
    budget = 1.0
    grok_at = dict(zip((f"t{n}" for n in range(400)), random.random(400), strict=True))
    is_lost = {one: at > 0.9 for one, at in grok_at.items()}  # a tenth is lost, all of them late

    def known(spent: dict[str, float]) -> dict[str, bool]:
        """Return trial id -> whether the rule would have lost it, of trials whose fate is known."""
        return {one: is_lost[one] for one, share in spent.items() if grok_at[one] <= share or share == budget}

    order = drawing_order(grok_at)
    half = dict.fromkeys(order, 0.5)
    naive = known(half)
    assert len(naive) > 150
    assert sum(naive.values()) == 0  # looks as if nothing were ever lost
    assert len(known_fates(order, naive)) < 20

    # The first 200 of the order had their full budget, the others half of it.
    partly = known({one: budget if place < 200 else 0.5 for place, one in enumerate(order)})
    counted = known_fates(order, partly)
    assert 200 <= len(counted) < 220
    assert 0.05 < np.mean(counted) < 0.15
    assert np.mean(list(partly.values())) < np.mean(counted)
    assert Alarm(alpha=0.01).raised_after(counted) is not None


@pytest.mark.parametrize("values", [{"lost": 0}, {"lost": 1}, {"confidence": 1.0}, {"confidence": math.nan}])
def test_impossible_wishes_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(AnalysisError, match=r"certify\..* must lie in \(0, 1\)"):
        Certify(**values)


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(AnalysisError, match="at least 0"):
        Audit(-1, 0)
    with pytest.raises(AnalysisError, match="at most 2 stopped trials can be drawn, got 3"):
        Audit(2, 0).certificate([True] * 3)
