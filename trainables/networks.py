"""Networks in files: .npz as the paper's public code writes them, and safetensors."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from trainables.config import ModelConfig, TaskConfig
from trainables.errors import ConfigError
from trainables.tasks import FAMILIES, build_task

_NPZ_PREFIX = "params/params/"
_SEQUENCES = ("train", "validation")


@dataclass(frozen=True, slots=True, eq=False)
class LoadedNetwork:
    """A trained network and the examples it was trained on."""

    parameters: dict[str, Tensor]
    """name -> float32 weights on the CPU, without lane axis; what `trainables.models.forward` takes one lane of."""
    train: Tensor
    """[n, T + 1] int64: training sequences, the right class last."""
    validation: Tensor
    """[m, T + 1] int64: validation sequences, the right class last."""
    model: ModelConfig
    task: TaskConfig


def load_network(path: str | Path) -> LoadedNetwork:
    """Read a network from an .npz of the paper's public code, or a .safetensors of `save_network`.

    A network of the public code gets `attention="sum"`, which is what that code computes; the number of heads,
    which then makes no difference and is not recorded, stays at its default.

    Raises:
        ConfigError: neither kind of file, or a file whose network or sequences are not what they should be.
        FileNotFoundError: no such file.
    """
    path = Path(path)
    readers = {".npz": _load_npz, ".safetensors": _load_safetensors}
    if path.suffix not in readers:
        raise ConfigError(f"a network file must end in {' or '.join(readers)}, got {path.name!r}")
    try:
        return readers[path.suffix](path)
    except (KeyError, ValueError, zipfile.BadZipFile, SafetensorError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"{path} must hold a network with its training and validation sequences, and does not "
            f"({type(error).__name__}: {error})"
        ) from error


def save_network(network: LoadedNetwork, path: str | Path) -> None:
    """Write a network as .safetensors, its configuration and sequences with it.

    Raises:
        ConfigError: the path does not end in .safetensors.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ConfigError(f"a network is written as .safetensors, got {path.name!r}; change the ending")
    tensors = {**network.parameters, "train": network.train, "validation": network.validation}
    metadata = {
        "model": json.dumps(dataclasses.asdict(network.model)),
        "task": json.dumps(dataclasses.asdict(network.task)),
    }
    path.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata))


def to_safetensors(parameters: Mapping[str, Tensor]) -> bytes:
    """Weights as the bytes of a safetensors file; each tensor is written by itself, whatever memory it shares."""
    data: bytes = save({name: weight.detach().cpu().clone().contiguous() for name, weight in parameters.items()})
    return data


def from_safetensors(data: bytes) -> dict[str, Tensor]:
    """The inverse of `to_safetensors`.

    Raises:
        ConfigError: the bytes are not a safetensors file.
    """
    try:
        parameters: dict[str, Tensor] = load(data)
    except SafetensorError as error:
        raise ConfigError(
            f"weights must be the bytes of a safetensors file, got {len(data)} other bytes"
        ) from error
    return parameters


def _load_npz(path: Path) -> LoadedNetwork:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    parameters = {
        name.removeprefix(_NPZ_PREFIX): torch.from_numpy(array.astype(np.float32))
        for name, array in arrays.items()
        if name.startswith(_NPZ_PREFIX)
    }
    train, validation = (torch.from_numpy(arrays[name].astype(np.int64)) for name in ("train", "val"))
    vocabulary, width = parameters["embedding/embedding"].shape
    transformer = "positional_embedding/embedding" in parameters
    prefix = "decoder_layers_" if transformer else "mlp_layers_"
    first = "decoder_layers_0/ffn/layer1/kernel" if transformer else "mlp_layers_0/kernel"
    model = ModelConfig(
        kind="transformer" if transformer else "mlp",
        width=width,
        layers=len({name.split("/")[0] for name in parameters if name.startswith(prefix)}),
        hidden_width=parameters[first].shape[1],
        attention="sum" if transformer else "softmax",
    )
    return LoadedNetwork(parameters, train, validation, model, _recognise_task(vocabulary - 2, train))


def _recognise_task(modulus: int, sequences: Tensor) -> TaskConfig:
    """The family whose table holds all these sequences."""
    for family in FAMILIES:
        config = TaskConfig(family=family, modulus=modulus)
        task = build_task(config)
        known = set(map(tuple, torch.cat([task.inputs, task.targets[:, None]], 1).tolist()))
        if known.issuperset(map(tuple, sequences.tolist())):
            return config
    raise ConfigError(
        f"the training sequences must be those of one of {', '.join(FAMILIES)} modulo {modulus}, and are of none"
    )


def _load_safetensors(path: Path) -> LoadedNetwork:
    tensors = from_safetensors(path.read_bytes())
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    train, validation = (tensors.pop(name) for name in _SEQUENCES)
    model, task = ModelConfig(**json.loads(metadata["model"])), TaskConfig(**json.loads(metadata["task"]))
    return LoadedNetwork(tensors, train, validation, model, task)
