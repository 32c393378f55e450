"""The paper's networks in our transformer, and files."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from tests.public_form import in_public_form
from trainables.architectures.models import forward, initialise
from trainables.config import Attention, ModelConfig, TaskConfig, TrialConfig
from trainables.config.drift import Drift
from trainables.errors import ConfigError
from trainables.networks import (
    Examples,
    LoadedNetwork,
    from_safetensors,
    load_network,
    public_code,
    read_parameters,
    save_network,
    to_safetensors,
    trained_network,
)
from trainables.tasks import build_task, split
from trainables.tasks.modular import OPERATIONS

DATA = Path(__file__).parents[2] / "data"


def loss_and_accuracy(network: LoadedNetwork, examples: Examples) -> tuple[float, float]:
    lanes = {name: weight[None] for name, weight in network.parameters.items()}
    with torch.no_grad():
        logits = forward(network.model, lanes, examples.inputs)[0]
    targets = examples.targets
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
    for part, then in ((again.train, network.train), (again.validation, network.validation)):
        assert torch.equal(part.inputs, then.inputs)
        assert torch.equal(part.targets, then.targets)
    assert again.parameters.keys() == network.parameters.keys()
    assert all(torch.equal(again.parameters[name], weight) for name, weight in network.parameters.items())


def test_weights_survive_bytes_even_when_they_share_memory() -> None:
    row = torch.arange(6.0)
    parameters = {"a": row[:4].view(2, 2), "b": row[2:], "c": row.view(2, 3).T}
    again = from_safetensors(to_safetensors(parameters))
    assert all(torch.equal(again[name], weight) for name, weight in parameters.items())


def small(attention: Attention = "sum", **changes: Tensor) -> LoadedNetwork:
    """A network that knows nothing, and its sequences: division modulo 5."""
    trial = TrialConfig(
        task=TaskConfig(family="division", modulus=5), model=ModelConfig(width=8, attention=attention), seed=3
    )
    parameters = initialise(build_task(trial.task), trial.model, 0) | changes
    return trained_network(trial, parameters)


def test_the_sequences_of_a_trial_are_its_examples_with_their_noisy_labels() -> None:
    trial = TrialConfig(task=TaskConfig(modulus=7), model=ModelConfig(width=8), data_fraction=0.6, label_noise=0.5)
    network = trained_network(trial, {})
    parts = split(build_task(trial.task), 0.6, 0.5, 0)
    assert torch.equal(network.train.targets, parts.targets[parts.train])
    wrong = (network.train.inputs[:, 0] + network.train.inputs[:, 2]) % 7 != network.train.targets
    assert int(wrong.sum()) == int(parts.corrupted.sum()) > 0
    assert len(network.train) + len(network.validation) == 49


def test_the_examples_of_a_trial_are_those_of_the_phase_in_which_its_network_was_kept() -> None:
    drift = Drift.of({64: {"split": 1}, 128: {"family": "subtraction"}})
    trial = TrialConfig(task=TaskConfig(modulus=7), model=ModelConfig(width=8), drift=drift, steps=200)
    end = trained_network(trial, {})
    assert torch.equal((end.train.inputs[:, 0] - end.train.inputs[:, 2]) % 7, end.train.targets)
    at_the_exchange, after = trained_network(trial, {}, 64), trained_network(trial, {}, 65)
    first = trained_network(dataclasses.replace(trial, drift=Drift()), {})
    assert torch.equal(at_the_exchange.train.inputs, first.train.inputs)
    assert not torch.equal(after.train.inputs, first.train.inputs)
    assert torch.equal((after.train.inputs[:, 0] + after.train.inputs[:, 2]) % 7, after.train.targets)


@pytest.mark.parametrize("family", OPERATIONS)
def test_the_operation_is_recognised(family: str, tmp_path: Path) -> None:
    trial = TrialConfig(task=TaskConfig(family=family, modulus=11), model=ModelConfig(width=8, kind="mlp"))
    network = trained_network(trial, initialise(build_task(trial.task), trial.model, 0))
    loaded = load_network(in_public_form(network, tmp_path / "a.npz"))
    assert loaded.task == trial.task
    assert loaded.model == trial.model


def test_sequences_of_no_known_operation_are_a_network_too(tmp_path: Path) -> None:
    network = small()
    targets = network.train.targets.clone()
    targets[0] = (targets[0] + 1) % 5
    network = dataclasses.replace(network, train=Examples(network.train.inputs, targets))
    loaded = load_network(in_public_form(network, tmp_path / "a.npz"))
    assert loaded.task is None
    save_network(loaded, tmp_path / "a.safetensors")
    again = load_network(tmp_path / "a.safetensors")
    assert again.task is None
    assert torch.equal(again.train.targets, targets)


def test_positions_that_no_sequence_reaches_may_be_there(tmp_path: Path) -> None:
    network = small(**{"positional_embedding/embedding": torch.zeros(9, 8)})
    assert load_network(in_public_form(network, tmp_path / "a.npz")).parameters[
        "positional_embedding/embedding"
    ].shape == (9, 8)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (small(**{"output_layer/kernel": torch.zeros(9, 5)}), r"output_layer/kernel must have shape \(8, 5\)"),
        (
            small(**{"positional_embedding/embedding": torch.zeros(3, 8)}),
            "positional_embedding/embedding must have",
        ),
        (
            small(**{"embedding/embedding": torch.zeros(6, 8)}),
            "embedding/embedding must have shape|inputs must lie from 0 to 5",
        ),
        (
            small(**{"output_layer/kernel": torch.zeros(8, 4), "output_layer/bias": torch.zeros(4)}),
            "output_layer/kernel must have shape|targets must lie from 0 to 3",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(network: LoadedNetwork, message: str, tmp_path: Path) -> None:
    save_network(network, tmp_path / "a.safetensors")
    for path in (tmp_path / "a.safetensors", in_public_form(network, tmp_path / "a.npz")):
        with pytest.raises(ConfigError, match=message):
            load_network(path)


def test_parameters_have_the_names_of_the_file(tmp_path: Path) -> None:
    network = small()
    path = in_public_form(network, tmp_path / "a.npz")
    prefix = load_network(path).prefix
    assert read_parameters(path).keys() == {prefix + name for name in network.parameters}
    save_network(network, tmp_path / "a.safetensors")
    parameters = read_parameters(tmp_path / "a.safetensors")
    assert parameters.keys() == network.parameters.keys()
    assert all(torch.equal(parameters[name], weight) for name, weight in network.parameters.items())
    np.savez(tmp_path / "b.npz", train=np.zeros(3))
    with pytest.raises(ConfigError, match="holds none"):
        read_parameters(tmp_path / "b.npz")


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


_EMBEDDING = "params/params/embedding/embedding"
_KERNEL = "params/params/decoder_layers_0/ffn/layer1/kernel"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("train", lambda array: array[:, 0], "IndexError"),
        ("train", lambda array: np.array(3), "IndexError"),
        ("train", lambda array: array * np.nan, "must hold whole numbers, got float64"),
        (_KERNEL, lambda array: array.reshape(-1), "IndexError"),
        (_EMBEDDING, lambda array: array * 1j, "must hold real numbers, got complex64"),
        (_EMBEDDING, lambda array: array.astype(str), "must hold real numbers, got <U"),
    ],
)
def test_arrays_of_another_form_are_one_line(
    name: str, change: Callable[[np.ndarray], np.ndarray], message: str, tmp_path: Path
) -> None:
    arrays = dict(np.load(DATA / "addition_noise.npz"))
    np.savez(tmp_path / "network.npz", **{**arrays, name: change(arrays[name])})
    with pytest.raises(ConfigError, match=message) as refused:
        load_network(tmp_path / "network.npz")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("members", "message"), [(40, "must unpack to at most 4 MiB, got 40"), (1, "MemoryError")])
def test_a_bomb_is_refused_before_it_is_unpacked(
    members: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A megabyte of zeros many times, or a header that claims four petabytes and is never followed by them."""
    monkeypatch.setattr(public_code, "LARGEST_NPZ_BYTES", 2**22)
    header = io.BytesIO()
    shape = (2**18,) if members > 1 else (10**15,)
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(members):
            archive.writestr(f"params/params/{number}.npy", header.getvalue() + bytes(2**20))
    with pytest.raises(ConfigError, match=message):
        load_network(tmp_path / "bomb.npz")
