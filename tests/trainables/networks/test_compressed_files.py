"""Compressed and decompressed networks are networks again, with the examples of their trial or of another file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.public_form import PREFIX, in_public_form
from tests.trainables.networks.small import GROUPED, MEMORISES, measured, memorised, trained
from trainables import BitstreamError, ConfigError, TrialConfig
from trainables.complexity import pack, unpack
from trainables.config.drift import Drift
from trainables.networks import (
    Examples,
    LoadedNetwork,
    load_network,
    save_network,
    to_compressed,
    to_safetensors,
    trained_network,
)


def compressed(network: LoadedNetwork, path: Path, epsilon: float = 0.5) -> dict[str, Tensor]:
    """Write the compressed network, and return the decoded parameters by the names in the file."""
    result = measured(network, epsilon).result
    path.write_bytes(to_compressed(network, result))
    return result.decoded


def same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other if one is None or other is None else one.dtype == other.dtype and torch.equal(one, other)


def same_examples(one: Examples, other: Examples) -> bool:
    return all(same(getattr(one, name), getattr(other, name)) for name in ("inputs", "targets", "group"))


def assert_is(network: LoadedNetwork, decoded: dict[str, Tensor], original: LoadedNetwork) -> None:
    assert network.parameters.keys() == original.parameters.keys()
    assert all(torch.equal(network.parameters[name], decoded[network.prefix + name]) for name in network.parameters)
    assert same_examples(network.train, original.train)
    assert same_examples(network.validation, original.validation)
    assert (network.model, network.task, network.classes) == (original.model, original.task, original.classes)


@pytest.mark.parametrize("trial", [MEMORISES, GROUPED, dataclasses.replace(MEMORISES, label_noise=0.2, seed=3)])
def test_a_file_of_a_trial_brings_its_examples_with_it(trial: TrialConfig, tmp_path: Path) -> None:
    original = trained(trial)
    decoded = compressed(original, tmp_path / "network.grok")
    network = load_network(tmp_path / "network.grok")
    assert_is(network, decoded, original)
    assert network.trial == trial
    assert network.replaced_labels == original.replaced_labels
    about = unpack((tmp_path / "network.grok").read_bytes()).about
    (tmp_path / "network.safetensors").write_bytes(to_safetensors(decoded, about))
    assert_is(load_network(tmp_path / "network.safetensors"), decoded, original)


def test_the_training_set_is_that_of_the_step_at_which_it_was_kept(tmp_path: Path) -> None:
    """One epoch of drift: the same weights are of another training set after it."""
    trial = dataclasses.replace(MEMORISES, drift=Drift.of({96: {"split": 1}}))
    for step in (96, 200):
        original = trained_network(trial, memorised().parameters, step)
        compressed(original, tmp_path / f"{step}.grok")
        network = load_network(tmp_path / f"{step}.grok")
        assert network.step == step
        assert same_examples(network.train, original.train)
    before, after = (load_network(tmp_path / f"{step}.grok") for step in (96, 200))
    assert not same_examples(before.train, after.train)


def test_a_file_without_a_trial_needs_examples(tmp_path: Path) -> None:
    path = in_public_form(memorised(), tmp_path / "network.npz")
    original = load_network(path)
    decoded = compressed(original, tmp_path / "network.grok")
    assert all(name.startswith(PREFIX) for name in decoded)
    with pytest.raises(ConfigError, match=r"does not say which trial it is of; name the network .* with --like"):
        load_network(tmp_path / "network.grok")
    assert_is(load_network(tmp_path / "network.grok", like=original), decoded, original)
    # The names of the tensors without their prefix, as in a file of `save_network`, do as well.
    saved = dataclasses.replace(original, prefix="")
    assert_is(load_network(tmp_path / "network.grok", like=saved), decoded, original)


def test_examples_of_a_network_of_other_shapes_are_refused(tmp_path: Path) -> None:
    compressed(memorised(), tmp_path / "network.grok")
    with pytest.raises(ConfigError, match="parameters of the same names and shapes, got"):
        load_network(tmp_path / "network.grok", like=trained(GROUPED))


def test_a_group_is_saved_with_its_examples(tmp_path: Path) -> None:
    original = trained(GROUPED)
    assert original.validation.group is not None
    save_network(original, tmp_path / "network.safetensors")
    network = load_network(tmp_path / "network.safetensors")
    assert_is(network, original.parameters, original)
    assert network.trial == GROUPED
    first = network.validation.first(3)
    assert same(first.group, original.validation.group[:3])


def test_damage_is_told(tmp_path: Path) -> None:
    compressed(memorised(), tmp_path / "network.grok")
    altered = bytearray((tmp_path / "network.grok").read_bytes())
    altered[-3] ^= 1
    (tmp_path / "network.grok").write_bytes(altered)
    with pytest.raises(BitstreamError, match="checksum"):
        load_network(tmp_path / "network.grok")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trial": json.dumps({"seed": 0, "wings": 2})}, "must hold a network .*wings"),
        ({"trial": json.dumps({"data_fraction": 2})}, "data_fraction must lie strictly between 0 and 1"),
        ({"trial": "[]"}, "must hold a network"),
        ({"task": json.dumps({"modulus": 10**9})}, "modulus must be at most 4,096, got 1000000000"),
        ({"task": json.dumps({"modulus": 11})}, "must have shape"),
        ({"model": "{"}, "must hold a network .*JSONDecodeError"),
    ],
)
def test_what_a_header_says_is_checked(change: dict[str, str], message: str, tmp_path: Path) -> None:
    result = measured(memorised(), 0.5).result
    about = {**memorised().specification(), **change}
    path = tmp_path / "network.grok"
    path.write_bytes(pack(result.bitstream, result.decoded, about))
    with pytest.raises(ConfigError, match=message):
        load_network(path)
