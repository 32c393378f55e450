"""Lanes on the device: placing, free lanes, compacting, and making them anew."""

from __future__ import annotations

import pytest
import torch

from tests.trainables.lanes.small import RARELY, placed, trial
from trainables.config.drift import Drift
from trainables.lanes import device
from trainables.lanes.lane import Lane

TRIALS = [trial(seed=seed, data_fraction=0.3 + 0.1 * seed, weight_decay=0.1 * seed) for seed in range(4)]


def test_a_trial_brings_its_state_its_labels_and_its_settings() -> None:
    shape, lanes = placed(TRIALS, 5)
    assert len(lanes) == 5
    assert lanes.free() == [4]
    for row, config in enumerate(TRIALS):
        assert torch.equal(lanes.weights[row], shape.initial_state(config.seed)["weights"])
        assert torch.equal(lanes.targets[row], lanes.running()[row].split.targets)
        assert lanes.settings.trials[row] is config
    assert not lanes.weights[4].any()


def test_placing_leaves_tensors_where_they_were() -> None:
    """Captured steps read and write there."""
    shape, lanes = placed(TRIALS, 4)
    tensors = [lanes.weights, lanes.first_moment, lanes.second_moment, lanes.targets, lanes.first_row]
    before = [tensor.data_ptr() for tensor in tensors]
    other = trial(seed=9)
    lanes.place(2, Lane.begin(9, other, RARELY), shape.initial_state(9))
    lanes.take_settings()
    assert not lanes.compact()
    tensors = [lanes.weights, lanes.first_moment, lanes.second_moment, lanes.targets, lanes.first_row]
    assert [tensor.data_ptr() for tensor in tensors] == before
    assert lanes.settings.trials == [*TRIALS[:2], other, TRIALS[3]]


@pytest.mark.parametrize(
    ("ended", "kept"),
    [([], [0, 1, 2, 3]), ([1], [0, 2, 3]), ([0, 2], [1, 3]), ([0, 1, 3], [0, 2]), ([0, 1, 2, 3], [0, 1])],
)
def test_free_lanes_are_given_up_down_to_two(ended: list[int], kept: list[int]) -> None:
    """Two, since one lane alone would have other bits; the running ones keep their order."""
    _, lanes = placed(TRIALS, 4)
    states = {name: rows.clone() for name, rows in lanes.states().items()}
    targets, running = lanes.targets.clone(), lanes.running()
    for place in ended:
        running[place].running = False
    assert lanes.free() == ended
    assert lanes.compact() == bool(ended)
    assert torch.equal(lanes.weights, states["weights"][kept])
    assert torch.equal(lanes.targets, targets[kept])
    assert [lane for lane in lanes[:] if lane] == [running[place] for place in kept]
    assert [config.seed for config in lanes.settings.trials] == kept
    assert [lane.trial_index for lane in lanes.running()] == [place for place in kept if place not in ended]


def test_each_lane_reads_the_table_of_its_phase() -> None:
    drifting = trial(steps=100, drift=Drift.of({32: {"shift": 0.5}, 64: {}}))
    _, lanes = placed([trial(), drifting], 2)
    table = lanes.table(1)
    lane = lanes.running()[1]
    for number in (1, 0):
        lane.exchange()
        lanes.give_training_set(1, lane)
        assert lanes.first_row.tolist() == [[0], [number * len(table)]]
        assert torch.equal(lanes.table(number), lane.task.inputs)
        assert torch.equal(lanes.targets[1], lane.split.targets)


def test_lanes_are_made_anew_even_where_there_was_no_room_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    _, lanes = placed(TRIALS, 4)

    def no_room(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(device, "LaneSettings", no_room)
        with pytest.raises(MemoryError):
            lanes.allocate(4)
    lanes.release()
    assert lanes.weights.numel() == 0
    lanes.allocate(1)
    assert len(lanes) == 2
    assert lanes.free() == [0, 1]
