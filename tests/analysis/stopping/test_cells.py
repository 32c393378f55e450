"""What is known of cells, and which trials wait: the state that lanes and Ray Tune's trials share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from analysis.events import Thresholds, trajectory_events
from analysis.stopping.calibration import Calibration
from analysis.stopping.cells import CellRule, Standing
from analysis.stopping.parking import Evidence, ParkingParameters, parks, patience
from analysis.trajectory import Trajectory

BUDGET = 9_600
STEPS = [*range(0, 320, 32), *(32 * round(10 * 1.2**k) for k in range(19)), BUDGET]
RULE = ParkingParameters(patience=0.4)
AUDITED = "9"


def trajectory(until: int, *, groks: bool = False, accuracy: float = 0.1) -> Trajectory:
    """A trial that memorises at once and stands still; one that groks does so in its last three evaluations."""
    steps = np.array([step for step in STEPS if step <= until])
    validation = np.full(len(steps), accuracy)
    validation[len(steps) - 3 if groks else len(steps) :] = 1.0
    flat = np.ones(len(steps))
    return Trajectory.of(steps, flat, validation, 1e4 * flat, 5 * flat)


def standing(name: str, until: int) -> Standing:
    """Trials are called by a digit; two of them are a cell."""
    return Standing(name, str(int(name) // 2), 0, max(step for step in STEPS if step <= until), BUDGET)


@dataclass
class Played:
    """A rule, and a model of it that keeps everything and counts anew each time."""

    rule: CellRule = field(default_factory=lambda: CellRule(RULE, Thresholds()))
    waiting: list[Standing] = field(default_factory=list)
    fates: dict[str, str] = field(default_factory=dict)
    answers: list[object] = field(default_factory=list)

    def evidence(self, trial: Standing) -> Evidence:
        others = [
            fate
            for name, fate in self.fates.items()
            if int(name) // 2 == int(trial.cell_id) and name != trial.trial_id
        ]
        return Evidence(others.count("grokked"), others.count("failed"))

    def may_continue(self, trial: Standing) -> bool:
        return trial.share <= patience(self.evidence(trial), RULE)

    def play(self, moves: Sequence[tuple[int, int, str]]) -> list[object]:
        for number, until, what in moves:
            one = standing(str(number), until)
            if what == "resume":
                self.resume()
            elif one.trial_id in self.fates or any(other.trial_id == one.trial_id for other in self.waiting):
                continue
            elif what == "park":
                self.park(one)
            elif what == "end":
                self.end(one._replace(phase_steps=BUDGET))
            elif what == "grok":
                self.saw(one, trajectory(until, groks=True))
                self.fates[one.trial_id] = "grokked"
        return self.answers

    def saw(self, one: Standing, path: Trajectory) -> None:
        self.rule.saw(one, path, trajectory_events(path, Thresholds()))

    def park(self, one: Standing) -> None:
        path = trajectory(one.step)
        parked = self.rule.parks(one, path, audited=one.trial_id == AUDITED)
        self.answers.append((one, parked))
        if parked:
            assert one.trial_id != AUDITED
            if not self.may_continue(one):
                self.fates[one.trial_id] = "failed"
            self.waiting.append(one)

    def end(self, one: Standing) -> None:
        self.saw(one, trajectory(BUDGET))
        self.fates[one.trial_id] = "failed"

    def resume(self) -> None:
        best = self.rule.best(self.waiting, [])
        able = [one for one in self.waiting if self.may_continue(one)]
        assert (best is not None) == bool(able)
        if best is not None:
            chosen = self.waiting[best]
            assert chosen == min(able, key=lambda one: (not self.evidence(one).grokked, one.share))
            self.rule.resume(self.waiting.pop(best))
            self.fates.pop(chosen.trial_id, None)
            self.answers.append(chosen)


moves = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.sampled_from(STEPS[12:-1]),
        st.sampled_from(["park", "end", "grok", "resume", "resume"]),
    ),
    max_size=25,
)


@given(moves)
def test_evidence_and_order_are_those_of_a_count_from_scratch(steps: list[tuple[int, int, str]]) -> None:
    played = Played()
    played.play(steps)
    for number in range(10):
        one = standing(str(number), 320)
        assert played.rule.evidence(one.cell_id, one.trial_id) == played.evidence(one)


@given(moves)
def test_each_decision_follows_from_what_is_recorded_with_it(steps: list[tuple[int, int, str]]) -> None:
    played = Played()
    played.play(steps)
    parked_before: set[str] = set()
    for decision in played.rule.pop_decisions():
        evidence = Evidence(decision["cell_grokked"], decision["cell_failed"])
        share = decision["step"] / BUDGET
        assert decision["patience"] == patience(evidence, RULE)
        if decision["decision"] == "resumed":
            assert share <= decision["patience"]
            continue
        before = decision["trial_id"] in parked_before
        assert parks(share, evidence, parked_before=before, parameters=RULE)
        over = share > decision["patience"]
        assert decision["decision"] == (
            "marked" if decision["trial_id"] == AUDITED else "given up" if over else "parked"
        )
        parked_before.add(decision["trial_id"])


@given(moves, moves)
def test_decisions_that_are_recalled_lead_to_the_same_ones(
    before: list[tuple[int, int, str]], after: list[tuple[int, int, str]]
) -> None:
    first = Played()
    first.play(before)
    second = Played(waiting=list(first.waiting), fates=dict(first.fates))
    last = {one.trial_id: one for one in first.waiting}
    for decision in first.rule.pop_decisions():
        name, step = decision["trial_id"], decision["step"]
        second.rule.recall(decision, standing(name, step), trajectory(step))
    for name, fate in first.fates.items():
        if name not in last:
            second.rule.know(standing(name, 320), "grokked" if fate == "grokked" else "failed")
    assert second.rule.record()["parked_at"] == first.rule.record()["parked_at"]
    first.answers.clear()
    assert second.play(after) == first.play(after)


def test_a_near_miss_is_no_evidence() -> None:
    rule = CellRule(RULE, Thresholds())
    path = trajectory(BUDGET, accuracy=0.95)
    rule.saw(standing("1", BUDGET), path, trajectory_events(path, Thresholds()))
    assert rule.evidence("0", "0") == Evidence(0, 0)


def test_the_end_says_why_and_counts_as_a_failure() -> None:
    rule = CellRule(RULE, Thresholds())
    one, path = standing("0", 1000), trajectory(1000)
    assert rule.parks(one, path, audited=False)
    text, probability = rule.end(one, path)
    assert text.startswith("No progress since step")
    assert "Nothing was known from other seeds" in text
    assert probability == Calibration.load().probability_of_grok(Evidence(0, 0))
    assert rule.evidence("0", "1") == Evidence(0, 1)
