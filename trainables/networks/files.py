"""Networks in files: .npz as written by the paper's public code, and safetensors."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import safetensors
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from trainables.architectures import Architecture, architecture_of
from trainables.config import Attention, ModelConfig, TaskConfig, TrialConfig
from trainables.errors import ConfigError
from trainables.scoring import table_outcomes
from trainables.tasks import Task
from trainables.tasks.modular import OPERATIONS
from trainables.tasks.phases import phase_split, phase_task

Read = TypeVar("Read")

_NUMBERS = ("classes", "vocabulary", "replaced_labels")

LARGEST_NPZ_BYTES = 2**30
"""Bytes that an .npz may unpack to: a few kilobytes of zip can ask for any amount of memory."""

_WHOLE, _REAL = "iu", "fiu"
_KINDS = {_WHOLE: "whole numbers", _REAL: "real numbers"}
"""Kinds of numbers, by the letters of numpy."""

_NPZ_PREFIX = "params/params/"
_EXAMPLES = ("train_inputs", "train_targets", "validation_inputs", "validation_targets")

#: With the wrong attention a network is about at chance; this many examples are enough to show it.
_ENOUGH_TO_TELL = 256


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Inputs and their labels."""

    inputs: Tensor
    """[n, T] int64 tokens, or [n, ...] float32 features."""
    targets: Tensor
    """[n] int64 classes."""

    def __len__(self) -> int:
        return len(self.targets)

    def first(self, count: int) -> Examples:
        """Return the first `count` examples."""
        return Examples(self.inputs[:count], self.targets[:count])


@dataclass(frozen=True, eq=False)
class LoadedNetwork:
    """A trained network and the examples it was trained on."""

    parameters: dict[str, Tensor]
    """name -> float32 weights on the CPU, without lane axis; `Architecture.forward` takes them with one."""
    train: Examples
    """The training examples, with the labels that were trained on."""
    validation: Examples
    model: ModelConfig
    task: TaskConfig | None
    """None if the examples belong to no known family."""
    classes: int
    vocabulary: int | None
    """Number of tokens; None if inputs are features."""
    prefix: str = ""
    """The common start of the names of `parameters` in the file."""
    replaced_labels: int = 0
    """The number of training examples with a label that is wrong on purpose."""

    @cached_property
    def table(self) -> Task:
        """All examples, training before validation, as the table of a task."""
        return Task(
            name="examples of a file",
            inputs=torch.cat([self.train.inputs, self.validation.inputs]),
            targets=torch.cat([self.train.targets, self.validation.targets]),
            classes=self.classes,
            vocabulary=self.vocabulary,
        )

    @property
    def architecture(self) -> Architecture:
        """The network as functions of its parameters."""
        return architecture_of(self.table, self.model)

    def outcomes(self, parameters: Mapping[str, Tensor], examples: Examples) -> tuple[Tensor, Tensor]:
        """Return losses [n] in nats and correctness [n] (bool) of these parameters on n examples.

        The parameters are named as in `parameters`; the losses are differentiable in them.
        """
        lanes = {name: weight[None] for name, weight in parameters.items()}
        losses, answers, _ = table_outcomes(self.architecture, lanes, examples.inputs, examples.targets[None])
        return losses[0], answers[0] == examples.targets

    def specification(self) -> dict[str, str]:
        """Return all fields but the tensors, each as JSON."""
        return {
            "model": json.dumps(dataclasses.asdict(self.model)),
            "task": json.dumps(None if self.task is None else dataclasses.asdict(self.task)),
            **{name: json.dumps(getattr(self, name)) for name in _NUMBERS},
        }


def load_network(path: str | Path) -> LoadedNetwork:
    """Read a network from an .npz of the paper's public code, or a .safetensors of `save_network`.

    An .npz does not say how attention works. The public code's attention is the plain sum of the values, so `sum`
    is assumed, unless the network knows its training sequences better with `softmax`. The number of heads is not
    recorded either and has its default.

    Raises:
        ConfigError: the file is of neither kind, or its network or sequences are not what they should be.
        FileNotFoundError: the file does not exist.
    """
    return _read(Path(path), {".npz": _load_npz, ".safetensors": _load_safetensors})


