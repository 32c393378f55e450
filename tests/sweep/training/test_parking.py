"""Which trials of a cohort wait, and which of them continue, by what is known of their cells."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.events import Thresholds, trajectory_events
from analysis.stopping.parking import Evidence, ParkingParameters, parks, patience
from analysis.trajectory import Trajectory
from sweep.training.parking import CellParking
from sweep.training.watch import TrialWatch
from tests.sweep import made_up
from trainables.config import Drift, TrialConfig
from trainables.measurement import Measurement, TrialHistory
from trainables.schedule import MeasuringConfig, evaluated_steps

BUDGET = 9_600
STEPS = [step for step in evaluated_steps(MeasuringConfig(), BUDGET) if step % 32 == 0]
RULE = ParkingParameters(patience=0.4)


def trial(seed: int, cell: float = 0.1, **values: object) -> TrialConfig:
    return TrialConfig(**{"steps": BUDGET, "seed": seed, "weight_decay": cell, **values})  # type: ignore[arg-type]


def history(
    of: TrialConfig,
    until: int,
    *,
    loss: float = 0.0,
    complexity: float = 0.0,
    accuracy: float = 0.1,
    grokked_from: int | None = None,
) -> TrialHistory:
    """A trial up to a step; loss and complexity are powers of the step, and it memorises at once."""
    rows: list[Measurement] = []
    for step in [step for step in STEPS if step <= until]:
        row = made_up.measurement(of, step)
        phase = of.phase_at(step - 1) if step else 0
        start, end = of.phases[phase]
        grokked = grokked_from is not None and step >= grokked_from
        rows.append(
            dataclasses.replace(
                row,
                phase=phase,
                phase_start_step=start,
                phase_end_step=end,
                train_accuracy=1.0,
                val_accuracy=1.0 if grokked else accuracy,
                val_loss=5.0 * max(step, 1) ** loss,
                complexity_bytes=round(1e6 * max(step, 1) ** complexity),
            )
        )
    return TrialHistory(of, rows)


def parking(parameters: ParkingParameters = RULE, audit_share: float = 0.0) -> CellParking:
    return CellParking(parameters, audit_share, Thresholds())


def saw(rule: CellParking, *histories: TrialHistory) -> None:
    watch = TrialWatch(None, 0.0, Thresholds(), rule)
    for one in histories:
        watch(one)


FIRST_LOOK = next(step for step in STEPS if step > RULE.first_look * BUDGET)
GIVEN_UP = next(step for step in STEPS if step > RULE.patience * BUDGET)
LAST = STEPS[-1]


def test_a_stalled_trial_is_parked_once_the_first_look_is_over() -> None:
    rule = parking()
    before = max(step for step in STEPS if step <= RULE.first_look * BUDGET)
    assert not rule.parks(history(trial(0), before))
    assert rule.parks(history(trial(0), FIRST_LOOK))
    (decision,) = rule.pop_decisions()
    assert (decision["decision"], decision["step"]) == ("parked", FIRST_LOOK)
    assert (decision["cell_grokked"], decision["cell_failed"], decision["patience"]) == (0, 0, 0.4)
    assert rule.pop_decisions() == []


@pytest.mark.parametrize("falling", [{"loss": -0.5}, {"complexity": -0.5}, {"accuracy": 1.0}])
def test_a_trial_that_moves_or_has_touched_the_threshold_is_not(falling: dict[str, float]) -> None:
    assert not parking().parks(history(trial(0), GIVEN_UP, **falling))  # type: ignore[arg-type]


def test_a_trial_is_parked_early_once_and_then_only_past_its_patience() -> None:
    rule = parking()
    assert rule.parks(history(trial(0), FIRST_LOOK))
    assert rule.resumes([history(trial(0), FIRST_LOOK)], []) == 0
    later = [step for step in STEPS if step > FIRST_LOOK]
    assert [step for step in later if rule.parks(history(trial(0), step))] == [s for s in later if s >= GIVEN_UP]
    assert [one["decision"] for one in rule.pop_decisions()][:3] == ["parked", "resumed", "given up"]


def test_with_a_grok_in_the_cell_no_trial_is_parked_before_a_longer_patience_is_over() -> None:
    rule = parking()
    saw(rule, history(trial(1), LAST, grokked_from=STEPS[-8]))
    assert rule.evidence(trial(0)) == Evidence(1, 0)
    assert rule.evidence(trial(1)) == Evidence(0, 0)
    assert rule.evidence(trial(0, cell=0.3)) == Evidence(0, 0)
    parked = [step for step in STEPS if rule.parks(history(trial(0), step))]
    assert parked == [step for step in STEPS if step > RULE.patience * RULE.after_a_grok * BUDGET]


def test_hard_failures_shorten_the_patience_and_near_ones_do_not() -> None:
    rule = parking()
    saw(rule, history(trial(1), LAST, accuracy=0.95))
    assert rule.evidence(trial(0)) == Evidence(0, 0)
    saw(rule, history(trial(2), LAST))
    assert rule.evidence(trial(0)) == Evidence(0, 1)
    assert rule.parks(history(trial(3), GIVEN_UP))  # given up, which counts as a failure too
    assert rule.evidence(trial(0)) == Evidence(0, 2)
    waiting = history(trial(4), FIRST_LOOK)
    assert rule.resumes([waiting], []) is None


def test_evidence_from_other_cohorts_counts_each_trial_once() -> None:
    rule = parking()
    saw(rule, history(trial(2), LAST))
    cell = trial(0).cell_id
    rule.hear({cell: {trial(2).trial_id: "failed", "of another cohort": "grokked", trial(0).trial_id: "failed"}})
    assert rule.evidence(trial(0)) == Evidence(1, 1)


def test_what_is_heard_lets_a_trial_continue_that_was_given_up() -> None:
    rule = parking()
    given_up = history(trial(0), GIVEN_UP)
    assert rule.parks(given_up)
    assert rule.resumes([given_up], []) is None
    assert rule.resumes([given_up], []) is None
    rule.hear({trial(0).cell_id: {"of another cohort": "grokked"}})
    assert rule.resumes([given_up], []) == 0
    assert rule.evidence(trial(1)) == Evidence(1, 0)  # it has not failed any more


def test_cells_with_a_grok_come_first_then_those_with_fewest_running_then_the_least_trained() -> None:
    rule = parking()
    saw(rule, history(trial(9, cell=3.0), LAST, grokked_from=STEPS[-8]))
    nothing, busy, grokked = trial(0, cell=1.0), trial(0, cell=2.0), trial(0, cell=3.0)
    longer = history(nothing, next(step for step in STEPS if step > FIRST_LOOK))
    waiting = [history(busy, FIRST_LOOK), longer, history(trial(1, cell=1.0), FIRST_LOOK), history(grokked, 2016)]
    waiting[3] = history(grokked, FIRST_LOOK)
    running = [trial(5, cell=2.0)]
    order = []
    while waiting:
        chosen = rule.resumes(waiting, running)
        assert chosen is not None
        order.append(waiting.pop(chosen).trial)
    assert order == [grokked, trial(1, cell=1.0), nothing, busy]


def test_all_seeds_of_a_cell_may_be_parked_at_once_and_one_of_them_continues() -> None:
    rule = parking()
    waiting = [history(trial(seed), FIRST_LOOK) for seed in range(3)]
    assert all(rule.parks(one) for one in waiting)
    assert rule.resumes(waiting, []) == 0


def test_an_audited_trial_is_marked_once_and_never_parked() -> None:
    rule = parking(audit_share=1.0)
    watch = TrialWatch(None, 1.0, Thresholds(), rule)
    assert not any(rule.parks(history(trial(0), step)) for step in STEPS)
    assert rule.marked == {trial(0).trial_id: GIVEN_UP}
    assert watch.marked_at_step(trial(0).trial_id) == GIVEN_UP
    assert watch.marked_at_step(trial(1).trial_id) is None
    assert [one["decision"] for one in rule.pop_decisions()] == ["marked"]


def test_with_drift_a_trial_is_parked_in_its_last_phase_only() -> None:
    rule, half = parking(), STEPS[STEPS.index(FIRST_LOOK) + 6]
    of = trial(0, drift=Drift.of({half: {"split": 1}}))
    parked = [step for step in STEPS if step > 0 and rule.parks(history(of, step))]
    assert parked
    assert min(parked) > half + RULE.first_look * (BUDGET - half)
    saw(rule, history(trial(1, drift=of.drift), half, grokked_from=64))
    assert rule.evidence(of) == Evidence(0, 0)


def test_the_ending_says_why_in_one_or_two_sentences() -> None:
    rule = parking()
    saw(rule, history(trial(1), LAST), history(trial(2), LAST))
    assert rule.parks(history(trial(0), FIRST_LOOK))
    ending = rule.ending(history(trial(0), FIRST_LOOK))
    assert ending.because == "stopped"
    assert ending.reason.startswith("No progress since step")
    assert "2 other seeds of this setting ended without a grok" in ending.reason
    assert "patience ended at step 384" in ending.reason
    assert "validation loss +0%" in ending.reason


def test_without_cells_other_seeds_do_not_matter() -> None:
    alone = dataclasses.replace(RULE, cells=False)
    rule = parking(alone)
    saw(rule, history(trial(1), LAST), history(trial(2), LAST, grokked_from=STEPS[-8]))
    parked = [step for step in STEPS if rule.parks(history(trial(0), step))]
    assert parked == [step for step in STEPS if step >= GIVEN_UP]


moves = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(STEPS[10:]), st.sampled_from(["park", "end", "grok", "resume"])),
    max_size=12,
)


def play(rule: CellParking, steps: Sequence[tuple[int, int, str]], waiting: list[TrialHistory]) -> list[object]:
    answers: list[object] = []
    for seed, step, what in steps:
        of = trial(seed, cell=seed // 2)
        if what == "park" and all(one.trial != of for one in waiting):
            answers.append(rule.parks(history(of, step)))
            if answers[-1]:
                waiting.append(history(of, step))
        elif what == "resume":
            chosen = rule.resumes(waiting, [])
            answers.append(None if chosen is None else waiting.pop(chosen).trial.trial_id)
        elif what == "end":
            saw(rule, history(of, LAST))
        elif what == "grok":
            saw(rule, history(of, LAST, grokked_from=STEPS[-8]))
    return [*answers, rule.fates]


@given(moves, moves)
def test_it_decides_the_same_after_a_checkpoint(
    before: list[tuple[int, int, str]], after: list[tuple[int, int, str]]
) -> None:
    rule, waiting = parking(), list[TrialHistory]()
    play(rule, before, waiting)
    restored = parking()
    restored.go_back(json.loads(json.dumps(rule.record())))
    assert play(rule, after, list(waiting)) == play(restored, after, list(waiting))


@given(moves)
def test_each_decision_follows_from_the_evidence_that_is_recorded_with_it(
    steps: list[tuple[int, int, str]],
) -> None:
    rule, waiting = parking(), list[TrialHistory]()
    play(rule, steps, waiting)
    seen: set[str] = set()
    for decision in rule.pop_decisions():
        evidence = Evidence(decision["cell_grokked"], decision["cell_failed"])
        share, before = decision["step"] / BUDGET, decision["trial_id"] in seen
        assert decision["patience"] == patience(evidence, RULE)
        if decision["decision"] == "resumed":
            assert share <= decision["patience"]
        else:
            assert parks(share, evidence, parked_before=before, parameters=RULE)
            assert (decision["decision"] == "given up") == (share > decision["patience"])
            seen.add(decision["trial_id"])


@pytest.mark.parametrize("record", [{"fates": 3}, {"parked_at": []}, {"fates": {"cell": "failed"}}])
def test_records_that_it_never_writes_are_refused(record: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be mappings"):
        parking().go_back(record)


def test_the_watch_and_the_rule_agree_on_what_a_grok_is() -> None:
    one = history(trial(0), LAST, grokked_from=STEPS[-8])
    events = trajectory_events(Trajectory.of_phase(one.of_phase), Thresholds())
    assert events.grok_step is not None


def test_a_suspended_rule_only_marks_and_lets_every_trial_continue() -> None:
    rule = parking()
    given_up = history(trial(0), GIVEN_UP)
    assert rule.parks(given_up)
    assert rule.resumes([given_up], []) is None
    rule.hear({}, suspended=True)
    assert not rule.parks(history(trial(1), GIVEN_UP))
    assert rule.marked == {trial(1).trial_id: GIVEN_UP}
    assert rule.resumes([given_up], []) == 0
