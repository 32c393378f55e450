"""A network out of a file, measured; all else is tested where it is used, by the command."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trainables import MeasurementError, ModelConfig, TaskConfig, TrialConfig, initialise
from trainables.complexity import decode
from trainables.networks import LoadedNetwork, trained_network
from trainables.networks.measure import measure_network, scores
from trainables.tasks import build_task


def untrained(attention: str) -> LoadedNetwork:
    trial = TrialConfig(task=TaskConfig(modulus=5), model=ModelConfig(width=8, attention=attention))  # type: ignore[arg-type]
    return trained_network(trial, initialise(build_task(trial.task), trial.model, 0))


def test_streams_are_bound_to_the_names_of_the_file() -> None:
    plain = untrained("softmax")
    prefixed = replace(plain, prefix="params/params/")
    (one,), (other,) = measure_network(plain, [0.1]), measure_network(prefixed, [0.1])
    assert one.result.complexity_bytes == other.result.complexity_bytes
    assert [f"params/params/{name}" for name in one.result.decoded] == list(other.result.decoded)
    assert one.scores == other.scores
    decoded = decode(one.result.bitstream, plain.parameters)
    assert scores(plain, decoded) == one.scores
    assert one.scores.train_loss - scores(plain, plain.parameters).train_loss <= 0.1


@pytest.mark.parametrize("family", ["addition", "division"])
def test_wrong_labels_are_counted_where_the_task_is_known(family: str) -> None:
    task = TaskConfig(family=family, modulus=11)
    trial = TrialConfig(task=task, model=ModelConfig(width=8), data_fraction=0.5, label_noise=0.2)
    network = trained_network(trial, initialise(build_task(task), trial.model, 0))
    assert (network.classes, network.replaced_labels) == (11, round(0.2 * len(network.train)))


def test_unknown_budgets_are_refused() -> None:
    with pytest.raises(MeasurementError, match="budget"):
        measure_network(untrained("sum"), [1.0], "endless")