def trained_network(trial: TrialConfig, parameters: dict[str, Tensor], step: int | None = None) -> LoadedNetwork:
    """Return the network of a trial with the examples it was trained on, noisy labels included.

    Args:
        trial: the trial that the network belongs to.
        parameters: name -> tensor, without lane axis.
        step: the step at which it was kept, which determines its training set under drift; None for the end.
    """
    # One step back: where the training set is exchanged, the weights come from the phase that ends there.
    phase = trial.phase_at((trial.steps if step is None else step) - 1)
    task = phase_task(trial, phase)
    parts = phase_split(trial, phase, task)
    train, validation = (
        Examples(task.inputs[part], parts.targets[part]) for part in (parts.train, parts.validation)
    )
    return LoadedNetwork(
        parameters,
        train,
        validation,
        model=trial.model,
        task=trial.task,
        classes=task.classes,
        vocabulary=task.vocabulary,
        replaced_labels=int(parts.corrupted.sum()),
    )


def read_parameters(path: str | Path) -> dict[str, Tensor]:
    """Read the parameters of a network file under their names in the file, without examples.

    Raises:
        ConfigError: the file is neither .npz nor .safetensors, or has no parameters.
        FileNotFoundError: the file does not exist.
    """
    path = Path(path)
    readers = {".npz": _npz_parameters, ".safetensors": _safetensors_parameters}
    parameters = _read(path, readers)
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
    tensors = {**network.parameters, **dict(zip(_EXAMPLES, examples, strict=True))}
    path.write_bytes(to_safetensors(tensors, network.specification()))


