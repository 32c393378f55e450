"""A spectral penalty that starts late: where it begins, nothing happens before, and company changes nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from tests.trainables.comparing import comparable, rows_of
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.errors import ConfigError
from trainables.lanes import LaneRun, checkpoint, shape_key, train
from trainables.lanes.step import add_penalty
from trainables.measurement import Ending, Measurement, TrialHistory
from trainables.schedule import MeasuringConfig, evaluated_steps

RARELY = MeasuringConfig(measure_ratio=1e6)


def trial(**values: Any) -> TrialConfig:
    defaults: dict[str, Any] = {
        "task": TaskConfig(modulus=11),
        "model": ModelConfig(width=12, heads=3),
        "data_fraction": 0.4,
        "batch_size": 17,
        "spectral_entropy_weight": 0.1,
        "steps": 130,
    }
    return TrialConfig(**{**defaults, **values})


def declined(history: TrialHistory) -> bool:
    """Says yes at the first evaluated step from one on that depends on the trial's seed."""
    return history.measurements[-1].step >= 7 * history.trial.seed


def started(measurements: list[Measurement]) -> dict[int, int | None]:
    """Seed -> where the penalty began."""
    return {m.seed: m.end.spectral_started_at_step for m in measurements if m.end}


def what_training_shows(measurement: Measurement) -> str:
    """The comparable part that does not name the trial."""
    return comparable(dataclasses.replace(measurement, trial_id="", spectral_entropy_weight=0.0, end=None))


@pytest.mark.parametrize("floor", [0.0, 1e-2])
def test_before_its_start_a_penalty_does_nothing_and_from_there_on_it_acts(floor: float) -> None:
    settings = {"seed": 3, "weight_noise": 1e-2, "spectral_floor": floor, "spectral_every": 4}
    measuring = MeasuringConfig()
    plain = list(train([trial(seed=3, weight_noise=1e-2, spectral_entropy_weight=0)], measuring=measuring))
    late = list(train([trial(**settings, spectral_start=33)], measuring=measuring))
    assert [m.step for m in late] == list(evaluated_steps(measuring, 130))
    for without, with_penalty in zip(plain, late, strict=True):
        same = what_training_shows(without) == what_training_shows(with_penalty)
        assert same == (without.step <= 64), without.step
    assert late[-1].spectral_entropy < plain[-1].spectral_entropy
    block = list(train([trial(**settings, spectral_start=64)], measuring=measuring))
    assert [what_training_shows(m) for m in block] == [what_training_shows(m) for m in late]
    told = list(
        train(
            [trial(**settings, spectral_start="at_decline")],
            declined=lambda history: history.measurements[-1].step >= 36,
            measuring=measuring,
        )
    )
    assert [what_training_shows(m) for m in told] == [what_training_shows(m) for m in late]


def test_where_it_began_is_recorded() -> None:
    def ends_early(history: TrialHistory) -> Ending | None:
        stops = history.trial.seed == 4 and history.measurements[-1].step >= 32
        return Ending(because="stopped", reason="enough") if stops else None

    trials = [
        trial(seed=0),
        trial(seed=1, spectral_start=1),
        trial(seed=2, spectral_start="at_decline"),  # told at an evaluated step within the first block
        trial(seed=3, spectral_start=128, learning_rate=1e30),
        trial(seed=4, spectral_start=32),
        trial(seed=12, spectral_start="at_decline"),  # told at 96
        trial(seed=18, spectral_start="at_decline"),  # told at 128
        trial(seed=19, spectral_start="at_decline"),  # told at the last step, too late
        trial(seed=20, spectral_start=128),
        trial(seed=21, spectral_start="at_decline"),  # never told
    ]
    measurements = list(train(trials, ends_early, declined=declined, measuring=RARELY))
    expected = {0: 0, 1: 32, 2: 32, 3: None, 4: None, 12: 96, 18: 128, 19: None, 20: 128, 21: None}
    assert started(measurements) == expected
    [plain] = [m.end for m in train([trial(spectral_entropy_weight=0)], measuring=RARELY) if m.end]
    assert plain.spectral_started_at_step is None


def test_it_is_asked_until_it_says_yes_with_the_whole_history() -> None:
    seen: list[tuple[int, ...]] = []

    def declined(history: TrialHistory) -> bool:
        seen.append(tuple(m.step for m in history.measurements))
        return history.measurements[-1].step >= 64

    list(train([trial(spectral_start="at_decline"), trial(spectral_start=64)], declined=declined, measuring=RARELY))
    steps = evaluated_steps(RARELY, 130)
    asked = sum(step < 64 for step in steps) + 1
    assert seen == [steps[: count + 1] for count in range(asked)]


