"""Networks in files: .npz as written by the paper's public code, safetensors, and compressed ones."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from trainables.complexity.container import is_self_contained, pack, unpack
from trainables.complexity.result import ComplexityResult
from trainables.config import ModelConfig, TaskConfig, TrialConfig, trial_from_dict
from trainables.errors import ConfigError, TrainablesError, shown
from trainables.networks.network import NUMBERS, Examples, LoadedNetwork, checked, trained_network
from trainables.networks.public_code import PREFIX, load_npz, npz_parameters
from trainables.tasks import LARGEST

Read = TypeVar("Read")

_EXAMPLES = ("train_inputs", "train_targets", "validation_inputs", "validation_targets")
_GROUPS = ("train_group", "validation_group")
"""Tensors of a file that are no parameters."""

_MAGIC_BYTES = 64
"""Bytes of a file that are enough to tell whether it is a compressed network."""


def load_network(path: str | Path, like: LoadedNetwork | None = None) -> LoadedNetwork:
    """Read a network with its examples from a file.

    - An .npz of the paper's public code. It does not say how attention works. The public code's attention is the
      plain sum of the values, so `sum` is assumed, unless the network knows its training sequences better with
      `softmax`. The number of heads is not recorded either and has its default.
    - A .safetensors of `save_network`.
    - A compressed network of `sweep compress`, or the .safetensors that it was decompressed to. They hold no
      examples. Those of a sweep say which trial they are of, and its examples are made again; for others the
      examples are those of `like`.

    Args:
        path: the file. A compressed one is known by its content, the others by their endings.
        like: the network whose examples are meant, in place of the file's own; its parameters must have the same
            names and shapes.

    Raises:
        ConfigError: the file is of no such kind, or its network or examples are not what they should be.
        BitstreamError: a compressed network is damaged.
        FileNotFoundError: the file does not exist.
    """
    path = Path(path)
    if _is_compressed(path):
        network = _reading(path, lambda one: _load_compressed(one, like))
    else:
        readers = {".npz": load_npz, ".safetensors": lambda one: _load_safetensors(one, like)}
        network = _read(path, readers)
    return network if like is None else _with_examples_of(network, like)


def read_parameters(path: str | Path) -> dict[str, Tensor]:
    """Read the parameters of a network file under their names in the file, without examples.

    Raises:
        ConfigError: the file is of no kind that `load_network` reads, or has no parameters.
        BitstreamError: a compressed network is damaged.
        FileNotFoundError: the file does not exist.
    """
    path = Path(path)
    if _is_compressed(path):
        return _reading(path, lambda one: unpack(one.read_bytes()).decode())
    parameters = _read(path, {".npz": npz_parameters, ".safetensors": _safetensors_parameters})
    if not parameters:
        raise ConfigError(f"{path} must hold the parameters of a network, but holds none")
    return parameters


def save_network(network: LoadedNetwork, path: str | Path) -> None:
    """Write a network as .safetensors, with its configuration and examples.

    Raises:
        ConfigError: the path does not end in .safetensors.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ConfigError(f"a network is written as .safetensors, got {path.name!r}; change the ending")
    parts = (network.train, network.validation)
    examples = [tensor for part in parts for tensor in (part.inputs, part.targets)]
    groups = {name: part.group for name, part in zip(_GROUPS, parts, strict=True) if part.group is not None}
    tensors = {**network.parameters, **dict(zip(_EXAMPLES, examples, strict=True)), **groups}
    path.write_bytes(to_safetensors(tensors, network.specification()))


