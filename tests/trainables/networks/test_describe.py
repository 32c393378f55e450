"""The task of a network that knows its sequences: described from there, with the accuracies of what decodes."""

from __future__ import annotations

import pytest

from trainables import ModelConfig, TaskConfig, TrialConfig, decode, load_network, train, trained_network
from trainables.description import Progress
from trainables.networks import LoadedNetwork, save_network
from trainables.networks.describe import describe_network_task
from trainables.networks.measure import measure_network, scores


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> LoadedNetwork:
    """A small one that has memorised, out of a file."""
    model = ModelConfig(width=16, hidden_width=32, heads=2, attention="sum")
    trial = TrialConfig(
        task=TaskConfig(modulus=11), model=model, data_fraction=0.6, weight_decay=0, learning_rate=1e-2, steps=400
    )
    *_, last = train([trial])
    path = tmp_path_factory.mktemp("networks") / "network.safetensors"
    save_network(trained_network(trial, dict(last.network or {})), path)
    return load_network(path)


def test_a_description_is_shorter_than_the_complexity_and_its_scores_are_those_of_what_decodes(
    network: LoadedNetwork,
) -> None:
    seen: list[Progress] = []
    (described,) = describe_network_task(network, [0.5], steps=400, watch=seen.append)
    (measured,) = measure_network(network, [0.5])
    result = described.result
    assert result.task_description_bytes < 0.9 * measured.result.complexity_bytes
    assert described.scores == scores(network, decode(result.bitstream, network.parameters))
    own = scores(network, network.parameters)
    assert described.scores.train_loss - own.train_loss == pytest.approx(result.loss_increase, abs=1e-5)
    assert result.loss_increase <= 0.5
    assert len(seen) == 8
