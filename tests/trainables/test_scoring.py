"""Losses, sizes and complexities of networks whose values are known otherwise."""

from __future__ import annotations

import bz2
import math

import pytest
import torch
import torch.nn.functional as functional
import zstandard

from trainables import scoring
from trainables.architectures import architecture_of
from trainables.architectures.models import forward, initialise
from trainables.complexity import METHOD
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.schedule import MeasuringConfig
from trainables.sizes import ZSTD_LEVEL, bzip2_bytes
from trainables.tasks import build_task, split

TRIAL = TrialConfig(
    task=TaskConfig(modulus=47), model=ModelConfig(width=8, heads=2), data_fraction=0.4, label_noise=0.2
)
TASK = build_task(TRIAL.task)  # 2,209 examples: more than one chunk
SPLIT = split(TASK, TRIAL.data_fraction, TRIAL.label_noise, TRIAL.seed)
ARCHITECTURE = architecture_of(TASK, TRIAL.model)
NETWORK = initialise(TASK, TRIAL.model, 3)


def test_scores_are_means_over_each_part_with_noisy_labels_in_training_only() -> None:
    lanes = {name: torch.stack([weight, weight]) for name, weight in NETWORK.items()}
    losses, answers, squares = scoring.table_outcomes(ARCHITECTURE, lanes, TASK.inputs, SPLIT.targets.repeat(2, 1))
    scores = scoring.scores(losses[1], answers[1], SPLIT)
    logits = forward(TRIAL.model, lanes, TASK.inputs)[1]
    for part, labels, loss, accuracy in (
        (SPLIT.train, SPLIT.targets, scores.train_loss, scores.train_accuracy),
        (SPLIT.validation, TASK.targets, scores.val_loss, scores.val_accuracy),
    ):
        assert loss == pytest.approx(float(functional.cross_entropy(logits[part], labels[part])), rel=1e-5)
        assert accuracy == pytest.approx(float((logits[part].argmax(-1) == labels[part]).float().mean()))
    seen = torch.cat([logits[SPLIT.train], logits[SPLIT.validation]])
    scale = float(seen.double().square().sum(-1).sqrt().mean())
    assert scoring.logit_scores(squares[1], SPLIT).logit_scale == pytest.approx(scale, rel=1e-6)


def test_a_group_is_scored_by_itself() -> None:
    group = torch.zeros(TASK.examples, dtype=torch.bool)
    group[SPLIT.train[:10]] = group[SPLIT.validation[:4]] = True
    answers = SPLIT.targets.clone()
    answers[SPLIT.train[:3]] = answers[SPLIT.validation[3:]] = -1
    assert scoring.group_scores(answers, SPLIT, group) == scoring.GroupScores(0.7, 0.75)
    group[SPLIT.validation] = False
    assert scoring.group_scores(answers, SPLIT, group) == scoring.GroupScores(0.7, None)
    assert scoring.group_scores(answers, SPLIT, None) == scoring.GroupScores(None, None)


def test_what_is_memorised_and_what_is_generalised_are_told_apart() -> None:
    train, corrupted = SPLIT.train, SPLIT.corrupted[SPLIT.train]
    assert 0.19 < corrupted.float().mean() < 0.21
    # A rule that knows the task, and a table of the labels trained on that is wrong about every third of them.
    rule = scoring.noise_scores(TASK.targets, SPLIT, TASK.targets)
    assert rule == scoring.NoiseScores(1.0, 0.0, 1.0)
    assert scoring.noise_scores(SPLIT.targets, SPLIT, TASK.targets) == scoring.NoiseScores(1.0, 1.0, 0.0)
    table = SPLIT.targets.clone()
    forgotten = train[::3]
    table[forgotten] = -1
    apart = scoring.noise_scores(table, SPLIT, TASK.targets)
    kept = torch.ones(len(train), dtype=torch.bool)
    kept[::3] = False
    assert apart.clean_train_accuracy == pytest.approx(float(kept[~corrupted].float().mean()))
    assert apart.corrupted_train_accuracy == pytest.approx(float(kept[corrupted].float().mean()))
    assert apart.recovered_train_accuracy == 0.0


def test_without_label_noise_clean_accuracy_is_training_accuracy() -> None:
    clean = split(TASK, TRIAL.data_fraction, 0.0, TRIAL.seed)
    answers = TASK.targets.roll(1)
    answers[clean.train[:100]] = TASK.targets[clean.train[:100]]
    losses = torch.zeros(TASK.examples)
    apart = scoring.noise_scores(answers, clean, TASK.targets)
    assert apart.clean_train_accuracy == scoring.scores(losses, answers, clean).train_accuracy > 0
    assert apart.corrupted_train_accuracy is apart.recovered_train_accuracy is None


def test_sizes_are_those_of_the_raw_weights() -> None:
    raw = b"".join(NETWORK[name].numpy().tobytes() for name in sorted(NETWORK))
    matrices = scoring.matrices(NETWORK)
    size = scoring.size_scores(NETWORK, matrices)
    assert size.zstd_bytes == len(zstandard.compress(raw, ZSTD_LEVEL))
    assert bzip2_bytes(NETWORK) == len(bz2.compress(raw))
    flat = torch.cat([weight.flatten() for weight in NETWORK.values()]).double()
    assert size.l2_norm == pytest.approx(float(flat.norm()))
    assert [matrix.matrix for matrix in matrices] == [name for name, w in NETWORK.items() if w.dim() == 2]
    assert size.effective_rank == pytest.approx(
        sum(math.exp(matrix.spectral_entropy) for matrix in matrices) / len(matrices)
    )


def test_weights_that_are_not_finite_have_a_size_all_the_same() -> None:
    broken = {**NETWORK, "output_layer/kernel": NETWORK["output_layer/kernel"] * math.nan}
    size = scoring.size_scores(broken, scoring.matrices(broken))
    assert math.isnan(size.l2_norm)
    assert math.isnan(size.spectral_entropy)
    assert size.zstd_bytes > 0


def test_complexity_is_that_of_a_network_within_the_bound() -> None:
    measuring = MeasuringConfig(epsilon=1.0, extra_epsilons=(0.25,))
    first, second = scoring.complexities(ARCHITECTURE, TASK, SPLIT, NETWORK, measuring)
    assert (first.epsilon, second.epsilon) == (1.0, 0.25)
    assert {first.method, second.method} == {METHOD}
    assert first.loss_increase <= 1.0
    assert second.loss_increase <= 0.25
    assert scoring.description_length_bits(first, len(SPLIT.train)) == pytest.approx(
        8 * first.complexity_bytes + len(SPLIT.train) * first.train_loss / math.log(2)
    )
    alone = scoring.complexities(ARCHITECTURE, TASK, SPLIT, NETWORK, MeasuringConfig(epsilon=1.0))[0]
    assert (alone.complexity_bytes, alone.train_loss) == (first.complexity_bytes, first.train_loss)


def test_the_measure_may_use_gradients_of_the_loss() -> None:
    """Without them a fresh network, of which the loss feels next to nothing, costs a hundred times as much."""
    fresh = scoring.complexities(ARCHITECTURE, TASK, SPLIT, NETWORK, MeasuringConfig(epsilon=1.0))[0]
    assert fresh.complexity_bytes < 0.05 * scoring.size_scores(NETWORK, ()).zstd_bytes
