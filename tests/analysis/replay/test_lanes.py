from __future__ import annotations

from analysis.replay.lanes import Fates, alone, breadth_first, parking
from analysis.stopping.parking import ParkingParameters
from tests.analysis.replay.made import BUDGET, recording

HALF = ParkingParameters(patience=0.5, first_look=0.1)


def steps(fates: Fates) -> list[int]:
    return [int(step) for step in fates.steps]


def test_trials_begin_breadth_first_over_cells() -> None:
    trials = [recording(f"{cell}{seed}", cell=cell, seed=seed) for cell in "ab" for seed in (1, 0, 2)]
    assert [trials[place].trial_id for place in breadth_first(trials)] == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_a_rule_of_single_trials_stops_them_and_lanes_take_the_next() -> None:
    trials = [recording("stopped"), recording("whole", seed=1), recording("beyond", seed=2)]
    stop_at = {"stopped": 100, "whole": None, "beyond": 5 * BUDGET}
    fates = alone(lambda trial: stop_at[trial.trial_id])(trials, 2)
    assert steps(fates) == [100, BUDGET, BUDGET]
    assert fates.makespan_steps == 100 + BUDGET


def test_without_a_stall_nothing_is_parked() -> None:
    trials = [recording("g", grok=400), recording("f", last_fall=BUDGET, seed=1)]
    fates = parking(HALF)(trials, 1)
    assert steps(fates) == [800, BUDGET]
    assert fates.makespan_steps == 1800


def test_a_stalled_trial_of_an_unknown_cell_is_given_up_when_its_patience_is_over() -> None:
    # Parked at 150 for the first look, resumed at once since the lane is idle, given up at the next step past 500.
    assert steps(parking(HALF)([recording("f")], 1)) == [550]


def test_a_hard_failure_shortens_the_patience_of_its_cell() -> None:
    trials = [recording(f"f{seed}", seed=seed) for seed in range(3)]
    # In one lane each is parked at 150. The first is resumed and given up at 550. That leaves the second one a
    # patience of .15, which is over at its next step, and the third one of .05.
    assert steps(parking(HALF)(trials, 1)) == [550, 200, 150]
    near = [recording(f"n{seed}", seed=seed, accuracy=0.95) for seed in range(3)]
    assert steps(parking(HALF)(near, 1)) == [550, 550, 550]


def test_a_grok_prolongs_the_patience_of_its_cell_and_no_other() -> None:
    trials = [
        recording("g", grok=300),
        recording("sibling", seed=1),
        recording("stranger", cell="b", seed=1),
    ]
    assert steps(parking(HALF)(trials, 1)) == [600, 750, 550]


def test_a_trial_that_was_given_up_is_resumed_when_a_sibling_groks_later() -> None:
    # With two lanes the failure is given up at 550, when the slow grokker has not been confirmed yet.
    trials = [recording("g", grok=600, last_fall=1200), recording("f", seed=1, last_fall=0)]
    assert steps(parking(HALF)(trials, 2)) == [BUDGET, 750]


def test_lanes_never_idle_while_a_patient_trial_is_parked() -> None:
    trials = [recording(f"f{cell}", cell=cell) for cell in range(4)]
    fates = parking(HALF)(trials, 4)
    assert steps(fates) == [550] * 4
    assert fates.makespan_steps == 550


def test_without_cells_a_fate_does_not_depend_on_other_trials() -> None:
    alone_rule = ParkingParameters(patience=0.3, cells=False)
    trials = [recording(f"f{seed}", seed=seed) for seed in range(4)] + [recording("g", grok=200, seed=9)]
    together = steps(parking(alone_rule)(trials, 3))
    assert together == [steps(parking(alone_rule)([trial], 1))[0] for trial in trials] == [350] * 4 + [400]


def test_fates_are_the_same_in_every_replay() -> None:
    trials = [
        recording(f"{cell}{seed}", grok=300 if (cell + seed) % 3 == 0 else None, cell=cell, seed=seed)
        for cell in range(4)
        for seed in range(3)
    ]
    first, second = parking(HALF)(trials, 3), parking(HALF)(trials, 3)
    assert steps(first) == steps(second)
    assert first.makespan_steps == second.makespan_steps
