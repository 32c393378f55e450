"""From a specification to trials."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.specification.config import SweepConfig, load_specification
from sweep.specification.trials import trials
from trainables.lanes import shape_key


def test_the_grid_in_order_the_seed_slowest() -> None:
    config = SweepConfig(weight_decay=[0, 1], data_fraction=[0.3, 0.5], model={"width": [32, 64]}, seeds=[4, 2])
    listed = [(t.seed, t.model.width, t.data_fraction, t.weight_decay) for t in trials(config)]
    assert listed == [(s, w, f, d) for s in (4, 2) for w in (32, 64) for f in (0.3, 0.5) for d in (0.0, 1.0)]


def test_two_ways_to_say_one_network_are_one_trial() -> None:
    assert len(trials(SweepConfig(model={"layers": [None, 1], "hidden_width": [None, 512]}))) == 1


def test_a_longer_budget_is_the_same_trial() -> None:
    ids = {trial.trial_id for steps in (10, 20) for trial in trials(SweepConfig(steps=steps))}
    assert len(ids) == 1


def test_the_benchmark_of_ten_thousand_trials_has_so_many_of_one_shape() -> None:
    config = load_specification(str(Path(__file__).parents[3] / "benchmarks" / "ten_thousand.yaml"))
    planned = trials(config)
    assert len(planned) == 10_000
    assert len({shape_key(trial) for trial in planned}) == 1


@settings(max_examples=30)
@given(
    decays=st.lists(st.floats(0, 10), min_size=1, max_size=4, unique=True),
    fractions=st.lists(st.floats(0.1, 0.9), min_size=1, max_size=3, unique=True),
    seeds=st.integers(1, 4),
)
def test_adding_values_adds_only_new_trials(decays: list[float], fractions: list[float], seeds: int) -> None:
    before = [t.trial_id for t in trials(SweepConfig(weight_decay=decays, data_fraction=fractions, seeds=seeds))]
    more = trials(SweepConfig(weight_decay=[*decays, 11.0], data_fraction=fractions, seeds=seeds + 1))
    assert len(set(before)) == len(before) == len(decays) * len(fractions) * seeds
    assert set(before) < {trial.trial_id for trial in more}
    assert len(more) == (len(decays) + 1) * len(fractions) * (seeds + 1)
