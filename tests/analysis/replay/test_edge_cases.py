"""Trials of every shape under the parking rule: what is parked, what is given up, and what is spared."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from analysis.events import Thresholds
from analysis.replay.lanes import parking
from analysis.replay.recordings import Recording
from analysis.stopping.parking import ParkingParameters
from analysis.stopping.stall import StallParameters
from analysis.trajectory import Trajectory
from tests.analysis.replay.made import BUDGET, STEPS

HALF = ParkingParameters(patience=0.5, first_look=0.1)
FLAT = 5.0
Shape = Callable[[int], float]


def trial(
    name: str = "t",
    *,
    loss: Shape = lambda _: FLAT,
    accuracy: Shape = lambda _: 0.1,
    complexity: Shape = lambda _: 100.0,
    train_accuracy: Shape = lambda _: 1.0,
    steps: Sequence[int] = STEPS,
    grok: int | None = None,
    cell: object = "a",
    seed: int = 0,
    thresholds: Thresholds | None = None,
) -> Recording:
    """Make a recorded trial of functions of the step; it ends at twice its grok step, or at its last step."""
    end = len(steps) if grok is None else [*steps].index(min(2 * grok, steps[-1])) + 1
    columns = [[shape(step) for step in steps] for shape in (train_accuracy, accuracy, complexity, loss)]
    return Recording(
        trial_id=name,
        sweep="s",
        cell=(cell,),
        seed=seed,
        budget_steps=steps[-1],
        trajectory=Trajectory.of(list(steps), *columns).prefix(end),
        thresholds=thresholds or Thresholds(),
        memorisation_step=0.0,
        grok_step=math.nan if grok is None else float(grok),
    )


def trained(*trials: Recording, lanes: int = 1, parameters: ParkingParameters = HALF) -> list[int]:
    """Return how many steps each trial is trained."""
    return [int(steps) for steps in parking(parameters)(trials, lanes).steps]


def after(grok: int) -> Shape:
    return lambda step: 0.995 if step >= grok else 0.1


def test_a_trial_that_never_memorises_is_given_up_like_any_that_stalls() -> None:
    assert trained(trial(train_accuracy=lambda _: 0.4)) == [550]


def test_a_trial_that_memorises_slowly_is_spared_while_its_validation_loss_falls() -> None:
    assert trained(trial(train_accuracy=lambda step: step / BUDGET, loss=lambda step: 500 / (step + 1))) == [BUDGET]


def test_a_trial_that_groks_at_once_is_never_parked() -> None:
    assert trained(trial(accuracy=after(50), grok=50)) == [100]


def test_complexity_that_falls_without_a_grok_spares_a_trial_while_it_falls() -> None:
    def falls_to(last: int) -> Shape:
        return lambda step: 1e4 / min(max(step, 1), last)

    assert trained(trial(complexity=falls_to(BUDGET))) == [BUDGET]
    # The slope of complexity is taken over a factor 2.2 of steps, so it is flat again some time after the fall.
    (steps,) = trained(trial(complexity=falls_to(400)))
    assert 550 <= steps < BUDGET
    assert trained(trial(complexity=falls_to(BUDGET)), parameters=with_signal("loss")) == [550]


def with_signal(signal: str) -> ParkingParameters:
    return ParkingParameters(patience=0.5, first_look=0.1, stall=StallParameters(signal=signal))  # type: ignore[arg-type]


def test_a_grok_without_a_fall_of_complexity_is_kept_by_its_validation_loss() -> None:
    late = trial(accuracy=after(800), loss=lambda step: 5 / (step + 1), grok=800)
    assert trained(late) == [BUDGET]
    # Who asks for complexity alone loses it: nothing that the rule looks at had moved.
    assert trained(late, parameters=with_signal("complexity")) == [550]


def test_a_sudden_grok_is_kept_within_the_patience_and_lost_beyond_it() -> None:
    assert trained(trial(accuracy=after(400), grok=400)) == [800]
    assert trained(trial(accuracy=after(700), grok=700)) == [550]


def test_a_trial_with_slingshots_stalls_only_between_them() -> None:
    def swings(period: int) -> Shape:
        return lambda step: FLAT * (1.0 if (step // period) % 2 else 0.5)

    # Falling by a half every second evaluation is progress at least as often as two evaluations can be without.
    assert trained(trial(loss=swings(50))) == [BUDGET]
    (steps,) = trained(trial(loss=swings(400)))
    assert 550 <= steps < BUDGET


def test_a_trial_that_has_touched_the_threshold_is_spared_whatever_follows() -> None:
    near = trial(accuracy=lambda step: 0.995 if step == 100 else 0.3)
    assert trained(near) == [BUDGET]


def test_a_loss_that_is_not_finite_is_no_stall() -> None:
    assert trained(trial(loss=lambda step: math.nan if step > 100 else FLAT)) == [BUDGET]
    assert trained(trial(loss=lambda _: math.inf)) == [BUDGET]


@pytest.mark.parametrize("steps", [[0, BUDGET], [BUDGET], [0, 1, BUDGET]])
def test_few_logged_points_are_no_stall(steps: list[int]) -> None:
    assert trained(trial(steps=steps)) == [BUDGET]


def test_irregular_logging_changes_when_a_trial_is_judged_and_not_how() -> None:
    uneven = [0, 3, 4, 90, 91, 300, 310, 500, 505, 740, BUDGET]
    assert trained(trial(steps=uneven)) == [505]  # the first evaluation beyond a patience of 500
    rng = np.random.default_rng(0)
    for _ in range(50):
        steps = [0, *sorted(rng.choice(np.arange(1, BUDGET), 12, replace=False).tolist()), BUDGET]
        (cost,) = trained(trial(steps=steps))
        # It is given up at an evaluation beyond its patience, and that at once unless two are needed for a stall.
        assert cost in steps
        assert cost > 500
        assert trained(trial(steps=steps, accuracy=after(steps[1]), grok=None)) == [BUDGET]


def test_one_seed_a_cell_is_judged_by_itself() -> None:
    assert trained(*(trial(f"f{cell}", cell=cell) for cell in range(5)), lanes=2) == [550] * 5


def test_all_seeds_of_the_only_cell_park_and_the_evidence_of_one_ends_the_others_early() -> None:
    seeds = [trial(f"f{seed}", seed=seed) for seed in range(4)]
    # In lanes of their own all are parked at 150 and continue, since nothing else could use the lanes.
    assert trained(*seeds, lanes=4) == [550] * 4
    first, *others = trained(*seeds, lanes=1)
    assert first == 550
    assert all(steps < 250 for steps in others)


def test_a_grok_of_the_cell_brings_back_what_was_given_up() -> None:
    slow = trial("slow", accuracy=after(600), loss=lambda step: 5 / (step + 1), grok=600)
    sudden = trial("sudden", accuracy=after(650), grok=650, seed=1)
    assert trained(slow, sudden, lanes=2) == [BUDGET, BUDGET]
    assert trained(slow, trial("stranger", accuracy=after(650), grok=650, cell="b"), lanes=2) == [BUDGET, 550]


def test_with_label_noise_a_plateau_below_the_threshold_is_no_hard_failure() -> None:
    """A tenth of the labels is wrong: validation accuracy ends at .9 and never touches .99."""
    noisy = [trial(f"n{seed}", seed=seed, accuracy=lambda step: 0.9 if step > 300 else 0.1) for seed in range(3)]
    assert trained(*noisy) == [550, 550, 550]  # as long as without evidence: they came near
    hard = [trial(f"h{seed}", seed=seed) for seed in range(3)]
    assert trained(*hard)[1:] < [550, 550]
    # With a threshold that noise allows for, they have grokked.
    reachable = Thresholds(grokked_at=0.85)
    groks = trial(accuracy=lambda step: 0.9 if step >= 300 else 0.1, grok=300, thresholds=reachable)
    assert trained(groks) == [600]


def test_no_lane_idles_while_anything_may_continue_and_a_sweep_of_none_ends_at_once() -> None:
    fates = parking(HALF)([trial(f"f{cell}", cell=cell) for cell in range(2)], 8)
    assert fates.makespan_steps == 550
    assert parking(HALF)([], 8).makespan_steps == 0
