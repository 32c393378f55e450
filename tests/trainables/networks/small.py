"""Networks that are trained within a second, for tests of what is done with them."""

from __future__ import annotations

from functools import cache

from trainables import MeasuringConfig, ModelConfig, TaskConfig, TrialConfig, train
from trainables.networks import LoadedNetwork, trained_network
from trainables.networks.measure import DecodedNetwork, measure_network

MEMORISES = TrialConfig(
    task=TaskConfig(modulus=7),
    model=ModelConfig(width=16),
    data_fraction=0.6,
    weight_decay=0.0,
    learning_rate=1e-2,
    steps=200,
)

GROUPED = TrialConfig(
    task=TaskConfig(family="breast_cancer"),
    model=ModelConfig(kind="mlp", width=16),
    data_fraction=0.5,
    weight_decay=0.0,
    learning_rate=1e-2,
    steps=96,
)
"""A task with a sensitive group."""


@cache
def trained(trial: TrialConfig) -> LoadedNetwork:
    """Train a trial to the end of its budget."""
    *_, last = train([trial], measuring=MeasuringConfig(epsilon=0.3))
    return trained_network(trial, last.network or {})


@cache
def measured(network: LoadedNetwork, epsilon: float) -> DecodedNetwork:
    """Measure a network at one bound."""
    (decoded,) = measure_network(network, [epsilon])
    return decoded


def memorised() -> LoadedNetwork:
    """A network that knows its 29 training examples, and few of the others."""
    return trained(MEMORISES)
