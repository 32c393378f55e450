"""Cohorts and plans: what is run, resumed, left alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.errors import SpecificationError
from sweep.plan.plan import QUEUE_PER_LANE, SHORT_COHORT_FLOPS, group, plan, record
from sweep.plan.sizing import trial_flops
from sweep.results.cohort import cohort_from_dict
from sweep.results.store import Store
from sweep.specification.config import SweepConfig
from sweep.specification.trials import trials
from tests.sweep.made_up import end_trials, on_cores
from trainables.lanes import shape_key
from trainables.measurement import EndedBecause

TINY = {
    "task": {"modulus": 7},
    "model": {"width": 8, "heads": 2},
    "data_fraction": 0.5,
    "steps": 100,
    "stop": "decline",
}


def tiny(**values: object) -> SweepConfig:
    return SweepConfig(**{**TINY, **values})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@settings(max_examples=25)
@given(
    decays=st.integers(1, 4),
    penalties=st.lists(st.sampled_from([0.0, 0.1, 0.2]), min_size=1, max_size=3, unique=True),
    seeds=st.integers(1, 12),
    parallel=st.integers(1, 9),
    lanes=st.sampled_from(["auto", 1, 3, 8]),
    steps=st.sampled_from([100, 100_000]),
)
def test_every_trial_is_in_one_cohort_of_its_shape(
    decays: int, penalties: list[float], seeds: int, parallel: int, lanes: object, steps: int
) -> None:
    config = tiny(
        weight_decay=[*range(decays)],
        spectral_entropy_weight=penalties,
        seeds=seeds,
        lanes=lanes,
        batch_size=4,
        steps=steps,
    )
    wanted = trials(config)
    cohorts = group(wanted, config, sharing=on_cores(parallel), first_index=5)
    assert sorted(i for cohort in cohorts for i in cohort.trial_ids) == sorted(trial.trial_id for trial in wanted)
    assert [cohort.index for cohort in cohorts] == [*range(5, 5 + len(cohorts))]
    assert len({cohort.cohort_id for cohort in cohorts}) == len(cohorts)
    for cohort in cohorts:
        assert len({shape_key(trial) for trial in cohort.trials}) == 1
        assert cohort.lanes >= 1
        work = sum(trial_flops(trial, cohort.measuring) for trial in cohort.trials)
        assert len(cohort.trials) <= cohort.lanes * QUEUE_PER_LANE or work <= 1.01 * SHORT_COHORT_FLOPS
        assert cohort_from_dict(json.loads(json.dumps(cohort.as_dict()))) == cohort


def test_one_shape_is_spread_evenly_over_the_cores() -> None:
    config = tiny(seeds=32)
    assert [len(cohort.trials) for cohort in group(trials(config), config, sharing=on_cores(4))] == [8, 8, 8, 8]
    assert [len(cohort.trials) for cohort in group(trials(tiny(seeds=3)), config, sharing=on_cores(4))] == [3]


def test_tiny_trials_do_not_make_tiny_cohorts() -> None:
    config = tiny(seeds=1000)
    cohorts = group(trials(config), config, sharing=on_cores(1))
    work = [sum(trial_flops(trial, config.measuring) for trial in cohort.trials) for cohort in cohorts]
    assert 0.5 * SHORT_COHORT_FLOPS < min(work) <= max(work) <= SHORT_COHORT_FLOPS
    assert {cohort.lanes for cohort in cohorts} <= {8, 9}
    # All machines have their share even so.
    assert len(group(trials(config), config, sharing=on_cores(40))) >= 40


def test_a_specification_says_how_many_processes_the_cluster_has(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    assert plan(tiny(), store).sharing == plan(tiny(processes="auto"), store).sharing
    as_said = plan(tiny(seeds=32, processes=4), store)
    assert len(as_said.new) == len(plan(tiny(seeds=32), store, parallel=4).new) == 4
    with pytest.raises(SpecificationError, match="processes must be auto or a whole number of at least 1, got 0"):
        tiny(processes=0)


def test_nine_trials_do_not_wait_for_eight_lanes() -> None:
    config = tiny(seeds=9)
    assert [cohort.lanes for cohort in group(trials(config), config, sharing=on_cores(1))] == [9]


def test_a_plan_writes_nothing_and_a_record_all(store: Store) -> None:
    config = tiny(seeds=4)
    decided = plan(config, store, parallel=2)
    assert not Path(store.path).exists()
    assert decided.to_run == [trial.trial_id for trial in decided.trials]
    record(decided, config, store)
    assert store.cohorts() == decided.new
    stated = json.loads(Path(store.path, "sweep.json").read_text())
    assert stated["trials"] == decided.to_run
    assert SweepConfig(**stated["specification"]) == config


def test_the_same_request_resumes_recorded_cohorts_and_never_regroups(store: Store) -> None:
    config = tiny(seeds=4)
    first = plan(config, store, parallel=2)
    record(first, config, store)
    done = first.new[0]
    end_trials(store, done, dict.fromkeys(done.trial_ids, "budget"))
    half = first.new[1]
    end_trials(store, half, {half.trial_ids[0]: "grokked", half.trial_ids[1]: None})

    again = plan(config, store, parallel=7)
    assert (again.resume, again.new) == ([half], [])
    assert set(again.satisfied) == {*done.trial_ids, half.trial_ids[0]}
    assert again.to_run == [half.trial_ids[1]]


def test_more_seeds_add_only_the_new_trials(store: Store) -> None:
    config = tiny(seeds=4)
    first = plan(config, store, parallel=1)
    record(first, config, store)
    end_trials(store, first.new[0], dict.fromkeys(first.to_run, "budget"))
    assert plan(config, store).cohorts == []
    more = plan(tiny(seeds=5), store)
    assert [cohort.trial_ids for cohort in more.new] == [(more.trials[-1].trial_id,)]
    assert more.new[0].index == 1
    # A smaller request is satisfied, and does not run what others asked for.
    record(more, tiny(seeds=5), store)
    assert plan(tiny(seeds=2), store).cohorts == []


@pytest.mark.parametrize(
    ("because", "at", "request_of", "runs"),
    [
        ("budget", 100, {"steps": 100}, False),
        ("budget", 100, {"steps": 50}, False),
        ("budget", 100, {"steps": 200}, True),
        ("grokked", 60, {"steps": 200}, False),
        ("diverged", 3, {"steps": 200}, False),
        ("stopped", 60, {"steps": 100}, False),
        ("stopped", 60, {"steps": 200}, False),
        ("stopped", 60, {"stop": "none"}, True),
        ("stopped", 60, {"stop": "none", "steps": 60}, False),
        ("stopped", 60, {"decline": {"patience": 40}}, True),
        ("budget", 100, {"stop": "none"}, False),
        (None, 60, {}, True),
    ],
)
def test_what_satisfies_a_request(
    store: Store, because: EndedBecause | None, at: int, request_of: dict[str, object], runs: bool
) -> None:
    first = plan(tiny(), store)
    record(first, tiny(), store)
    end_trials(store, first.new[0], {first.to_run[0]: because}, step=at)
    assert bool(plan(tiny(**request_of), store).to_run) is runs


def test_another_budget_is_a_new_attempt_with_a_larger_index(store: Store) -> None:
    first = plan(tiny(), store)
    record(first, tiny(), store)
    longer = plan(tiny(steps=300), store)
    assert longer.resume == []
    assert [(cohort.index, cohort.trials[0].steps) for cohort in longer.new] == [(1, 300)]
    record(longer, tiny(steps=300), store)
    assert plan(tiny(steps=300), store).resume == longer.new


def test_a_cohort_does_not_change_its_device(store: Store) -> None:
    """Processes are given a GPU or none by what is asked for now, and a cohort trains where it says."""
    record(plan(tiny(device="cuda"), store), tiny(device="cuda"), store)
    again = plan(tiny(), store)
    assert again.resume == []
    assert [cohort.device for cohort in again.new] == ["cpu"]


def test_bits_that_hold_across_machines_hold_here_but_not_the_other_way_round(store: Store) -> None:
    here, everywhere = tiny(seeds=2), tiny(seeds=2, reproducible="across machines")
    first = plan(here, store)
    record(first, here, store)
    anew = plan(everywhere, store)
    assert anew.resume == []
    assert {cohort.reproducible for cohort in anew.new} == {"across machines"}
    ended = first.new[0].trial_ids[0]
    end_trials(store, first.new[0], {ended: "budget"})
    assert plan(here, store).satisfied == [ended]
    assert plan(everywhere, store).satisfied == []

    record(anew, everywhere, store)
    assert plan(here, store).resume == plan(everywhere, store).resume == anew.new
    end_trials(store, anew.new[0], dict.fromkeys(anew.new[0].trial_ids, "budget"))
    assert plan(everywhere, store).satisfied == plan(here, store).satisfied == list(anew.new[0].trial_ids)


def test_what_held_counts_and_not_only_what_was_promised(store: Store) -> None:
    everywhere = tiny(seeds=1, reproducible="across machines")
    first = plan(everywhere, store)
    record(first, everywhere, store)
    end_trials(store, first.new[0], dict.fromkeys(first.new[0].trial_ids, "budget"), reproducible="no")
    assert plan(tiny(seeds=1), store).satisfied == list(first.new[0].trial_ids)
    assert plan(everywhere, store).satisfied == []


def test_cohorts_recorded_before_promises_were_are_read(store: Store) -> None:
    [cohort] = plan(tiny(), store).new
    values = cohort.as_dict()
    del values["reproducible"]
    assert cohort_from_dict(values) == cohort


def test_failed_trials_run_again_and_can_be_the_only_ones(store: Store) -> None:
    config = tiny(seeds=4)
    first = plan(config, store, parallel=2)
    record(first, config, store)
    broken, untouched = first.new
    end_trials(store, broken, {broken.trial_ids[0]: "budget"})
    store.mark_failed(broken.cohort_id, "no memory")
    assert store.outcomes()[broken.trial_ids[1]].ended_because == "failed"

    alone = plan(config, store, retry_failed=True)
    assert (alone.resume, alone.new, alone.failed) == ([broken], [], [broken.trial_ids[1]])
    assert plan(config, store).resume == [broken, untouched]
    record(alone, config, store)
    assert broken.trial_ids[1] not in store.outcomes()
    assert plan(config, store, retry_failed=True).cohorts == []


def test_another_epsilon_is_said_not_silent(store: Store) -> None:
    config = tiny(stop="none")
    first = plan(config, store)
    record(first, config, store)
    end_trials(store, first.new[0], {first.to_run[0]: "budget"})
    assert plan(config, store).notes == []
    assert "measured at epsilon 1, not 0.5" in plan(tiny(epsilon=0.5), store).notes[0]


def test_a_penalty_that_waited_for_a_decline_is_there_only_if_that_was_measured_likewise(store: Store) -> None:
    """How it was measured moves its start, and with it the weights."""
    late = {"spectral_entropy_weight": 0.1, "spectral_start": [64, "at_decline"]}
    first = plan(tiny(**late), store)
    record(first, tiny(**late), store)
    for cohort in first.new:
        end_trials(store, cohort, dict.fromkeys(cohort.trial_ids, "budget"))
    assert plan(tiny(**late), store).to_run == []
    again = plan(tiny(**late, epsilon=0.5), store)
    assert [trial.spectral_start for trial in again.trials if trial.trial_id in again.to_run] == ["at_decline"]
    assert again.resume == []


def test_a_specification_made_in_python_is_checked_against_the_data(store: Store) -> None:
    with pytest.raises(SpecificationError, match="epsilon must be below"):
        plan(tiny(epsilon=3), store)
