"""Where trials are parked, seeds of a setting train together, first seeds first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sweep.plan.plan import _deal_cells, group
from sweep.specification.config import SweepConfig
from sweep.specification.trials import trials
from tests.sweep.made_up import on_cores
from trainables.config import TrialConfig


@given(
    cells=st.lists(st.integers(1, 7), min_size=1, max_size=9),
    count=st.integers(1, 12),
    cores=st.integers(1, 4),
)
def test_every_trial_is_in_one_queue_and_settings_are_divided_for_cores_only(
    cells: list[int], count: int, cores: int
) -> None:
    members = [
        TrialConfig(seed=seed, weight_decay=float(cell))
        for cell, seeds in enumerate(cells)
        for seed in range(seeds)
    ]
    count = min(count, len(members))
    queues = _deal_cells(members, count, cores)
    assert sorted(trial.trial_id for queue in queues for trial in queue) == sorted(one.trial_id for one in members)
    assert 1 <= len(queues) <= count
    longest = -(-len(members) // min(count, max(len(cells), cores)))
    homes = {
        cell: [queue for queue in queues if cell in {one.weight_decay for one in queue}]
        for cell in range(len(cells))
    }
    assert all(len(homes[cell]) <= -(-seeds // longest) for cell, seeds in enumerate(cells))
    for queue in queues:
        # A part of a setting may begin with a later seed; within it seeds come in their order.
        for cell in {one.weight_decay for one in queue}:
            seeds = [one.seed for one in queue if one.weight_decay == cell]
            assert seeds == sorted(seeds)
        first = [one.weight_decay for one in queue][: len({one.weight_decay for one in queue})]
        assert len(set(first)) == len(first)


def test_cohorts_of_a_sweep_that_parks_hold_whole_settings() -> None:
    config = SweepConfig(stop="park", weight_decay=[0, 0.1, 1, 2], seeds=3, steps=2000, lanes=2)
    cohorts = group(trials(config), config, sharing=on_cores(2))
    homes = {trial.cell_id: cohort.cohort_id for cohort in cohorts for trial in cohort.trials}
    assert all(homes[trial.cell_id] == cohort.cohort_id for cohort in cohorts for trial in cohort.trials)
    assert all(cohort.parking == config.parking and cohort.decline is None for cohort in cohorts)
