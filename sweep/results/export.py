"""A network of a sweep as a folder of files: compressed, decoded, and what compression has changed."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from analysis.files import PART, Files
from sweep.errors import UnusableNetwork
from sweep.results.compression_words import paragraphs, parts_table
from sweep.results.compressions import entry
from trainables.complexity import unpack
from trainables.networks import to_safetensors
from trainables.networks.checking import CheckedCompression, check_compression

if TYPE_CHECKING:
    from sweep.specification.prices import Prices
    from trainables.networks import LoadedNetwork
    from trainables.networks.measure import Bound

COMPRESSED, DECODED = "network.grok", "network.safetensors"
CHECK, CHECK_TEXT = "behaviour.json", "behaviour.txt"


def export_folder(network: LoadedNetwork, epsilon: float) -> str:
    """Return the name of the folder that a network is exported to by default."""
    trial = "network" if network.trial is None else network.trial.trial_id
    return f"{trial}-step-{network.step}-epsilon-{epsilon:g}"


def export_network(
    network: LoadedNetwork,
    folder: str | Path,
    *,
    epsilon: float,
    budget: str | None = None,
    bound: Bound = "loss",
    prices: Prices | None = None,
) -> dict[str, Any]:
    """Compress a network and write it, its decoded form and the comparison of the two into a new folder.

    The folder appears under its name when all files are in it and on the disk: complete or not at all.

    Args:
        network: a network of a trial.
        folder: the folder to write; nothing may have that name.
        epsilon: the distortion bound, nats per example.
        budget: see `trainables.measure`; None takes its default.
        bound: what epsilon is a bound on.
        prices: adds costs.

    Returns:
        The entry that `behaviour.json` holds, see `sweep.results.compressions.entry`.

    Raises:
        UnusableNetwork: there is something of that name.
        MeasurementError: complexity is not defined, or there are no validation examples.
        OSError: the folder cannot be written.
    """
    target = Path(folder).expanduser().absolute()
    _refuse_existing(target)  # before the work is done
    checked = check_compression(network, epsilon, budget, bound=bound)
    about = entry(network, checked, prices)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}{PART}")
    try:
        written = Files(str(temporary))
        for name, data in _files(network, checked, about).items():
            written.write(name, data)
        _refuse_existing(target)
        # A folder moved to the name of an empty one takes its place, to that of any other it fails.
        os.rename(temporary, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(temporary)
    return about


def _refuse_existing(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise UnusableNetwork(f"{target} is there already, and nothing is overwritten; name another folder")


def _files(network: LoadedNetwork, checked: CheckedCompression, about: dict[str, Any]) -> dict[str, bytes]:
    """Return the content of each file, after reading the compressed one back."""
    decoded = unpack(checked.file).decode()
    assert all(torch.equal(decoded[name], weight) for name, weight in checked.compressed.result.decoded.items())
    lines, wrong = paragraphs(about)
    text = [*lines, "", *parts_table(about), "", wrong or "All changes are within their limits."]
    return {
        COMPRESSED: checked.file,
        DECODED: to_safetensors(decoded, network.specification()),
        CHECK: f"{json.dumps(about, indent=1, allow_nan=False)}\n".encode(),
        CHECK_TEXT: ("\n".join(text) + "\n").encode(),
    }
