"""Which trial takes the next free lane."""

from __future__ import annotations

import torch

from tests.trainables.lanes.small import RARELY, shape_of, trial
from trainables.lanes.checkpoint import LaneRecord, RunRecord
from trainables.lanes.queue import TrialQueue
from trainables.schedule import evaluated_steps

TRIALS = [trial(seed=seed, steps=40 + seed) for seed in range(4)]


def record_of(queue: TrialQueue, ages: dict[int, int]) -> RunRecord:
    """A record in which trials, by their index, have reached these ages; row i of each tensor is all i."""
    rows = torch.arange(len(ages)).float()[:, None].expand(-1, 3)
    return RunRecord(
        trial_ids=[],
        budgets=[],
        lanes=2,
        measuring={},
        next_trial=queue.next_trial,
        running=[
            LaneRecord(
                trial_index=index, age=age, train_wall_s=1.0, measure_wall_s=2.0, penalised_from=None, history=[]
            )
            for index, age in ages.items()
        ],
        tensors={"weights": rows, "first_moment": rows + 10, "second_moment": rows + 20},
    )


def test_trials_begin_in_their_order_until_there_are_none() -> None:
    queue = TrialQueue(TRIALS, shape_of(TRIALS), RARELY)
    assert len(queue) == 4
    begun = [queue.pop() for _ in range(4)]
    assert [lane.trial for lane, _ in begun] == TRIALS
    assert [lane.trial_index for lane, _ in begun] == [0, 1, 2, 3]
    assert {lane.age for lane, _ in begun} == {0}
    assert begun[0][0].evaluated == list(reversed(evaluated_steps(RARELY, 40)))
    assert not torch.equal(begun[0][1]["weights"], begun[1][1]["weights"])
    assert not queue


def test_trials_that_wait_come_first_with_the_state_they_had() -> None:
    queue = TrialQueue(TRIALS, shape_of(TRIALS), RARELY)
    for _ in range(3):
        queue.pop()
    queue.go_back(record_of(queue, {0: 32, 2: 5}))
    assert (len(queue), queue.not_begun) == (3, 1)
    (first, state), (second, _), (third, _) = (queue.pop() for _ in range(3))
    assert [lane.trial for lane in (first, second, third)] == [TRIALS[0], TRIALS[2], TRIALS[3]]
    assert [lane.age for lane in (first, second, third)] == [32, 5, 0]
    assert (first.train_wall_s, first.measure_wall_s) == (1.0, 2.0)
    assert {name: row[0].item() for name, row in state.items()} == {
        "weights": 0,
        "first_moment": 10,
        "second_moment": 20,
    }
    assert first.evaluated == [step for step in reversed(evaluated_steps(RARELY, 40)) if step > 32]
    assert not queue
