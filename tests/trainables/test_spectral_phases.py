"""The penalty's gradient on networks from every phase of training, against a float64 SVD."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.test_spectral import autograd
from trainables.architectures import architecture_of
from trainables.architectures.models import initialise, parameter_shapes
from trainables.config import ModelConfig, TaskConfig, TrialConfig
from trainables.lanes import LaneRun, train
from trainables.lanes.layout import Layout
from trainables.networks import load_network
from trainables.schedule import MeasuringConfig
from trainables.scoring import Scores, scores, table_outcomes
from trainables.spectral import DOUBLE_UP_TO, entropy_gradient
from trainables.tasks import build_task, split

FLOOR = TrialConfig().spectral_floor
DATA = Path(__file__).parents[1] / "data"
UNWATCHED = MeasuringConfig(evaluate_ratio=1e6, measure_ratio=1e6)
COLLAPSING: dict[str, Any] = {"weight_decay": 5.0, "spectral_entropy_weight": 0.1}
PHASES = ("start", "before memorising", "memorised", "mid-grok", "grokked", "collapsed")

Network = dict[str, Tensor]


def trial(**values: Any) -> TrialConfig:
    defaults: dict[str, Any] = {"task": TaskConfig(modulus=17), "model": ModelConfig(width=32), "batch_size": 96}
    return TrialConfig(**{**defaults, "data_fraction": 0.8, "learning_rate": 3e-3, "steps": 449, **values})


def phase_of(config: TrialConfig, accuracy: Scores, network: Network) -> str | None:
    if config.weight_decay == COLLAPSING["weight_decay"]:
        ranks = [int((values > 1e-2 * values[0]).sum()) for values in map(singular_values, matrices(network))]
        return "collapsed" if min(ranks) == 1 else None
    if accuracy.train_accuracy < 0.9:
        return "before memorising"
    if accuracy.val_accuracy < 0.5:
        return "memorised"
    return "grokked" if accuracy.val_accuracy >= 0.95 else "mid-grok"


def snapshots(trials: list[TrialConfig]) -> list[tuple[str, Network]]:
    """Networks of the trials, one each two blocks, with their phases."""
    first = trials[0]
    task, layout = build_task(first.task), Layout(parameter_shapes(build_task(first.task), first.model))
    run, pair = LaneRun(trials, measuring=UNWATCHED), []
    run.advance(2)
    while not run.finished:
        record = run.record()
        for lane, weights in zip(record.running, record.tensors["weights"], strict=True):
            config, network = trials[lane.trial_index], layout.parameters(weights)
            parts = split(task, config.data_fraction, config.label_noise, config.seed)
            alone = {name: weight[None] for name, weight in network.items()}
            outcomes = table_outcomes(architecture_of(task, first.model), alone, task.inputs, parts.targets[None])
            accuracy = scores(outcomes[0][0], outcomes[1][0], parts)
            pair.append((phase_of(config, accuracy, network), network))
        run.advance(2)
    return [(phase, network) for phase, network in pair if phase is not None]


def matrices(network: Network) -> list[Tensor]:
    return [weight for weight in network.values() if weight.dim() == 2]


def singular_values(matrix: Tensor) -> Tensor:
    return torch.linalg.svdvals(matrix.double())


@pytest.fixture(scope="module")
def networks() -> dict[str, list[Network]]:
    """Phase -> networks that were trained without a penalty, with one, and with more decay than they can bear."""
    by_phase: dict[str, list[Network]] = defaultdict(list)
    by_phase["start"] = [initialise(build_task(trial().task), trial().model, seed=0)]
    for weight in (0.0, 0.03):
        trials = [trial(spectral_entropy_weight=weight, data_fraction=fraction) for fraction in (0.5, 0.8)]
        for phase, network in snapshots([*trials, *([trial(**COLLAPSING)] if weight else [])]):
            by_phase[phase].append(network)
    return by_phase


def error(matrix: Tensor, floor: float) -> float:
    """Length of the gradient's error, as a share of its own length, or of 1/|W| where the gradient is shorter.

    The entropy does not change where a matrix is scaled, so 1/|W| is the natural unit of its gradient; a matrix of
    rank one has no entropy left to lose and a gradient of nearly 0.
    """
    right = autograd(matrix, floor)
    unit = max(float(right.norm()), 1 / float(matrix.double().norm()))
    return float((entropy_gradient(matrix[None], floor)[0].double() - right).norm()) / unit


@pytest.mark.parametrize("phase", PHASES)
def test_with_a_floor_the_gradient_is_exact_in_every_phase(networks: dict[str, list[Network]], phase: str) -> None:
    assert networks[phase]
    for network in networks[phase]:
        assert max(error(matrix, FLOOR) for matrix in matrices(network)) < 1e-4


@pytest.mark.parametrize("phase", PHASES)
def test_the_papers_form_is_exact_where_it_is_well_posed(networks: dict[str, list[Network]], phase: str) -> None:
    """Where no singular value is small: there are such matrices in every phase but the last."""
    values = [(matrix, singular_values(matrix)) for network in networks[phase] for matrix in matrices(network)]
    well_posed = [matrix for matrix, spectrum in values if spectrum[-1] > 1e-3 * spectrum[0]]
    assert well_posed or phase == "collapsed"
    assert max([error(matrix, 0.0) for matrix in well_posed], default=0) < 1e-3


@pytest.mark.parametrize("name", ["addition_memorised", "addition_noise"])
def test_both_forms_on_the_papers_networks(name: str) -> None:
    """Memorised, and grokked with noise; their matrices have all their ranks."""
    for matrix in matrices(load_network(DATA / f"{name}.npz").parameters):
        assert error(matrix, FLOOR) < 1e-3
        assert error(matrix, 0.0) < 1e-3


def test_float32_bounds_the_error_of_large_matrices_that_have_lost_rank() -> None:
    """Decompositions of more than `DOUBLE_UP_TO` are float32's, whose rounding the floor magnifies."""
    wide = trial(**COLLAPSING, model=ModelConfig(width=128), batch_size=32, learning_rate=1e-2, steps=96)
    *_, last = train([wide], measuring=UNWATCHED)
    large = [matrix for matrix in matrices(last.network or {}) if min(matrix.shape) > DOUBLE_UP_TO]
    lost = [float((values < 1e-2 * values[0]).double().mean()) for values in map(singular_values, large)]
    assert len(large) == 6
    assert min(lost) > 0.2
    assert max(lost) > 0.5
    assert max(error(matrix, FLOOR) for matrix in large) < 5e-3
