"""Networks in .npz files, as the paper's public code writes them."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainables.config import ModelConfig, TaskConfig
from trainables.errors import ConfigError
from trainables.networks.network import Examples, LoadedNetwork, checked, with_attention
from trainables.tasks.modular import OPERATIONS

LARGEST_NPZ_BYTES = 2**30
"""Bytes that an .npz may unpack to: a few kilobytes of zip can ask for any amount of memory."""

_WHOLE, _REAL = "iu", "fiu"
_KINDS = {_WHOLE: "whole numbers", _REAL: "real numbers"}
"""Kinds of numbers, by the letters of numpy."""

PREFIX = "params/params/"
"""What the names of all parameters begin with."""

#: With the wrong attention a network is about at chance; this many examples are enough to show it.
_ENOUGH_TO_TELL = 256


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


def npz_parameters(path: Path) -> dict[str, Tensor]:
    """Read the parameters of an .npz, as float32 under their names in the file."""
    with _archive(path) as read, zipfile.ZipFile(path) as members:
        names = [name.removesuffix(".npy") for name in members.namelist() if name.startswith(PREFIX)]
        return {name: torch.from_numpy(read(name, _REAL).astype(np.float32)) for name in names}


def load_npz(path: Path) -> LoadedNetwork:
    """Read a network of the public code with its examples; see `trainables.networks.load_network`."""
    parameters = {name.removeprefix(PREFIX): weight for name, weight in npz_parameters(path).items()}
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
    network = checked(
        LoadedNetwork(
            parameters,
            Examples(train[:, :-1], train[:, -1]),
            Examples(validation[:, :-1], validation[:, -1]),
            model=model,
            task=None,
            classes=len(parameters["output_layer/bias"]),
            vocabulary=vocabulary,
            prefix=PREFIX,
        )
    )
    network = dataclasses.replace(network, task=_recognise_task(vocabulary - 2, train))
    if not transformer:
        return network
    # If losses are equal the first one is taken: an untrained network is assumed to be the public code's, too.
    return min((with_attention(network, kind) for kind in ("sum", "softmax")), key=_train_loss)


@torch.no_grad()
def _train_loss(network: LoadedNetwork) -> float:
    loss = float(network.outcomes(network.parameters, network.train.first(_ENOUGH_TO_TELL))[0].double().mean())
    return loss if math.isfinite(loss) else math.inf


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