def to_safetensors(parameters: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Serialise weights as a safetensors file; each tensor is written by itself, even if it shares memory."""
    tensors = {name: weight.detach().cpu().clone().contiguous() for name, weight in parameters.items()}
    data: bytes = save(tensors, dict(metadata) if metadata else None)
    return data


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


def _read(path: Path, readers: Mapping[str, Callable[[Path], Read]]) -> Read:
    if path.suffix not in readers:
        raise ConfigError(f"a network file must end in {' or '.join(readers)}, got {path.name!r}")
    try:
        return readers[path.suffix](path)
    except (ConfigError, OSError):
        raise
    except Exception as error:  # a foreign file may make zipfile, numpy, json or torch raise anything
        what = f"{type(error).__name__}: {' '.join(str(error).split()):.300}"
        raise ConfigError(
            f"{path} must hold a network with its training and validation examples, but does not ({what})"
        ) from error


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[Callable[[str, str], npt.NDArray[Any]]]:
    """Open an .npz and return a function that reads an array, which must be of one of the given kinds of numbers.

    Raises:
        ConfigError: unpacked it takes more memory than any network of the public code.
    """
    with zipfile.ZipFile(path) as members:
        unpacked = sum(member.file_size for member in members.infolist())
    if unpacked > LARGEST_NPZ_BYTES:
        raise ConfigError(
            f"{path} must unpack to at most {LARGEST_NPZ_BYTES / 2**20:,.0f} MiB, got {unpacked / 2**20:,.0f}; "
            "it is no network of the public code"
        )
    # Files come from others, and a pickle runs code as it is read.
    with np.load(path, allow_pickle=False) as archive:

        def read(name: str, kinds: str) -> npt.NDArray[Any]:
            array: npt.NDArray[Any] = archive[name]
            if array.dtype.kind not in kinds:
                raise ConfigError(f"{name} of {path} must hold {_KINDS[kinds]}, got {array.dtype}")
            return array

        yield read


def _npz_parameters(path: Path) -> dict[str, Tensor]:
    with _archive(path) as read, zipfile.ZipFile(path) as members:
        names = [name.removesuffix(".npy") for name in members.namelist() if name.startswith(_NPZ_PREFIX)]
        return {name: torch.from_numpy(read(name, _REAL).astype(np.float32)) for name in names}


def _load_npz(path: Path) -> LoadedNetwork:
    parameters = {name.removeprefix(_NPZ_PREFIX): weight for name, weight in _npz_parameters(path).items()}
    with _archive(path) as read:
        train, validation = (torch.from_numpy(read(name, _WHOLE).astype(np.int64)) for name in ("train", "val"))
    vocabulary, width = parameters["embedding/embedding"].shape
    transformer = "positional_embedding/embedding" in parameters
    prefix = "decoder_layers_" if transformer else "mlp_layers_"
    first = "decoder_layers_0/ffn/layer1/kernel" if transformer else "mlp_layers_0/kernel"
    model = ModelConfig(
        kind="transformer" if transformer else "mlp",
        width=width,
        layers=len({name.split("/")[0] for name in parameters if name.startswith(prefix)}),
        heads=math.gcd(width, ModelConfig().heads),
        hidden_width=parameters[first].shape[1],
    )
    network = _checked(
        LoadedNetwork(
            parameters,
            Examples(train[:, :-1], train[:, -1]),
            Examples(validation[:, :-1], validation[:, -1]),
            model=model,
            task=None,
            classes=len(parameters["output_layer/bias"]),
            vocabulary=vocabulary,
            prefix=_NPZ_PREFIX,
        )
    )
    network = dataclasses.replace(network, task=_recognise_task(vocabulary - 2, train))
    if not transformer:
        return network
    # If losses are equal the first one is taken: an untrained network is assumed to be the public code's, too.
    return min((with_attention(network, kind) for kind in ("sum", "softmax")), key=_train_loss)


def with_attention(network: LoadedNetwork, attention: Attention) -> LoadedNetwork:
    """Return the same weights in a transformer with this kind of attention."""
    return dataclasses.replace(network, model=dataclasses.replace(network.model, attention=attention))


@torch.no_grad()
def _train_loss(network: LoadedNetwork) -> float:
    loss = float(network.outcomes(network.parameters, network.train.first(_ENOUGH_TO_TELL))[0].double().mean())
    return loss if math.isfinite(loss) else math.inf


def _checked(network: LoadedNetwork) -> LoadedNetwork:
    """Return the network after checking that it can be run on its sequences.

    Raises:
        ConfigError: sequences do not consist of this network's tokens and classes, or parameters have other shapes.
    """
    if not len(network.train):
        raise ConfigError("a network file must hold training examples, got none; its complexity is bounded by them")
    shapes = {name: tuple(weight.shape) for name, weight in network.parameters.items()}
    for name, expected in network.architecture.shapes.items():
        # Positions beyond the longest sequence are never looked up.
        shape = shapes.get(name, ())
        reached = (min(shape[0], expected[0]), *shape[1:]) if name.startswith("positional") and shape else shape
        if reached != expected:
            raise ConfigError(f"{name} must have shape {expected} in this network, got {shape or 'no such tensor'}")
    return network


def _recognise_task(modulus: int, sequences: Tensor) -> TaskConfig | None:
    """Find the operation for which all sequences [x, op, y, =, answer] are examples, if there is one."""
    if modulus < 2 or sequences.shape[1] != 5:
        return None
    left, operation, right, equals, answers = sequences.unbind(1)
    numbers = torch.cat([left, right])
    if not bool(((numbers < modulus).all()) & (operation == modulus).all() & (equals == modulus + 1).all()):
        return None
    for family, operate in OPERATIONS.items():
        try:
            results = operate(left, right, modulus) % modulus
        except ValueError:  # y has no inverse
            continue
        if torch.equal(results, answers):
            return TaskConfig(family=family, modulus=modulus)
    return None


def _safetensors_parameters(path: Path) -> dict[str, Tensor]:
    tensors = from_safetensors(path.read_bytes())
    return {name: tensor for name, tensor in tensors.items() if name not in _EXAMPLES}


def _load_safetensors(path: Path) -> LoadedNetwork:
    tensors = from_safetensors(path.read_bytes())
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    examples = [tensors.pop(name) for name in _EXAMPLES]
    model, task = ModelConfig(**json.loads(metadata["model"])), json.loads(metadata["task"])
    return _checked(
        LoadedNetwork(
            tensors,
            Examples(*examples[:2]),
            Examples(*examples[2:]),
            model=model,
            task=None if task is None else TaskConfig(**task),
            **{name: json.loads(metadata[name]) for name in _NUMBERS},
        )
    )