def to_safetensors(parameters: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Serialise weights as a safetensors file; each tensor is written by itself, even if it shares memory."""
    tensors = {name: weight.detach().cpu().clone().contiguous() for name, weight in parameters.items()}
    data: bytes = save(tensors, dict(metadata) if metadata else None)
    return data


def to_compressed(network: LoadedNetwork, result: ComplexityResult) -> bytes:
    """Write a measured network as a file that `load_network` reads: its stream, and what the network is.

    Args:
        network: the network that was measured.
        result: its measurement.
    """
    # Sorted, because safetensors returns tensors in another order each time: one network, one file.
    return pack(result.bitstream, dict(sorted(result.decoded.items())), network.specification())


def from_safetensors(data: bytes) -> dict[str, Tensor]:
    """Restore weights from the bytes of `to_safetensors`.

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


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return is_self_contained(file.read(_MAGIC_BYTES))


def _read(path: Path, readers: Mapping[str, Callable[[Path], Read]]) -> Read:
    if path.suffix not in readers:
        endings = " or ".join(readers)
        raise ConfigError(f"a network file must end in {endings}, or be of `sweep compress`, got {path.name!r}")
    return _reading(path, readers[path.suffix])


def _reading(path: Path, reader: Callable[[Path], Read]) -> Read:
    try:
        return reader(path)
    except (TrainablesError, OSError):
        raise
    except Exception as error:  # a foreign file may make zipfile, numpy, json or torch raise anything
        what = f"{type(error).__name__}: {' '.join(str(error).split()):.300}"
        raise ConfigError(
            f"{path} must hold a network with its training and validation examples, but does not ({what})"
        ) from error


def _safetensors_parameters(path: Path) -> dict[str, Tensor]:
    tensors = from_safetensors(path.read_bytes())
    return {name: tensor for name, tensor in tensors.items() if name not in (*_EXAMPLES, *_GROUPS)}


def _load_safetensors(path: Path, like: LoadedNetwork | None) -> LoadedNetwork:
    tensors = from_safetensors(path.read_bytes())
    with safe_open(path, framework="pt") as file:
        about = file.metadata() or {}
    if "model" in about and not any(name in tensors for name in _EXAMPLES):
        return _without_examples(path, tensors, about, like)
    parts = [tensors.pop(name) for name in _EXAMPLES]
    groups = [tensors.pop(name, None) for name in _GROUPS]
    trial = None
    with contextlib.suppress(ConfigError):  # a task or network that is not imported, and not needed here
        trial = _trial(about)
    return checked(
        LoadedNetwork(
            tensors,
            Examples(parts[0], parts[1], groups[0]),
            Examples(parts[2], parts[3], groups[1]),
            model=_model(about),
            task=_task(about),
            trial=trial,
            step=_step(about),
            **{name: json.loads(about[name]) for name in NUMBERS},
        )
    )


def _load_compressed(path: Path, like: LoadedNetwork | None) -> LoadedNetwork:
    file = unpack(path.read_bytes())
    return _without_examples(path, file.decode(), file.about, like)


def _without_examples(
    path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str], like: LoadedNetwork | None
) -> LoadedNetwork:
    """Put a decoded network together with examples: those of `like`, or of the trial that it says it is of."""
    prefix = PREFIX if all(name.startswith(PREFIX) for name in tensors) else ""
    parameters = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    if like is not None:
        return dataclasses.replace(
            like, parameters=parameters, prefix=prefix, model=_model(about), step=_step(about)
        )
    trial = _trial(about)
    if trial is None:
        raise ConfigError(
            f"{path} holds a network without examples and does not say which trial it is of; name the network that "
            "it was compressed from, with its examples, with --like NETWORK"
        )
    return checked(dataclasses.replace(trained_network(trial, parameters, _step(about)), prefix=prefix))


def _with_examples_of(network: LoadedNetwork, like: LoadedNetwork) -> LoadedNetwork:
    """Return the network with other examples.

    Raises:
        ConfigError: its parameters have other names or shapes than those of the network that has the examples.
    """
    own, other = ({name: tuple(weight.shape) for name, weight in one.parameters.items()} for one in (network, like))
    if own != other:
        name = min(name for name in own.keys() | other.keys() if own.get(name) != other.get(name))
        raise ConfigError(
            f"both networks must have parameters of the same names and shapes, got {name!r} as "
            f"{own.get(name, 'no such tensor')} and {other.get(name, 'no such tensor')}; name the network that the "
            "file was made from"
        )
    return checked(dataclasses.replace(network, train=like.train, validation=like.validation))


def _model(about: Mapping[str, str]) -> ModelConfig:
    return ModelConfig(**json.loads(about["model"]))


def _task(about: Mapping[str, str]) -> TaskConfig | None:
    values = json.loads(about["task"])
    return None if values is None else TaskConfig(**values)


def _step(about: Mapping[str, str]) -> int | None:
    step: int | None = json.loads(about.get("step", "null"))
    return step


def _trial(about: Mapping[str, str]) -> TrialConfig | None:
    """Build the trial that a file names, from what `LoadedNetwork.specification` writes.

    Raises:
        ConfigError: its task or network is registered by a module that is not imported, or has changed; or its
            table would not fit.
    """
    if "trial" not in about:
        return None
    parts = {name: json.loads(about[name]) for name in ("task", "model")}
    trial = trial_from_dict({**json.loads(about["trial"]), **parts})
    for name, largest in LARGEST.items():  # a file of a few bytes must not fill the memory
        if (getattr(trial.task, name) or 0) > largest:
            raise ConfigError(f"{name} must be at most {largest:,}, got {shown(getattr(trial.task, name))}")
    return trial
