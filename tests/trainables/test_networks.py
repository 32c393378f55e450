"""The paper's networks in our transformer, and files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from trainables.config import ModelConfig, TaskConfig
from trainables.errors import ConfigError
from trainables.models import forward
from trainables.networks import LoadedNetwork, from_safetensors, load_network, save_network, to_safetensors

DATA = Path(__file__).parent.parent / "data"


def loss_and_accuracy(network: LoadedNetwork, sequences: Tensor) -> tuple[float, float]:
    lanes = {name: weight[None] for name, weight in network.parameters.items()}
    with torch.no_grad():
        logits = forward(network.model, lanes, sequences[:, :-1])[0]
    targets = sequences[:, -1]
    return float(functional.cross_entropy(logits, targets)), float((logits.argmax(-1) == targets).float().mean())


def test_the_memorised_network_has_its_recorded_losses() -> None:
    network = load_network(DATA / "addition_memorised.npz")
    assert sum(weight.numel() for weight in network.parameters.values()) == 242_547
    train_loss, train_accuracy = loss_and_accuracy(network, network.train)
    val_loss, val_accuracy = loss_and_accuracy(network, network.validation)
    assert train_loss == pytest.approx(3.73e-6, rel=2e-3)
    assert train_accuracy == 1.0
    assert val_loss == pytest.approx(5.307, abs=1e-3)
    assert val_accuracy == pytest.approx(0.3405, abs=1e-4)


def test_the_noise_network_has_grokked() -> None:
    network = load_network(DATA / "addition_noise.npz")
    assert network.model == ModelConfig(attention="sum")
    assert network.task == TaskConfig(family="addition", modulus=113)
    assert (len(network.train), len(network.validation)) == (3830, 8939)
    assert loss_and_accuracy(network, network.train)[1] == 1.0
    assert loss_and_accuracy(network, network.validation)[1] == pytest.approx(0.9999, abs=1e-4)


def test_a_network_survives_a_file_bit_for_bit(tmp_path: Path) -> None:
    network = load_network(DATA / "addition_noise.npz")
    save_network(network, tmp_path / "network.safetensors")
    again = load_network(tmp_path / "network.safetensors")
    assert (again.model, again.task) == (network.model, network.task)
    assert torch.equal(again.train, network.train)
    assert torch.equal(again.validation, network.validation)
    assert again.parameters.keys() == network.parameters.keys()
    assert all(torch.equal(again.parameters[name], weight) for name, weight in network.parameters.items())


def test_weights_survive_bytes_even_when_they_share_memory() -> None:
    row = torch.arange(6.0)
    parameters = {"a": row[:4].view(2, 2), "b": row[2:], "c": row.view(2, 3).T}
    again = from_safetensors(to_safetensors(parameters))
    assert all(torch.equal(again[name], weight) for name, weight in parameters.items())


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"nothing")
    (tmp_path / "a.safetensors").write_bytes(to_safetensors({"a": torch.ones(2)}))
    (tmp_path / "a.pt").write_bytes(b"")
    for name, message in (
        ("a.npz", "must hold a network"),
        ("a.safetensors", "must hold a network"),
        ("a.pt", "end in"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_network(tmp_path / name)
    with pytest.raises(ConfigError, match="safetensors"):
        from_safetensors(b"nothing")
    with pytest.raises(ConfigError, match="change the ending"):
        save_network(load_network(DATA / "addition_noise.npz"), tmp_path / "a.npz")
    with pytest.raises(FileNotFoundError):
        load_network(tmp_path / "b.npz")
