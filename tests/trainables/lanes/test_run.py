"""The training loop: other lanes change nothing, endings are what they say, checkpoints resume bit for bit."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as functional

from tests.trainables.comparing import comparable, rows_of
from tests.trainables.lanes.small import RARELY, trial
from trainables.architectures.models import forward, initialise
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.errors import CheckpointError, ConfigError
from trainables.lanes import Counts, LaneRun, shape_key, train
from trainables.measurement import Ending, Measurement, TrialHistory
from trainables.random import generator
from trainables.schedule import BLOCK_STEPS, MeasuringConfig, evaluated_steps, measured_steps
from trainables.tasks import build_task, split

SHAPES: dict[str, dict[str, Any]] = {
    "plain": {"model": ModelConfig(width=12, heads=3, hidden_width=31)},
    "penalty and noise": {
        "model": ModelConfig(width=12, heads=3),
        "spectral_entropy_weight": 0.1,
        "weight_noise": 1e-2,
    },
    "the paper's penalty": {
        "model": ModelConfig(width=10, heads=2),
        "spectral_entropy_weight": 0.1,
        "spectral_floor": 0.0,
    },
    "a penalty now and then, lane by lane": {
        "model": ModelConfig(width=12, heads=3, hidden_width=1930),
        "spectral_entropy_weight": 0.1,
        "spectral_every": 4,
    },
    "two layers": {"model": ModelConfig(width=9, heads=3, layers=2)},
    "mlp": {"model": ModelConfig(kind="mlp", width=7, hidden_width=21)},
}


def company(shape: dict[str, Any]) -> list[TrialConfig]:
    """Seven others of the shape, of unequal lengths, settings and splits; the last one diverges at once."""
    others = [
        trial(
            **shape, data_fraction=0.3 + 0.05 * i, seed=i, steps=5 + 13 * i, weight_decay=0.2 * i, label_noise=0.1
        )
        for i in range(6)
    ]
    return [*others, trial(**shape, learning_rate=1e30, steps=200)]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_a_trial_has_the_same_rows_alone_and_in_any_company(shape: dict[str, Any]) -> None:
    one = trial(**shape, seed=5, steps=70, weight_decay=0.3)
    alone = rows_of(one.trial_id, train([one], measuring=RARELY))
    assert len(alone) == len(evaluated_steps(RARELY, 70))
    others = company(shape)
    for queue, lanes in (([*others, one], 2), ([*others[3:], one, *others[:3]], 3), ([one, *others], 8)):
        measurements = list(train(queue, measuring=RARELY, lanes=lanes))
        assert rows_of(one.trial_id, measurements) == alone
        endings = [m.end.ending.because for m in measurements if m.end]
        assert sorted(endings) == ["budget"] * 7 + ["diverged"]


@pytest.mark.parametrize("shape", [SHAPES["penalty and noise"]], ids=["penalty and noise"])
def test_a_run_restored_after_every_block_has_the_same_rows(shape: dict[str, Any]) -> None:
    trials = [trial(**shape, seed=9, steps=70), *company(shape)]
    undisturbed = [comparable(m) for m in train(trials, measuring=RARELY, lanes=3)]
    run, restored = LaneRun(trials, measuring=RARELY, lanes=3), []
    while not run.finished:
        restored += run.advance(1)
        run = LaneRun.restore(run.save(), trials, measuring=RARELY)
    assert [comparable(m) for m in restored] == undisturbed
    assert run.advance(1) == []


def test_seconds_go_on_after_a_restore() -> None:
    run = LaneRun([trial(steps=100)], measuring=RARELY)
    before = run.advance(1)[-1]
    after = LaneRun.restore(run.save(), [trial(steps=100)], measuring=RARELY).advance(4)
    assert before.train_wall_s < after[0].train_wall_s < after[-1].train_wall_s
    assert before.measure_wall_s < after[0].measure_wall_s < after[-1].measure_wall_s


def test_a_restored_watch_sees_the_whole_history() -> None:
    seen: list[tuple[int, ...]] = []

    def watch(history: TrialHistory) -> None:
        seen.append(tuple(m.step for m in history.measurements))

    run = LaneRun([trial()], measuring=RARELY, watch=watch)
    run.advance(1)
    LaneRun.restore(run.save(), [trial()], measuring=RARELY, watch=watch).advance(1)
    assert seen == [evaluated_steps(RARELY, 40)[: count + 1] for count in range(len(seen))]
    assert len(seen) == len(evaluated_steps(RARELY, 40))


@pytest.mark.parametrize("every", [1, 4])
def test_the_steps_are_those_of_a_loop_written_plainly(every: int) -> None:
    """One network, torch's AdamW, the definitions of batch, noise and penalty written down once more."""
    config = trial(steps=40, weight_decay=0.5, weight_noise=1e-2, spectral_entropy_weight=0.2, label_noise=0.2)
    config = dataclasses.replace(config, spectral_every=every)
    task = build_task(config.task)
    parts = split(task, config.data_fraction, config.label_noise, config.seed)
    network = {k: v.requires_grad_() for k, v in initialise(task, config.model, config.seed).items()}
    optimiser = torch.optim.AdamW(network.values(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.5)
    per_epoch = len(parts.train) // 17
    for step in range(40):
        order = torch.randperm(len(parts.train), generator=generator(0, "batches", step // per_epoch))
        batch = parts.train[order][step % per_epoch * 17 :][:17]
        noise = torch.randn(sum(w.numel() for w in network.values()), generator=generator(0, "noise", step))
        pieces = noise.split([w.numel() for w in network.values()])
        at = {k: v + 1e-2 * n.view_as(v) for (k, v), n in zip(network.items(), pieces, strict=True)}
        logits = forward(config.model, {k: v[None] for k, v in at.items()}, task.inputs[batch])[0]
        entropies = []
        for weight in at.values():
            if weight.dim() == 2:
                values = torch.linalg.svdvals(weight)
                values = (values**2 + (config.spectral_floor * values.max()) ** 2).sqrt()
                share = values / values.sum()
                entropies.append(-(share * share.log()).sum())
        loss = functional.cross_entropy(logits, parts.targets[batch])
        if step % every == 0:
            loss = loss + every * 0.2 * torch.stack(entropies).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    final = list(train([config], measuring=RARELY))[-1]
    assert final.step == 40
    assert final.network is not None
    # Softmax does not see a shift of all keys: that gradient is rounding alone, which Adam blows up to full size.
    del network["decoder_layers_0/self_attn/k_proj/bias"]
    for name, weight in network.items():
        torch.testing.assert_close(final.network[name], weight.detach(), rtol=1e-2, atol=1e-4)


def test_what_a_measurement_holds() -> None:
    config = trial(steps=70, label_noise=0.1)
    measuring = MeasuringConfig(extra_epsilons=(0.5,))
    rows = list(train([config], measuring=measuring))
    assert [m.step for m in rows] == list(evaluated_steps(measuring, 70))
    assert {m.step for m in rows if m.complexity_bytes} >= set(measured_steps(measuring, 70))
    for m in rows:
        measured = m.complexity_bytes is not None
        assert (m.network is not None) == measured == bool(m.matrices) == (m.description_length_bits is not None)
        assert [c.epsilon for c in m.complexities] == ([1.0, 0.5] if measured else [])
        assert not measured or m.complexities[0].complexity_bytes == m.complexity_bytes
        assert m.spectral_entropy > 0
        assert (m.end is not None) == (m.step == 70)
    assert rows[0].train_loss > rows[-1].train_loss
    end = rows[-1].end
    assert end is not None
    assert (end.training_examples, end.validation_examples) == (48, 73)
    assert end.bzip2_bytes > 0
    assert end.parameters == sum(w.numel() for w in (rows[-1].network or {}).values())


def test_complexity_is_measured_where_validation_accuracy_moves() -> None:
    config = trial(data_fraction=0.8, steps=800, weight_decay=1.0, learning_rate=3e-3)
    measuring = MeasuringConfig(measure_ratio=1e6, grokked_at=1.0)
    rows = list(train([config], measuring=measuring))
    assert max(m.val_accuracy for m in rows) < 1, "no tail"
    last = rows[0]
    assert sum(m.complexity_bytes is not None for m in rows) > 3
    for m in rows[1:]:
        moved = abs(m.val_accuracy - last.val_accuracy) >= 0.1
        assert (m.complexity_bytes is not None) == (moved or m.step in measured_steps(measuring, 800))
        last = m if m.complexity_bytes is not None else last


def test_complexity_is_measured_at_every_evaluated_step_of_the_tail() -> None:
    config = TrialConfig(
        task=TaskConfig(modulus=7),
        model=ModelConfig(width=8),
        data_fraction=0.8,
        weight_decay=0.3,
        learning_rate=1e-2,
        steps=600,
    )
    measuring = MeasuringConfig(measure_ratio=1e6, grokked_at=0.4)
    rows = list(train([config], measuring=measuring))
    began, before, tail = None, 0, []
    for m in rows:
        began = (m.step if began is None else began) if m.val_accuracy >= 0.4 else None
        if began is not None and before < 2 * began:
            tail.append(m)
        before = m.step
    assert all(m.complexity_bytes is not None for m in tail)
    assert len(tail) >= 4, "an event in the middle of the run, or the test says nothing"
    assert sum(m.complexity_bytes is not None for m in rows) < len(rows)


def end_of(measurements: list[Measurement]) -> Ending:
    end = measurements[-1].end
    assert end is not None
    return end.ending


def test_a_watch_ends_a_trial_where_it_says_so() -> None:
    stopped = Ending(because="stopped", reason="enough", probability=0.02)
    rows = list(train([trial()], lambda history: stopped if history.measurements[-1].step >= 9 else None))
    assert rows[-1].step == 9
    assert end_of(rows) == stopped
    assert rows[-1].network is not None


@pytest.mark.parametrize(("because", "ending"), [("stopped", "budget"), ("grokked", "grokked")])
def test_at_the_last_step_a_decision_to_stop_comes_too_late(because: Any, ending: str) -> None:
    def watch(history: TrialHistory) -> Ending | None:
        late = history.measurements[-1].step == history.trial.steps
        return Ending(because=because, reason="late") if late else None

    assert end_of(list(train([trial(steps=5)], watch, measuring=RARELY))).because == ending


def test_a_diverged_trial_ends_at_its_first_evaluation_and_is_not_measured() -> None:
    rows = list(train([trial(learning_rate=1e30, steps=500)]))
    assert end_of(rows).because == "diverged"
    assert rows[-1].step <= 2
    assert not math.isfinite(rows[-1].train_loss)
    assert rows[-1].complexity_bytes is None
    assert rows[-1].complexities == ()
    assert rows[-1].zstd_bytes > 0


def test_lanes_are_refilled_in_order_and_counted() -> None:
    trials = [trial(seed=seed, steps=steps) for seed, steps in enumerate((10, 70, 20, 30))]
    run = LaneRun(trials, lanes=2, measuring=RARELY)
    assert run.counts == Counts(done=0, running=0, queued=4)
    run.advance(1)
    assert run.counts == Counts(done=1, running=1, queued=2)
    run.advance(1)
    assert run.counts == Counts(done=2, running=1, queued=1)
    rows = run.advance(2)
    assert run.finished
    assert run.counts == Counts(done=4, running=0, queued=0)
    assert [m.seed for m in rows if m.end] == [1, 3]


def test_train_takes_trials_of_several_shapes() -> None:
    trials = [trial(steps=3), trial(steps=3, batch_size=5), trial(steps=3, model=ModelConfig(width=4))]
    assert len({shape_key(t) for t in trials}) == 3
    assert {m.trial_id for m in train(trials, measuring=RARELY) if m.end} == {t.trial_id for t in trials}
    assert list(train([])) == []


def test_what_cannot_be_trained_is_refused_before_training() -> None:
    for trials, options, message in (
        ([], {}, "at least one trial"),
        ([trial()], {"lanes": 0}, "lanes must be"),
        ([trial()], {"device": "gpu"}, "device must be a device of torch, got 'gpu'; use 'cpu' or 'cuda'"),
        ([trial(), trial(batch_size=3)], {}, "one shape"),
        ([trial()], {"measuring": MeasuringConfig(epsilon=3.0)}, "loss of guessing"),
    ):
        with pytest.raises(ConfigError, match=message):
            LaneRun(trials, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="batch_size"):
        train([trial(batch_size=10_000)])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="cuda"):
        LaneRun([trial()], device="cuda")


def test_a_checkpoint_is_refused_where_it_does_not_belong() -> None:
    trials = [trial(), trial(seed=1)]
    run = LaneRun(trials, measuring=RARELY)
    run.advance(1)
    data = run.save()
    for others in (trials[::-1], trials[:1], [trials[0], dataclasses.replace(trials[1], steps=41)]):
        with pytest.raises(CheckpointError):
            LaneRun.restore(data, others, measuring=RARELY)
    with pytest.raises(CheckpointError, match="measuring"):
        LaneRun.restore(data, trials)
    for damaged in (b"", data[:-10], data[:50] + b"x" * 50 + data[100:]):
        with pytest.raises(CheckpointError):
            LaneRun.restore(damaged, trials, measuring=RARELY)


def test_a_checkpoint_holds_running_trials_only() -> None:
    trials = [trial(seed=seed, steps=steps) for seed, steps in enumerate((5, 100))]
    run = LaneRun(trials, measuring=RARELY)
    run.advance(1)
    weights = sum(w.numel() for w in initialise(build_task(trials[0].task), trials[0].model, 0).values())
    assert 3 * 4 * weights < len(run.save()) < 3 * 4 * weights + 30_000
    assert BLOCK_STEPS == 32