FORMS: dict[str, dict[str, Any]] = {
    "with a floor": {"weight_noise": 1e-2},
    "the paper's": {"spectral_floor": 0.0, "model": ModelConfig(width=10, heads=2)},
    "now and then, lane by lane": {
        "spectral_every": 8,
        "batch_size": 48,
        "model": ModelConfig(width=12, heads=3, hidden_width=700),
    },
    "mlp": {"model": ModelConfig(kind="mlp", width=7, hidden_width=21)},
}


def company(form: dict[str, Any]) -> list[TrialConfig]:
    """Penalties that start everywhere, of unequal lengths; two diverge, one of them with its penalty on."""
    starts: list[Any] = [33, "at_decline"]
    return [
        *(
            trial(**form, spectral_start=start, seed=seed, steps=40 + 20 * seed, weight_decay=0.2 * seed)
            for seed, start in enumerate(starts, start=4)
        ),
        trial(**form, learning_rate=1e30),
        trial(**form, learning_rate=1e30, spectral_start=96),
    ]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_trial_has_the_same_rows_alone_and_among_penalties_on_and_off(form: dict[str, Any]) -> None:
    starts: list[Any] = [0, 64, "at_decline"]
    ours = [trial(**form, spectral_start=start, seed=seed) for seed, start in enumerate(starts, start=9)]
    others = company(form)
    assert len({shape_key(config) for config in [*ours, *others]}) == 1
    alone = [rows_of(one.trial_id, train([one], declined=declined, measuring=RARELY)) for one in ours]
    for queue, lanes in (([*others, *ours], 2), ([*ours, *others], 4)):
        measurements = list(train(queue, declined=declined, measuring=RARELY, lanes=lanes))
        assert [rows_of(one.trial_id, measurements) for one in ours] == alone
        assert {9: 0, 10: 64, 11: 96, 5: 64}.items() <= started(measurements).items()


def test_a_gradient_without_a_penalty_keeps_its_bits_down_to_the_sign_of_zero() -> None:
    run = LaneRun([trial(seed=seed, spectral_start=64 * (seed > 0)) for seed in range(3)], lanes=3)
    run.advance(1)
    weights = run._lanes.weights.clone()
    weights[1] = torch.nan  # its penalty, taken times zero, would be NaN
    gradient = torch.full_like(weights, -0.0)
    add_penalty(run._shape, gradient, weights, run._lanes.settings, [0])
    assert gradient[0].count_nonzero() > 0
    assert (gradient[1:] == 0).all()
    assert gradient[1:].signbit().all()


@pytest.mark.parametrize("form", [FORMS["with a floor"]], ids=["with a floor"])
def test_a_run_restored_after_every_block_has_the_same_rows(form: dict[str, Any]) -> None:
    trials = [*company(form), trial(**form, spectral_start="at_decline", seed=15, steps=170)]
    undisturbed = list(train(trials, declined=declined, measuring=RARELY, lanes=3))
    run, restored = LaneRun(trials, declined=declined, measuring=RARELY, lanes=3), []
    while not run.finished:
        restored += run.advance(1)
        run = LaneRun.restore(run.save(), trials, declined=declined, measuring=RARELY)
    assert [comparable(m) for m in restored] == [comparable(m) for m in undisturbed]
    assert started(restored)[15] == 128


def test_a_start_once_known_is_in_the_checkpoint() -> None:
    """And is not asked for again: by then the answer could be another one."""
    config = trial(spectral_start="at_decline", seed=5)
    run = LaneRun([config], declined=declined, measuring=RARELY)
    run.advance(1)
    assert [lane.penalised_from for lane in checkpoint.decode(run.save()).running] == [None]
    run.advance(1)
    data = run.save()
    assert [lane.penalised_from for lane in checkpoint.decode(data).running] == [64]
    rest = LaneRun.restore(data, [config], declined=lambda _: False, measuring=RARELY).advance(9)
    assert [comparable(m) for m in rest] == [comparable(m) for m in run.advance(9)]
    assert started(rest) == {5: 64}


def test_at_decline_without_a_callable_to_ask_is_refused_before_training() -> None:
    with pytest.raises(ConfigError, match="spectral_start at_decline needs a callable"):
        train([trial(), trial(spectral_start="at_decline")])
    run = LaneRun([trial(spectral_start="at_decline")], declined=declined, measuring=RARELY)
    run.advance(1)
    with pytest.raises(ConfigError, match="pass declined"):
        LaneRun.restore(run.save(), [trial(spectral_start="at_decline")], measuring=RARELY)
